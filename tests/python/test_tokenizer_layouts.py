"""Folders without a tokenizer.json: vocab.json with merges.txt against what transformers builds of
the same folder, SentencePiece models against their own library."""

import functools
import json

import pytest
from tokenizing import HARD, TEXTS, assert_same, offsets_of, run

sentencepiece = pytest.importorskip("sentencepiece")

LISTED = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
OPT = {
    "tokenizer_class": "GPT2Tokenizer",
    "add_bos_token": True,
    "add_prefix_space": False,
    "bos_token": {"__type": "AddedToken", "content": "</s>", **LISTED, "normalized": True},
    "eos_token": {"__type": "AddedToken", "content": "</s>", **LISTED, "normalized": True},
    "unk_token": {"__type": "AddedToken", "content": "</s>", **LISTED, "normalized": True},
    "pad_token": "<pad>",
    "errors": "replace",
}
MASK = {"content": "<mask>", **LISTED, "lstrip": True}
GRANITE = {
    "tokenizer_class": "GPT2Tokenizer",
    "bos_token": "<|endoftext|>",
    "eos_token": "<|endoftext|>",
    "unk_token": "<|endoftext|>",
    "additional_special_tokens": ["<fim_prefix>", "<fim_middle>", "<fim_suffix>"],
}
# Folder, the class to load it with (None: what transformers chooses), files beside the vocabulary.
FOLDERS = {
    "gpt2": ("gpt2", "GPT2Tokenizer", {}),
    "opt bare": ("opt_roberta", "GPT2Tokenizer", {}),
    "starcoder bare": ("starcoder1_granite", "GPT2Tokenizer", {}),
    "opt": ("opt_roberta", None, {"tokenizer_config.json": OPT}),
    "opt by model": ("opt_roberta", None, {"config.json": {"model_type": "opt"}}),
    "opt, BOS and EOS": ("opt_roberta", None, {"tokenizer_config.json": {**OPT, "add_eos_token": True}}),
    "roberta": ("opt_roberta", None, {"tokenizer_config.json": {"tokenizer_class": "RobertaTokenizer"}}),
    "roberta by model": ("opt_roberta", None, {"config.json": {"model_type": "roberta"}}),
    "roberta, mask": (
        "opt_roberta",
        None,
        {
            "tokenizer_config.json": {"tokenizer_class": "RobertaTokenizer", "trim_offsets": False},
            "special_tokens_map.json": {"mask_token": MASK},
        },
    ),
    "roberta, prefix": (
        "opt_roberta",
        None,
        {
            "tokenizer_config.json": {
                "tokenizer_class": "RobertaTokenizerFast",
                "add_prefix_space": True,
                "mask_token": {"__type": "AddedToken", **MASK},
            }
        },
    ),
    "granite": ("starcoder1_granite", None, {"tokenizer_config.json": GRANITE}),
    "granite, map": (
        "starcoder1_granite",
        None,
        {
            "tokenizer_config.json": {"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": True},
            "special_tokens_map.json": {
                "bos_token": "<|endoftext|>",
                "additional_special_tokens": ["<fim_prefix>"],
            },
            "added_tokens.json": {"two words": 49153, "<b>": 49152, "<fim_prefix>": 1},
        },
    ),
    "granite, list": (
        "starcoder1_granite",
        None,
        {
            "tokenizer_config.json": {
                **GRANITE,
                "added_tokens_decoder": {
                    "0": {"content": "<|endoftext|>", **LISTED, "special": True},
                    "49160": {"content": "<s>", **LISTED, "rstrip": True, "special": False},
                    "49159": {"content": "<mask>", **LISTED, "lstrip": True, "special": True},
                    "49161": {"content": "don", **LISTED, "single_word": True, "special": False},
                },
            }
        },
    ),
    "qwen2": (
        "gpt2",
        None,
        {"tokenizer_config.json": {"tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|im_end|>"}},
    ),
    "qwen2 by model": ("gpt2", None, {"config.json": {"model_type": "qwen2"}}),
}


def build(data, folder, tmp_path, files):
    for name in ("vocab.json", "merges.txt"):
        (tmp_path / name).symlink_to(data / "tokenizers" / folder / name)
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    return tmp_path


@pytest.mark.parametrize("name", FOLDERS)
def test_vocab_and_merges(text_probe, data, hf, tmp_path, name):
    folder, kind, files = FOLDERS[name]
    build(data, folder, tmp_path, files)
    loader = getattr(hf, kind) if kind else hf.AutoTokenizer
    peer = loader.from_pretrained(str(tmp_path))
    library = peer.backend_tokenizer

    def encode(text, add_special):
        expected = library.encode(text, add_special_tokens=add_special)
        assert expected.ids == peer(text, add_special_tokens=add_special).input_ids
        return expected.ids, expected.offsets

    assert_same(text_probe, tmp_path, encode, lambda ids: library.decode(ids, skip_special_tokens=False))


@pytest.mark.short_cases(4)
@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("folder", ["opt", "roberta", "granite", "qwen2"])
def test_vocab_and_merges_files(moebius, data, hf, tmp_path, folder, name):
    source, _, files = FOLDERS[folder]
    build(data, source, tmp_path, files)
    library = hf.AutoTokenizer.from_pretrained(str(tmp_path)).backend_tokenizer
    text = (data / "text" / name).read_bytes().decode()
    expected = library.encode(text)
    found = offsets_of(run(moebius, "tokenize", tmp_path, "--offsets", text=text))
    assert found == [(expected.ids, expected.offsets)]


