"""Files beside a tokenizer's main file, against what AutoTokenizer makes of the same folder: every key
of tokenizer_config.json, special_tokens_map.json and added_tokens.json that changes ids, for every
layout of the main file."""

import json
import sys
from pathlib import Path

import pytest
from tokenizing import HARD, assert_same, ids_of, run

import llama_cpp

tokenizers = pytest.importorskip("tokenizers")
sys.path.append(str(llama_cpp.PACKAGES))
gguf = pytest.importorskip("gguf")

PLAIN = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
TEXTS = [
    *[text for text in HARD if len(text) < 200],
    "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n",
    "a <|im_start|> b  <|im_end|>  c<extra>d <extra> e",
    "<image><image> two words, two  words; undon don don't\ndon",
    " <s> x</s>y <unk>z",
]
TEMPLATE = (
    "{{ [bos_token, eos_token, unk_token, pad_token, image_token] | join('|') }}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

# Layout -> (files of the main tokenizer, class in tokenizer_config.json)
LAYOUTS = {
    "sentencepiece": (["pieces/tokenizer.model"], "LlamaTokenizer"),
    "tokenizer.json": (["pieces/tokenizer.json"], "PreTrainedTokenizerFast"),
    "tokenizer.json of bytes": (["bytes/tokenizer.json"], "PreTrainedTokenizerFast"),
    "vocab and merges": (["bytes/vocab.json", "bytes/merges.txt"], "GPT2Tokenizer"),
    "vocab and merges of Qwen2": (["bytes/vocab.json", "bytes/merges.txt"], "Qwen2Tokenizer"),
}
SIZE = 512  # of every vocabulary here
CONFIG, MAP, ADDED = "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"


def token(content, **flags):
    return {"content": content, **PLAIN, **flags}


def typed(content, **flags):
    return {"__type": "AddedToken", **token(content, **flags)}


@pytest.fixture(scope="session")
def sources(data, stories, tmp_path_factory):
    """Folders with a vocabulary of SIZE: pieces as Llama's, and bytes as GPT-2's."""
    folder = tmp_path_factory.mktemp("tokenizers")
    (folder / "pieces").symlink_to(stories)
    (folder / "bytes").mkdir()
    library = tokenizers.Tokenizer(tokenizers.models.BPE())
    library.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=SIZE, special_tokens=["<unk>", "<s>", "<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
    )
    library.train_from_iterator((data / "text/wiki.test.raw").read_text().split("\n")[:200], trainer)
    library.save(str(folder / "bytes/tokenizer.json"))
    library.model.save(str(folder / "bytes"))
    return folder


# Name -> the files' contents, given the first id behind the vocabulary.
CASES = {
    "added_tokens": lambda n: {ADDED: {"<|im_start|>": n, "<|im_end|>": n + 1}},
    "added_tokens of other ids": lambda n: {ADDED: {"<|im_end|>": n + 9, "<|im_start|>": n + 3, "don": 70}},
    "added_tokens, named": lambda n: {
        CONFIG: {"eos_token": "<|im_end|>"},
        ADDED: {"<|im_start|>": n, "<|im_end|>": n + 1},
    },
    "map": lambda n: {
        MAP: {"bos_token": "<|im_start|>", "eos_token": token("<|im_end|>", lstrip=True)},
        ADDED: {"<|im_start|>": n, "<|im_end|>": n + 1, "<extra>": n + 2},
    },
    "map, additional": lambda n: {
        MAP: {"additional_special_tokens": ["<extra>", "<image>"], "image_token": "<image>"},
        ADDED: {"<|im_start|>": n, "<extra>": n + 1},
    },
    "map, extra": lambda n: {
        CONFIG: {"extra_special_tokens": ["<extra>"]},
        MAP: {"extra_special_tokens": ["<image>"], "additional_special_tokens": ["don"]},
    },
    "map, extra by name": lambda n: {MAP: {"extra_special_tokens": {"image_token": "<image>"}}},
    "decoder": lambda n: {
        CONFIG: {
            "added_tokens_decoder": {
                str(n): token("<|im_start|>", special=True),
                str(n + 1): token("<|im_end|>", special=True),
            },
            "eos_token": "<|im_end|>",
        },
    },
    "decoder, flags": lambda n: {
        CONFIG: {
            "added_tokens_decoder": {
                str(n): token("<|im_start|>", special=True, rstrip=True),
                str(n + 1): token("<|im_end|>", special=False, lstrip=True, normalized=True),
                str(n + 4): token("two words", special=False, normalized=True),
                str(n + 3): token("don", special=False, single_word=True),
                str(n + 2): token("<extra>", special=True, lstrip=True, rstrip=True),
            }
        },
    },
    "decoder, flags of a known token": lambda n: {
        CONFIG: {"added_tokens_decoder": {"0": token("<unk>", special=True, lstrip=True, rstrip=True)}}
    },
    "decoder outranks the older files": lambda n: {
        CONFIG: {"added_tokens_decoder": {str(n): token("<|im_start|>", special=True)}},
        MAP: {"eos_token": "<extra>", "additional_special_tokens": ["don"]},
        ADDED: {"<|im_end|>": n, "<image>": n + 5},
    },
    "decoder, empty": lambda n: {CONFIG: {"added_tokens_decoder": {}}, ADDED: {"<|im_end|>": n}},
    "extra list": lambda n: {
        CONFIG: {"extra_special_tokens": ["<|im_start|>", typed("<extra>", lstrip=True), "<|im_end|>"]}
    },
    "extra by name": lambda n: {
        CONFIG: {"extra_special_tokens": {"other": "<extra>", "image_token": "<image>"}}
    },
    "additional list": lambda n: {CONFIG: {"additional_special_tokens": ["<|im_end|>", "<|im_start|>"]}},
    "additional beside extra": lambda n: {
        CONFIG: {"additional_special_tokens": ["<|im_end|>"], "extra_special_tokens": ["<extra>"]}
    },
    "additional beside an empty list": lambda n: {
        CONFIG: {"additional_special_tokens": ["<|im_end|>"], "extra_special_tokens": []}
    },
    "named, new": lambda n: {
        CONFIG: {"bos_token": "<|im_start|>", "z_token": "<extra>", "pad_token": typed("<|im_end|>", rstrip=True), "image_token": "<image>"}
    },
    "named, null": lambda n: {CONFIG: {"pad_token": None, "unk_token": None}},
    "BOS and EOS": lambda n: {
        CONFIG: {"add_bos_token": True, "add_eos_token": True, "bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}
    },
    "neither BOS nor EOS": lambda n: {CONFIG: {"add_bos_token": False, "add_eos_token": False}},
    "prefix space": lambda n: {CONFIG: {"add_prefix_space": True}, ADDED: {"<extra>": n}},
    "no prefix space": lambda n: {CONFIG: {"add_prefix_space": False}, ADDED: {"<extra>": n}},
    "legacy": lambda n: {CONFIG: {"legacy": True}, ADDED: {"<extra>": n}},
    "not legacy": lambda n: {CONFIG: {"legacy": False}, ADDED: {"<extra>": n}},
}


def build(sources, layout, files, folder, **config):
    names, kind = LAYOUTS[layout]
    for name in names:
        (folder / Path(name).name).symlink_to(sources / name)
    # Where no file says whether BOS is added, moebius adds it to a SentencePiece model's ids (docs/tokenizers.md).
    flags = {"add_bos_token": True} if layout == "sentencepiece" else {}
    own = {"tokenizer_class": kind, **flags, "chat_template": TEMPLATE}
    files = {**files, CONFIG: {**own, **files.get(CONFIG, {}), **config}}
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    return folder


def compare(text_probe, folder, peer, chat_peer=None):
    library = peer.backend_tokenizer

    def encode(text, add_special):
        expected = library.encode(text, add_special_tokens=add_special)
        return expected.ids, expected.offsets

    assert_same(text_probe, folder, encode, lambda ids: library.decode(ids, skip_special_tokens=False), TEXTS)
    messages = [{"role": "user", "content": "hello"}]
    found = text_probe([{"model": str(folder), "messages": messages, "add_generation_prompt": True}])[0]
    chat_peer = chat_peer or peer
    assert found["text"] == chat_peer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", CASES)
def test_companions(text_probe, sources, hf, tmp_path, layout, name):
    if layout == "sentencepiece":
        pytest.importorskip("google.protobuf", reason="transformers reads tokenizer.model with it")
    folder = build(sources, layout, CASES[name](SIZE), tmp_path)
    compare(text_probe, folder, hf.AutoTokenizer.from_pretrained(folder))


@pytest.mark.parametrize("name", ["added_tokens", "decoder, flags", "named, new", "legacy"])
def test_llama_keeps_tokenizer_json(text_probe, sources, hf, tmp_path, name):
    """LlamaTokenizer of transformers 5 replaces the normaliser and pre-tokenizer of a tokenizer.json by its own,
    which gives other ids than the model was trained with; moebius keeps the file's, as every other reader does."""
    folder = build(sources, "tokenizer.json", CASES[name](SIZE), tmp_path, tokenizer_class="LlamaTokenizer")
    peer = hf.PreTrainedTokenizerFast.from_pretrained(folder)
    compare(text_probe, folder, peer, chat_peer=hf.AutoTokenizer.from_pretrained(folder))


@pytest.mark.parametrize("kind", ["GPT2Tokenizer", "Qwen2Tokenizer"])
@pytest.mark.parametrize("name", ["prefix space", "no prefix space", "named, new", "extra list"])
def test_classes_beside_tokenizer_json(text_probe, sources, hf, tmp_path, kind, name):
    """Classes that make their parts of tokenizer_config.json, where the file has the same parts."""
    folder = build(sources, "tokenizer.json of bytes", CASES[name](SIZE), tmp_path, tokenizer_class=kind)
    peer = hf.AutoTokenizer.from_pretrained(folder)
    content = json.loads((folder / "tokenizer.json").read_text())
    parts = json.loads(peer.backend_tokenizer.to_str())
    if kind == "Qwen2Tokenizer":  # the folder gets Qwen2's parts, without the prefix space that is tested
        content["normalizer"], content["pre_tokenizer"] = parts["normalizer"], parts["pre_tokenizer"]
        content["pre_tokenizer"]["pretokenizers"][1]["add_prefix_space"] = False
        (folder / "tokenizer.json").unlink()
        (folder / "tokenizer.json").write_text(json.dumps(content))
    compare(text_probe, folder, peer)


CASE = Path("cases/02-sentencepiece-added-tokens/model")


@pytest.fixture
def chatml(data):
    if not (data.parent / CASE).is_dir():
        pytest.skip("the model of the case is not there")
    return data.parent / CASE


def test_chat_fine_tune_of_llama(moebius, chatml, tmp_path):
    """A SentencePiece model with two markers that only the companions name: ids, decoding, chat, export."""
    ids = run(moebius, "tokenize", chatml, "--no-special", text="<|im_start|>user")
    assert ids_of(ids) == [[512, 425, 419, 285]]
    assert run(moebius, "tokenize", chatml, "--decode", text="512 513") == b"<|im_start|><|im_end|>"
    chat = moebius("generate", chatml, "--chat", "--prompt", "hello", "--max-tokens", 1, "--json", check=True)
    assert json.loads(chat.stdout)["prompt_tokens"] == 19
    file = tmp_path / "x.gguf"
    moebius("export", chatml, "-o", file, check=True)
    tokens = gguf.GGUFReader(file).fields["tokenizer.ggml.tokens"]
    assert [tokens.contents(i) for i in (512, 513)] == ["<|im_start|>", "<|im_end|>"]
    again = run(moebius, "tokenize", file, "--no-special", text="<|im_start|>")
    assert ids_of(again) == [[512]]