def test_an_unknown_class_is_named(moebius, data, tmp_path):
    build(data, "gpt2", tmp_path, {"tokenizer_config.json": {"tokenizer_class": "MadeUpTokenizer"}})
    done = moebius("tokenize", tmp_path, input=b"a")
    assert done.returncode == 1
    assert b"tokenizer_config.json" in done.stderr and b"MadeUpTokenizer" in done.stderr


def test_what_was_looked_for_is_listed(moebius, tmp_path):
    done = moebius("tokenize", tmp_path, input=b"a")
    assert done.returncode == 1
    for name in (b"tokenizer.json", b"tokenizer.model", b"vocab.json", b"merges.txt"):
        assert name in done.stderr


def test_precedence(moebius, data, tmp_path):
    """tokenizer.json before tokenizer.model before vocab.json with merges.txt."""
    gpt2, llama2 = data / "tokenizers/gpt2", data / "tokenizers/llama2"
    for name in ("vocab.json", "merges.txt"):
        (tmp_path / name).symlink_to(gpt2 / name)
    assert run(moebius, "tokenize", tmp_path, text="a") == b"64\n"
    (tmp_path / "tokenizer.model").symlink_to(llama2 / "tokenizer.model")
    assert run(moebius, "tokenize", tmp_path, text="a") == b"1 263\n"
    (tmp_path / "tokenizer.json").symlink_to(gpt2 / "tokenizer.json")
    assert run(moebius, "tokenize", tmp_path, text="a") == b"64\n"


MODELS = {
    "mixtral": "tokenizers/mixtral/tokenizer.model.v1",
    "llama2": "tokenizers/llama2/tokenizer.model",
    "stories260K": "models/stories260K/tokenizer.model",
}


@functools.cache
def sentencepiece_peer(path):
    peer = sentencepiece.SentencePieceProcessor(model_file=str(path))

    def encode(text, add_bos=True, add_eos=False):
        mapping = peer.encode_as_offset_mapping(text)
        ids, ranges = mapping["ids"], mapping["offsets"]
        front, back = [peer.bos_id()] * add_bos, [peer.eos_id()] * add_eos
        return front + ids + back, [(0, 0)] * len(front) + ranges + [(0, 0)] * len(back)

    return peer, encode


def only_model(data, name, tmp_path, config=None):
    path = data / MODELS[name]
    (tmp_path / path.name).symlink_to(path)
    if config is not None:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    return tmp_path


@pytest.mark.parametrize("name", MODELS)
def test_sentencepiece(text_probe, data, tmp_path, name):
    peer, encode = sentencepiece_peer(data / MODELS[name])
    assert_same(text_probe, only_model(data, name, tmp_path), encode, peer.decode)


@pytest.mark.short_cases(3)
@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("name", MODELS)
def test_sentencepiece_files(text_probe, data, tmp_path, name, text):
    _, encode = sentencepiece_peer(data / MODELS[name])
    lines = (data / "text" / text).read_bytes().decode().split("\n")
    assert_same(text_probe, only_model(data, name, tmp_path), encode, texts=lines, special=[True])


@pytest.mark.parametrize("bos, eos", [(False, False), (True, True), (False, True)])
def test_sentencepiece_special_tokens(text_probe, data, tmp_path, bos, eos):
    _, encode = sentencepiece_peer(data / MODELS["mixtral"])
    folder = only_model(data, "mixtral", tmp_path, {"add_bos_token": bos, "add_eos_token": eos})
    assert_same(text_probe, folder, lambda text, _: encode(text, bos, eos), special=[True])


@pytest.mark.short_cases(5)
@pytest.mark.parametrize("kind", ["unigram", "bpe", "char", "word"])
@pytest.mark.parametrize("options", [{}, {"byte_fallback": True}, {"remove_extra_whitespaces": False},
                                     {"add_dummy_prefix": False, "normalization_rule_name": "identity"}])
def test_trained_sentencepiece(text_probe, data, tmp_path, kind, options):
    if kind == "word" and options.keys() & {"byte_fallback", "add_dummy_prefix"}:
        pytest.skip("the trainer refuses the one, the packaged library cannot encode with the other")
    lines = (data / "text/wiki.test.raw").read_text().split("\n")[:1500]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_prefix=str(tmp_path / "tokenizer"),
        vocab_size=1200,
        model_type=kind,
        hard_vocab_limit=False,
        user_defined_symbols=["<sep>", "two words"],
        minloglevel=2,
        **options,
    )
    (tmp_path / "tokenizer.vocab").unlink()
    peer, encode = sentencepiece_peer(tmp_path / "tokenizer.model")
    texts = [*HARD, *lines[:200], "a<sep>b two words <sep>", "▁ ▁▁x"]
    assert_same(text_probe, tmp_path, encode, peer.decode, texts=texts)


@pytest.mark.parametrize("content", [b"", b"no model", b"\x0a\x05ab", b"\xff" * 100])
def test_a_broken_model_is_named(moebius, tmp_path, content):
    (tmp_path / "tokenizer.model").write_bytes(content)
    done = moebius("tokenize", tmp_path, input=b"a")
    assert done.returncode == 1
    assert b"tokenizer.model" in done.stderr and len(done.stderr.splitlines()) <= 2
