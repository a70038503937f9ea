"""Whatever is wrong: one clear line that names it, exit 1 (2 for usage), nothing left behind."""

import json
import os
import shutil
import signal
import struct
import subprocess
import time

import pytest
import torch
from safetensors.torch import load_file, save_file

import tiny

PROMPT = tiny.to_text([5, 9, 17, 3])


@pytest.fixture(scope="module")
def originals(hf, tmp_path_factory):
    """family -> directory with a char tokenizer; to be copied before it is damaged."""
    root, made = tmp_path_factory.mktemp("originals"), {}

    def call(family, **overrides):
        key = (family, repr(sorted(overrides.items())))
        if key not in made:
            model = tiny.make_model(hf, family, seed=31, **overrides)
            directory = tiny.save(model, root / f"{family}-{len(made)}")
            made[key] = tiny.add_char_tokenizer(directory, 131)
        return made[key]

    return call


@pytest.fixture
def model(originals, tmp_path):
    """A copy of a tiny Llama, free to be damaged."""
    return copied(originals("llama"), tmp_path / "model")


def copied(source, to):
    shutil.copytree(source, to)
    return to


def refused(done, *named, code=1):
    """Exactly one line, from us, that holds each of `named`."""
    message = done.stderr.decode()
    assert done.returncode == code, f"exit {done.returncode}: {message}"
    lines = message.splitlines()
    assert len(lines) == 1 and message.endswith("\n"), message
    assert lines[0].startswith("moebius: "), message
    for each in named:
        assert str(each) in message, f"{each!r} is not named in: {message}"
    assert lines[0].isprintable(), repr(message)
    return message


def nothing_at(out):
    assert not os.path.lexists(out)
    left = [p.name for p in out.parent.iterdir() if "partial" in p.name]
    assert not left, left


def refused_everywhere(moebius, model, tmp_path, *named):
    """By convert, generate, and train alike."""
    text = tmp_path / "some-text.txt"
    text.write_text(PROMPT * 20, encoding="utf-8")
    refused(moebius("convert", model, "-o", tmp_path / "out"), *named)
    nothing_at(tmp_path / "out")
    done = moebius("generate", model, "--prompt", PROMPT)
    refused(done, *named)
    assert done.stdout == b""
    refused(moebius("train", "--init", model, "--data", text, "--out", tmp_path / "run", "--steps",
                    1, "--sequence", 8), *named)
    nothing_at(tmp_path / "run")


# ---- safetensors ------------------------------------------------------------------------------


def read_parts(file):
    bits = file.read_bytes()
    (length,) = struct.unpack("<Q", bits[:8])
    return json.loads(bits[8 : 8 + length]), bits[8 + length :]


def write_parts(file, header, data, length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)


def change_entry(**changes):
    """Damage to the header's entry of one tensor; values may be functions of entry and data."""

    def damage(file):
        header, data = read_parts(file)
        entry = header["model.norm.weight"]
        for key, value in changes.items():
            entry[key] = value(entry, data) if callable(value) else value
            if entry[key] is None:
                del entry[key]
        write_parts(file, header, data)

    return damage


def with_header(change):
    def damage(file):
        header, data = read_parts(file)
        write_parts(file, change(header), data)

    return damage


def with_length(length):
    def damage(file):
        header, data = read_parts(file)
        write_parts(file, header, data, length)

    return damage


def twice(header):
    text = json.dumps(header)
    entry = json.dumps(header["model.norm.weight"])
    return (text[:-1] + f', "model.norm.weight": {entry}}}').encode()


HUGE = 1 << 62
NORM = "model.norm.weight"
FILES = {
    "no bytes": (lambda f: f.write_bytes(b""), []),
    "four bytes": (lambda f: f.write_bytes(b"abcd"), []),
    "length alone": (lambda f: f.write_bytes(struct.pack("<Q", 0)), []),
    "a web page": (lambda f: f.write_bytes(b"<!DOCTYPE html><html>not found</html>" * 9), []),
    "a pointer of git lfs": (
        lambda f: f.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), []),
    "header longer than the file": (with_length(1 << 20), []),
    "header length of 2^63": (with_length(1 << 63), []),
    "header length of 2^64 - 1": (with_length((1 << 64) - 1), []),
    "header cut short": (with_length(300), []),
    "header is not JSON": (with_header(lambda h: b"{" * 64), []),
    "header of brackets": (with_header(lambda h: b"[" * 1_000_000), []),
    "header is a list": (with_header(lambda h: b"[]" + b" " * 62), []),
    "header is not UTF-8": (with_header(lambda h: b'{"\xff\xfe": 1}'), []),
    "file cut in its data": (lambda f: os.truncate(f, f.stat().st_size - 100), []),
    "file cut in its header": (lambda f: os.truncate(f, 200), []),
    "tensor given twice": (with_header(twice), [NORM]),
    "offsets behind the end": (
        change_entry(data_offsets=lambda e, d: [len(d) + 4, len(d) + 4 + 192]), [NORM]),
    "offsets of 2^62": (change_entry(data_offsets=[HUGE, HUGE + 192]), [NORM]),
    "offsets of 2^64": (change_entry(data_offsets=[1 << 64, (1 << 64) + 192]), [NORM]),
    "negative offsets": (change_entry(data_offsets=[-192, 0]), [NORM]),
    "offsets backwards": (change_entry(data_offsets=[192, 0]), [NORM]),
    "one offset": (change_entry(data_offsets=[0]), [NORM]),
    "offsets as text": (change_entry(data_offsets=["0", "192"]), [NORM]),
    "no offsets": (change_entry(data_offsets=None), [NORM]),
    "size and shape disagree": (change_entry(shape=[49]), [NORM]),
    "size and dtype disagree": (change_entry(dtype="F16"), [NORM]),
    "overlapping": (change_entry(data_offsets=[96, 288]), [NORM]),
    "the same bytes": (change_entry(data_offsets=[0, 192]), []),
    "no shape": (change_entry(shape=None), [NORM]),
    "negative shape": (change_entry(shape=[-48]), [NORM]),
    "overflowing shape": (change_entry(shape=[1 << 40, 1 << 40, 1 << 40]), [NORM]),
    "shape that wraps to the size": (change_entry(shape=[48, 1 << 32, 1 << 32]), [NORM]),
    "fractional shape": (change_entry(shape=[48.5]), [NORM]),
    "unknown dtype": (change_entry(dtype="F33"), [NORM]),
    "integers as weights": (change_entry(dtype="I32"), [NORM]),
    "entry is a number": (with_header(lambda h: h | {NORM: 7}), [NORM]),
}


@pytest.mark.parametrize("name", FILES)
def test_damaged_safetensors(moebius, model, tmp_path, name):
    damage, named = FILES[name]
    file = model / "model.safetensors"
    damage(file)
    refused(moebius("convert", model, "-o", tmp_path / "out"), file, *named)
    nothing_at(tmp_path / "out")


def test_damage_is_met_by_every_command(moebius, model, tmp_path):
    os.truncate(model / "model.safetensors", 5000)
    refused_everywhere(moebius, model, tmp_path, model / "model.safetensors")
    text = tmp_path / "some-text.txt"
    refused(moebius("eval", model, "--data", text), model / "model.safetensors")


def rewrite(model, change):
    file = model / "model.safetensors"
    tensors = change(load_file(file))
    save_file({n: t.contiguous() for n, t in tensors.items()}, file, metadata={"format": "pt"})


Q = "model.layers.1.self_attn.q_proj.weight"


def without(*names):
    return lambda tensors: {n: t for n, t in tensors.items() if n not in names}


@pytest.mark.parametrize(
    "change, named",
    [
        (without(Q), [Q, "missing"]),
        (without("model.embed_tokens.weight"), ["model.embed_tokens.weight", "missing"]),
        (without("lm_head.weight"), ["lm_head.weight", "missing"]),
        (lambda t: t | {Q: t[Q][:, :-1]}, [Q, "[48, 47]", "[48, 48]"]),
        (lambda t: t | {Q: t[Q].flatten()}, [Q, "[2304]"]),
        (lambda t: t | {Q: t[Q].unsqueeze(0)}, [Q, "[1, 48, 48]"]),
        (lambda t: t | {"model.layers.2.mlp.up_proj.weight": torch.ones(76, 48)},
         ["model.layers.2.mlp.up_proj.weight"]),
        (lambda t: t | {"model.layers.0.self_attn.q_proj.bias": torch.ones(48)},
         ["model.layers.0.self_attn.q_proj.bias"]),
        (lambda t: t | {"score.weight": torch.ones(2, 48)}, ["score.weight", "[2, 48]"]),
        (lambda t: t | {"evil\nmoebius: done": torch.ones(1)}, ["evil"]),
        (lambda t: t | {"evil\x1b[2Jname": torch.ones(1)}, ["evil"]),
        (lambda t: t | {Q: t[Q].to(torch.float64)}, [Q, "F64"]),
        (lambda t: t | {Q: t[Q].to(torch.int8)}, [Q, "I8"]),
    ],
    ids=["missing matrix", "missing embedding", "missing head", "misshapen", "flat", "extra dim",
         "foreign layer", "foreign bias", "foreign head", "name with a newline",
         "name with an escape", "f64", "int8"],
)
def test_tensors_that_do_not_fit(moebius, model, tmp_path, change, named):
    rewrite(model, change)
    refused(moebius("convert", model, "-o", tmp_path / "out"), *named)
    nothing_at(tmp_path / "out")


def test_tensors_that_do_not_fit_are_met_by_every_command(moebius, model, tmp_path):
    rewrite(model, without(Q))
    refused_everywhere(moebius, model, tmp_path, model, Q, "missing")


@pytest.mark.parametrize("method, change, named", [
    ("gptq", lambda t: t | {Q.replace(".weight", ".qweight"): t.pop(Q).int()}, ("gptq", "q_proj.qweight")),
    (None, lambda t: t | {Q + ".absmax": torch.ones(3)}, ("bitsandbytes", Q + ".absmax")),
    ("compressed-tensors", lambda t: t | {Q + "_packed": t.pop(Q).int()}, ("compressed-tensors", Q + "_packed")),
    ("fp8", lambda t: t | {Q: t[Q].to(torch.float8_e4m3fn)}, ("FP8", "F8_E4M3", Q)),
    ("bitsandbytes", lambda t: t | {Q: t[Q].to(torch.int8)}, ("bitsandbytes", Q)),
    (None, lambda t: t | {Q: torch.ones(8, 2, dtype=torch.uint32)}, ("MLX", Q)),
])
def test_quantised_weights_are_refused_by_name_with_the_way_out(moebius, model, tmp_path, method, change, named):
    rewrite(model, change)
    if method is not None:
        tiny.edit_json(model / "config.json", quantization_config={"quant_method": method})
    refused(moebius("convert", model, "-o", tmp_path / "out"), *named, "dequantize()")
    nothing_at(tmp_path / "out")


def test_a_missing_expert_is_named(moebius, originals, tmp_path):
    model = copied(originals("mixtral"), tmp_path / "model")
    name = "model.layers.1.block_sparse_moe.experts.4.w2.weight"
    rewrite(model, without(name))
    refused(moebius("info", model), name)


@pytest.fixture
def sharded(hf, tmp_path):
    model = tiny.save(tiny.make_model(hf, "llama"), tmp_path / "model", max_shard_size="40KB")
    return tiny.add_char_tokenizer(model, 131)


INDEX = "model.safetensors.index.json"


def change_index(model, change):
    index = json.loads((model / INDEX).read_text())
    change(index["weight_map"])
    (model / INDEX).write_text(json.dumps(index))


def test_absent_shard(moebius, sharded, tmp_path):
    gone = sorted(sharded.glob("*.safetensors"))[1]
    gone.unlink()
    refused_everywhere(moebius, sharded, tmp_path, sharded / INDEX, gone.name)


def test_no_weights_at_all(moebius, model, tmp_path):
    (model / "model.safetensors").unlink()
    refused_everywhere(moebius, model, tmp_path, model, "model.safetensors")
    (model / "pytorch_model.bin").write_bytes(b"PK")
    refused(moebius("info", model), "pytorch_model.bin", "truncated")


@pytest.mark.parametrize(
    "where", ["../elsewhere.safetensors", "/etc/passwd", "..", ".", "", "a/b.safetensors", 7, None])
def test_index_that_points_outside(moebius, sharded, tmp_path, where):
    shutil.copy(sorted(sharded.glob("*.safetensors"))[0], tmp_path / "elsewhere.safetensors")
    change_index(sharded, lambda m: m.update({Q: where}))
    refused(moebius("info", sharded), sharded / INDEX, Q)


def test_index_that_lies(moebius, sharded):
    files = sorted(p.name for p in sharded.glob("*.safetensors"))
    original = (sharded / INDEX).read_bytes()
    change_index(sharded, lambda m: m.update({Q: next(f for f in files if f != m[Q])}))
    refused(moebius("info", sharded), sharded / INDEX, Q)
    (sharded / INDEX).write_bytes(original)
    change_index(sharded, lambda m: m.update({"no.such.tensor": files[0]}))
    refused(moebius("info", sharded), sharded / INDEX, "no.such.tensor")


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"{}", b'{"weight_map": []}', b'{"weight_map": {}}', b"\xff"])
def test_malformed_index(moebius, sharded, content):
    (sharded / INDEX).write_bytes(content)
    refused(moebius("info", sharded), sharded / INDEX)


# ---- config.json ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b'{"model_type": "llama",}', b"\xff\xfe{}",
                b'{"a": 1', b"[" * 100000])
def test_malformed_configuration(moebius, model, tmp_path, content):
    (model / "config.json").write_bytes(content)
    refused(moebius("convert", model, "-o", tmp_path / "out"), model / "config.json")
    nothing_at(tmp_path / "out")


@pytest.mark.parametrize(
    "changes, named",
    [
        (dict(model_type="mamba"), ["mamba", "unknown architecture", "llama", "gpt2"]),
        (dict(model_type=None), ["model_type"]),
        (dict(model_type=["llama"]), ["model_type"]),
        (dict(hidden_size=None), ["hidden_size"]),
        (dict(hidden_size="48"), ["hidden_size"]),
        (dict(hidden_size=48.5), ["hidden_size"]),
        (dict(hidden_size=0), ["hidden_size"]),
        (dict(hidden_size=-48), ["hidden_size"]),
        (dict(hidden_size=1 << 40), ["hidden_size"]),
        (dict(hidden_size=1 << 64), ["hidden_size"]),
        (dict(num_hidden_layers=0), ["num_hidden_layers"]),
        (dict(num_attention_heads=7, num_key_value_heads=7, head_dim=None), ["num_attention_heads", "7"]),
        (dict(num_key_value_heads=4), ["num_key_value_heads", "4"]),
        (dict(head_dim=7), ["head_dim"]),
        (dict(hidden_act="tanhexp"), ["hidden_act", "tanhexp"]),
        (dict(dtype="float8"), ["dtype", "float8"]),
        (dict(tie_word_embeddings="yes"), ["tie_word_embeddings"]),
        (dict(rope_parameters={"rope_type": "yarn", "rope_theta": 1e4}), ["rope_parameters", "factor"]),
        (dict(rope_parameters=None, rope_scaling={"type": "longrope", "factor": 2.0}), ["longrope"]),
        (dict(rope_parameters={"rope_theta": -1.0}), ["rope_theta"]),
        (dict(eos_token_id="two"), ["eos_token_id"]),
    ],
)
def test_configuration_that_cannot_be(moebius, model, changes, named):
    file = model / "config.json"
    if "eos_token_id" in changes:
        (model / "generation_config.json").unlink()
    tiny.edit_json(file, **changes)
    refused(moebius("info", model), file, *named)


def test_no_configuration_no_directory(moebius, model, tmp_path):
    (model / "config.json").unlink()
    refused_everywhere(moebius, model, tmp_path, model / "config.json")
    refused_everywhere(moebius, tmp_path / "nowhere", tmp_path, tmp_path / "nowhere")


def test_more_experts_a_token_than_there_are(moebius, originals, tmp_path):
    model = copied(originals("mixtral"), tmp_path / "model")
    tiny.edit_json(model / "config.json", num_experts_per_tok=6)
    refused(moebius("info", model), model / "config.json", "6", "5")


def test_malformed_generation_configuration(moebius, model):
    (model / "generation_config.json").write_text("{")
    refused(moebius("generate", model, "--prompt", PROMPT), model / "generation_config.json")


@pytest.mark.parametrize("changes", [
    dict(layers=[{"layer": 2, "experts": 4, "top_k": 2, "width": 76}]),
    dict(layers=[{"layer": 0, "experts": 4, "top_k": 5, "width": 76}]),
    dict(layers=[{"layer": 0, "experts": 4, "top_k": 2, "width": 77}]),
    dict(layers="all"), dict(family="mamba"), dict(format=2),
])
def test_overlay_that_cannot_be(moebius, originals, tmp_path, changes):
    out = tmp_path / "out"
    moebius("convert", originals("llama"), "-o", out, "--layers", "0", check=True)
    config = json.loads((out / "config.json").read_text())
    config["moebius"].update(changes)
    (out / "config.json").write_text(json.dumps(config))
    refused(moebius("info", out), out)


# ---- Vocabulary, weights, text ----------------------------------------------------------------


def test_tokenizer_with_more_ids_than_the_model(moebius, model, tmp_path):
    tiny.add_char_tokenizer(model, 132)
    text = tmp_path / "text.txt"
    text.write_text(PROMPT * 20, encoding="utf-8")
    for args in (["generate", model, "--prompt", PROMPT], ["eval", model, "--data", text],
                 ["convert", model, "-o", tmp_path / "out"],
                 ["train", "--init", model, "--data", text, "--out", tmp_path / "out", "--steps", 1]):
        refused(moebius(*args), model, "132", "131")
        nothing_at(tmp_path / "out")


@pytest.mark.parametrize("content, named", [("{", "tokenizer.json"), ("", "tokenizer.json"), (None, "tokenizer.json")])
def test_no_good_tokenizer(moebius, model, tmp_path, content, named):
    file = model / "tokenizer.json"
    file.unlink()
    if content is not None:
        file.write_text(content)
        refused(moebius("convert", model, "-o", tmp_path / "out"), file)
        nothing_at(tmp_path / "out")
    refused(moebius("generate", model, "--prompt", "a"), file)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_convert_names_the_tensor_that_is_not_finite(hf, moebius, tmp_path, dtype, bad):
    directory = tiny.save(tiny.make_model(hf, "llama"), tmp_path / "model", dtype=dtype)
    tiny.add_char_tokenizer(directory, 131)
    name = {
        torch.float32: Q,
        torch.bfloat16: "model.layers.0.mlp.down_proj.weight",
        torch.float16: "lm_head.weight",
    }[dtype]
    tensors = load_file(directory / "model.safetensors")
    tensors[name].view(-1)[-5] = bad
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    done = moebius("convert", directory, "-o", tmp_path / "out", "--layers", "0")
    refused(done, directory / "model.safetensors", name, tensors[name].numel() - 5)
    nothing_at(tmp_path / "out")


LLAMA_PARTS = [
    ("model.layers.1.self_attn.v_proj.weight", "attention of layer 1"),
    ("model.layers.0.mlp.up_proj.weight", "FFN of layer 0"),
    ("model.layers.1.post_attention_layernorm.weight", "FFN of layer 1"),
    ("model.embed_tokens.weight", "embedding"),
    ("model.norm.weight", "final norm or the head"),
    ("lm_head.weight", "final norm or the head"),
]


@pytest.mark.parametrize("name, place", LLAMA_PARTS)
def test_not_finite_logits_name_the_layer(moebius, model, tmp_path, name, place):
    def spoil(tensors):
        tensors[name].fill_(float("nan"))
        return tensors

    rewrite(model, spoil)
    text = tmp_path / "text.txt"
    text.write_text(PROMPT * 20, encoding="utf-8")
    done = moebius("generate", model, "--prompt", PROMPT)
    refused(done, place)
    assert done.stdout == b""
    refused(moebius("eval", model, "--data", text), place)
    refused(moebius("train", "--init", model, "--data", text, "--out", tmp_path / "run", "--steps",
                    2, "--sequence", 8), place)
    assert not (tmp_path / "run" / "model").exists() and not (tmp_path / "run" / "latest").exists()


@pytest.mark.parametrize("length", [4, 40])
def test_not_finite_attention_scores(moebius, model, length):
    """LibTorch's attention turns scores that are NaN into zeros where there are few keys."""

    def spoil(tensors):
        tensors[Q].fill_(float("nan"))
        return tensors

    rewrite(model, spoil)
    done = moebius("generate", model, "--prompt", tiny.to_text([5] * length), "--max-tokens", 20)
    refused(done, "layer 1")


def test_not_finite_logits_of_a_mixture(moebius, originals, tmp_path):
    model = copied(originals("mixtral"), tmp_path / "model")

    def spoil(tensors):
        for e in range(5):
            tensors[f"model.layers.1.block_sparse_moe.experts.{e}.w1.weight"].fill_(float("inf"))
        return tensors

    rewrite(model, spoil)
    refused(moebius("generate", model, "--prompt", PROMPT), "MoE of layer 1")


def test_not_finite_logits_that_arise_later(moebius, originals, tmp_path):
    """Only positions from 20 on are bad: the prompt is fine, the continuation is not."""
    model = copied(originals("gpt2"), tmp_path / "model")

    def spoil(tensors):
        tensors["transformer.wpe.weight"][20:] = float("nan")
        return tensors

    rewrite(model, spoil)
    fine = moebius("generate", model, "--prompt", PROMPT, "--max-tokens", 10)
    assert fine.returncode == 0
    refused(moebius("generate", model, "--prompt", PROMPT, "--max-tokens", 40), "non-finite")


def test_training_that_diverges_stops(moebius, originals, tmp_path):
    text, run = tmp_path / "text.txt", tmp_path / "run"
    text.write_text(PROMPT * 50, encoding="utf-8")
    done = moebius("train", "--init", originals("llama"), "--data", text, "--out", run, "--steps",
                   30, "--sequence", 8, "--batch", 2, "--lr", 1e38, "--clip", 0)
    assert done.returncode == 1 and b"moebius: " in done.stderr
    assert not (run / "model").exists()


BAD_TEXT = b"Once \xc3\x28 upon"


def test_text_that_is_not_utf8(moebius, model, tmp_path):
    text = tmp_path / "bad-text.txt"
    text.write_bytes(BAD_TEXT)
    rows = tmp_path / "bad-rows.jsonl"
    rows.write_bytes(b'{"text": "fine"}\n{"text": "' + BAD_TEXT + b'"}\n')
    for file in (text, rows):
        refused(moebius("eval", model, "--data", file), file, "UTF-8")
        refused(moebius("train", "--init", model, "--data", file, "--out", tmp_path / "run",
                        "--steps", 1), file, "UTF-8")
        nothing_at(tmp_path / "run")
        refused(moebius("tokenizer", "train", "--data", file, "-o", tmp_path / "tok"), file, "UTF-8")
        nothing_at(tmp_path / "tok")
    refused(moebius("generate", model, "--prompts", text), text, "UTF-8")
    refused(moebius("tokenize", model, input=BAD_TEXT), "standard input", "UTF-8")
    for args in (["generate", model, "--prompt"], ["convert", model, "-o", tmp_path / "out",
                                                   "--test-prompt"]):
        done = subprocess.run([moebius.path, *map(str, args), BAD_TEXT], capture_output=True)
        refused(done, "UTF-8")
        nothing_at(tmp_path / "out")


@pytest.mark.parametrize(
    "name, content, more",
    [
        ("a.txt", "", []), ("a.jsonl", "", []), ("a.jsonl", "\n\n", []), ("a.json", "[]", []),
        ("a.jsonl", '{"text": ""}\n', []),
        ("a.jsonl", '{"text": "ab"}\n{"text": \n', ["line 2"]),
        ("a.jsonl", '{"text": "ab"}\n[1]\n', ["line 2"]),
        ("a.jsonl", '{"body": "ab"}\n', ["line 1", "text", "body"]),
        ("a.jsonl", '{"text": 7}\n', ["line 1", "text"]),
        ("a.json", '{"text": "ab"}', []),
    ],
)
def test_data_without_text(moebius, model, tmp_path, name, content, more):
    file = tmp_path / name
    file.write_text(content)
    refused(moebius("eval", model, "--data", file), file, *more)
    refused(moebius("train", "--init", model, "--data", file, "--out", tmp_path / "run", "--steps",
                    1), file, *more)
    nothing_at(tmp_path / "run")


def test_text_too_short(moebius, model, tmp_path):
    file = tmp_path / "short.txt"
    file.write_text(tiny.to_text([3]), encoding="utf-8")
    refused(moebius("eval", model, "--data", file), file)
    done = moebius("train", "--init", model, "--data", file, "--out", tmp_path / "run", "--steps", 1)
    refused(done, "1 tokens")
    nothing_at(tmp_path / "run")


def test_files_that_are_not_there(moebius, model, tmp_path):
    gone = tmp_path / "gone.txt"
    refused(moebius("eval", model, "--data", gone), gone)
    refused(moebius("generate", model, "--prompts", gone), gone)
    refused(moebius("train", "--init", model, "--data", gone, "--out", tmp_path / "run", "--steps",
                    1), gone)
    nothing_at(tmp_path / "run")
    (tmp_path / "empty.txt").touch()
    refused(moebius("generate", model, "--prompts", tmp_path / "empty.txt"), "empty.txt")


def test_a_failed_start_keeps_the_run_that_stood_there(moebius, model, tmp_path):
    text, bad, run = tmp_path / "text.txt", tmp_path / "bad.txt", tmp_path / "run"
    text.write_text(PROMPT * 20, encoding="utf-8")
    bad.write_bytes(BAD_TEXT)
    job = ["train", "--init", model, "--out", run, "--steps", 1, "--sequence", 8]
    moebius(*job, "--data", text, check=True)
    refused(moebius(*job, "--data", bad, "--overwrite"), bad)
    assert (run / "model" / "model.safetensors").exists(), "the old run is gone, and for nothing"


# ---- Options ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, named, code",
    [
        (["--layers", "2"], ["--layers 2", "0 to 1"], 1),
        (["--layers", "0,5-9"], ["--layers", "5"], 1),
        (["--layers", "0-99999999999999999999"], ["--layers"], 2),
        (["--layers", "x"], ["--layers", "x"], 2),
        (["--layers", "1-0"], ["--layers", "1-0"], 2),
        (["--layers", "0,,1"], ["--layers"], 2),
        (["--layers", "0,"], ["--layers"], 2),
        (["--every", "0"], ["--every"], 2),
        (["--experts", "2", "--top-k", "3"], ["--top-k 3", "--experts 2"], 1),
        (["--experts", "0"], ["--experts"], 2),
        (["--experts", "-4"], ["--experts"], 2),
        (["--experts", "4.5"], ["--experts", "4.5"], 2),
        (["--experts", "four"], ["--experts", "four"], 2),
        (["--experts", "99999999999999999999"], ["--experts"], 2),
        (["--top-k", "0"], ["--top-k"], 2),
        (["--granularity", "3"], ["--granularity 3", "76", "layer 0"], 1),
        (["--granularity", "0"], ["--granularity"], 2),
        (["--experts", "5000", "--granularity", "19"], ["--experts 5000", "--granularity 19"], 1),
        (["--granularity", "19", "--dtype", "bf16"], ["--granularity", "bf16", "19"], 1),
        (["--shared", "6", "--granularity", "2", "--dtype", "f16"], ["--shared", "f16", "3"], 1),
        (["--shared", "-1"], ["--shared"], 2),
        (["--drop", "1.5"], ["--drop"], 2),
        (["--drop", "nan"], ["--drop"], 2),
        (["--dtype", "int8"], ["--dtype", "int8", "bf16"], 2),
        (["--router", "zero"], ["--router zero", "--top-k"], 1),
        (["--router", "zero", "--top-k", "4", "--granularity", "2"], ["--router zero"], 1),
        (["--method", "split"], ["--method split", "--calibration"], 2),
        (["--router", "linear"], ["--router", "split"], 2),
        (["--calibration", "x"], ["--calibration", "split"], 2),
        (["--method", "split", "--calibration", "nowhere.txt"], ["nowhere.txt"], 1),
        (["--method", "split", "--calibration", "x", "--noise", "1"], ["--noise"], 2),
        (["--method", "split", "--calibration", "x", "--granularity", "2"], ["--granularity"], 2),
        (["--method", "split", "--calibration", "x", "--calibration-tokens", "0"],
         ["--calibration-tokens"], 2),
        (["--noise", "-0.1"], ["--noise"], 2),
        (["--noise", "nan"], ["--noise"], 2),
        (["--noise", "inf"], ["--noise"], 2),
        (["--max-kl", "nan"], ["--max-kl"], 2),
        (["--max-shard-size", "0"], ["--max-shard-size"], 2),
        (["--max-shard-size", "5XB"], ["--max-shard-size", "5XB"], 2),
        (["--max-shard-size", "-5GB"], ["--max-shard-size"], 2),
        (["--method", "magic"], ["--method", "magic", "upcycle"], 2),
        (["--router", "magic"], ["--router", "magic", "random"], 2),
        (["--seed", "x"], ["--seed"], 2),
        (["--threads", "-1"], ["--threads"], 2),
        (["--device", "tpu"], ["--device", "tpu"], 2),
        (["--device", "cuda:99"], ["cuda:99"], 2),
        (["--log-level", "loud"], ["--log-level", "loud"], 2),
        (["--expert", "4"], ["--expert", "--experts"], 2),
        (["--nois=0.1"], ["--nois", "--noise"], 2),
        (["--zzzzzzzzz"], ["--zzzzzzzzz"], 2),
        (["--experts", "4", "--experts", "8"], ["--experts"], 2),
        (["--experts"], ["--experts"], 2),
        (["another"], ["another"], 2),
        (["--test-prompt", PROMPT * 20], ["80", "64"], 1),
    ],
)
def test_convert_options(moebius, originals, tmp_path, options, named, code):
    done = moebius("convert", originals("llama"), "-o", tmp_path / "out", *options)
    refused(done, *named, code=code)
    nothing_at(tmp_path / "out")
    assert done.stdout == b""


def test_convert_of_a_mixture(moebius, originals, tmp_path):
    done = moebius("convert", originals("mixtral"), "-o", tmp_path / "out")
    refused(done, "mixtures of experts of its own")
    nothing_at(tmp_path / "out")


@pytest.mark.parametrize(
    "args, named",
    [
        ([], ["no command"]),
        (["convertt"], ["convertt", "convert"]),
        (["generat", "x"], ["generat", "generate"]),
        (["zzzzzzzzzz"], ["zzzzzzzzzz"]),
        (["data"], ["data"]),
        (["convert"], ["missing"]),
        (["convert", "MODEL"], ["--out"]),
        (["generate", "MODEL"], ["--prompt"]),
        (["generate", "MODEL", "--prompt", "a", "--prompts", "b"], ["--prompt"]),
        (["generate", "MODEL", "--prompt", "a", "--max-tokens", "0"], ["--max-tokens"]),
        (["generate", "MODEL", "--prompt", "a", "--temperature", "-1"], ["--temperature"]),
        (["generate", "MODEL", "--prompt", "a", "--temperature", "nan"], ["--temperature"]),
        (["generate", "MODEL", "--prompt", "a", "--top-p", "0"], ["--top-p"]),
        (["generate", "MODEL", "--prompt", "a", "--top-p", "1.5"], ["--top-p"]),
        (["generate", "MODEL", "--prompt", "a", "--top-k", "-1"], ["--top-k"]),
        (["generate", "MODEL", "--prompt", "a", "--repetition-penalty", "0"], ["--repetition-penalty"]),
        (["generate", "MODEL", "--prompt", "a", "--weights", "int3"], ["--weights", "int3"]),
        (["eval", "MODEL"], ["--data"]),
        (["train", "--init", "MODEL", "--data", "x", "--out", "OUT"], ["--steps", "--epochs"]),
        (["train", "--data", "x", "--out", "OUT", "--steps", "1"], ["--init", "--model-config"]),
        (["train", "--init", "MODEL", "--data", "x", "--steps", "1"], ["--out"]),
        (["train", "--init", "MODEL", "--data", "x", "--out", "OUT", "--steps", "1", "--batch", "0"],
         ["--batch"]),
        (["train", "--init", "MODEL", "--data", "x", "--out", "OUT", "--steps", "1", "--lr", "0"],
         ["--lr"]),
        (["train", "--init", "MODEL", "--data", "x", "--out", "OUT", "--steps", "-1"], ["--steps"]),
        (["tokenizer", "train", "--data", "x", "-o", "OUT", "--vocab-size", "-1"], ["--vocab-size"]),
    ],
)
def test_usage(moebius, originals, tmp_path, args, named):
    places = {"MODEL": originals("llama"), "OUT": tmp_path / "out"}
    done = moebius(*[places.get(a, a) for a in args])
    refused(done, *named, code=2)
    nothing_at(tmp_path / "out")


def test_sequence_and_context_beyond_the_model(moebius, originals, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text(PROMPT * 50, encoding="utf-8")
    done = moebius("train", "--init", originals("llama"), "--data", text, "--out", tmp_path / "run",
                   "--steps", 1, "--sequence", 65)
    refused(done, "--sequence 65", "64")
    nothing_at(tmp_path / "run")


@pytest.mark.parametrize(
    "content, named",
    [
        ("expertz: 4\n", [":1", "expertz", "experts"]),
        ("experts: 4\nconfig: x\n", [":2", "config"]),
        ("experts: 4\ntop-k: 2\nexperts: 5\n", [":3", "experts"]),
        ("experts: four\n", [":1", "experts", "four"]),
        ("experts: {a: b}\n", [":1", "experts"]),
        ("experts: [1, 2]\n", [":1", "experts"]),
        ("experts:\n", [":1", "experts"]),
        ("- experts\n", []),
        ("experts: [4\n", []),
        ("method: magic\n", [":1", "method", "magic"]),
        ("{a: b}: 4\n", [":1"]),
    ],
)
def test_configuration_file(moebius, originals, tmp_path, content, named):
    file = tmp_path / "job.yaml"
    file.write_text(content)
    done = moebius("convert", originals("llama"), "-o", tmp_path / "out", "--config", file)
    refused(done, file, *named, code=2)
    nothing_at(tmp_path / "out")


def test_configuration_file_that_works(moebius, originals, tmp_path):
    """The command line wins over the file."""
    file = tmp_path / "job.yaml"
    file.write_text(f"MODEL: {originals('llama')}\nexperts: 6\ntop-k: 3\nlayers: all\n"
                    f"out: {tmp_path / 'out'}\n")
    moebius("convert", "--config", file, "--top-k", 1, check=True)
    report = json.loads((tmp_path / "out/conversion.json").read_text())
    assert [(row["experts"], row["top_k"]) for row in report["layers"]] == [(6, 1), (6, 1)]
    done = moebius("convert", "--config", tmp_path / "gone.yaml")
    assert done.returncode in (1, 2) and b"gone.yaml" in done.stderr


def test_help_and_version(moebius):
    for args in (["--version"], ["--help"], ["convert", "--help"], ["train", "--help"]):
        done = moebius(*args, check=True)
        assert done.stdout and done.stderr == b""


# ---- Outputs ----------------------------------------------------------------------------------


def state_of(directory):
    return {str(p.relative_to(directory)): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


def test_existing_output(moebius, originals, tmp_path):
    out = tmp_path / "out"
    job = ["convert", originals("llama"), "-o", out]
    moebius(*job, "--experts", 3, check=True)
    before = state_of(out)
    refused(moebius(*job, "--experts", 5), out, "--overwrite")
    assert state_of(out) == before
    moebius(*job, "--experts", 5, "--overwrite", check=True)
    assert json.loads((out / "conversion.json").read_text())["options"]["experts"] == 5
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    # A trailing slash is the same directory.
    refused(moebius("convert", originals("llama"), "-o", f"{out}/"), out, "--overwrite")
    moebius("convert", originals("llama"), "-o", f"{out}/", "--overwrite", check=True)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_overwrite_refuses_what_is_no_output(moebius, originals, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "letter.txt").write_text("dear")
    file = tmp_path / "file"
    file.write_text("precious")
    text = tmp_path / "text.txt"
    text.write_text(PROMPT * 20, encoding="utf-8")
    jobs = {
        "convert": lambda out: ["convert", originals("llama"), "-o", out],
        "train": lambda out: ["train", "--init", originals("llama"), "--data", text, "--out", out,
                              "--steps", 1, "--sequence", 8],
        "tokenizer": lambda out: ["tokenizer", "train", "--data", text, "--vocab-size", 300, "-o", out],
        "data": lambda out: ["data", "synth", "--samples", 10, "-o", out],
    }
    for name, job in jobs.items():
        for out in (home, file) if name == "convert" else (home,):
            refused(moebius(*job(out)), out, "--overwrite")
            refused(moebius(*job(out), "--overwrite"), out, "not an output")
            assert (home / "letter.txt").read_text() == "dear" and file.read_text() == "precious"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "home", "text.txt"]


def test_output_that_is_the_source(moebius, model, tmp_path):
    before = state_of(model)
    for out in (model, f"{model}/", model / ".." / "model"):
        done = moebius("convert", model, "-o", out, "--overwrite")
        refused(done, "same directory")
    assert state_of(model) == before


def test_a_failed_conversion_keeps_the_output_that_stood_there(moebius, model, tmp_path):
    out = tmp_path / "out"
    moebius("convert", model, "-o", out, check=True)
    before = state_of(out)

    def spoil(tensors):
        tensors["lm_head.weight"][-1, -1] = float("nan")
        return tensors

    rewrite(model, spoil)
    refused(moebius("convert", model, "-o", out, "--overwrite"), "lm_head.weight")
    assert state_of(out) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model", "out"]


def test_standard_output_that_is_full(moebius, originals):
    with open("/dev/full", "wb") as full:
        for args in (["info", originals("llama")], ["generate", originals("llama"), "--prompt", PROMPT]):
            done = subprocess.run([moebius.path, *map(str, args)], stdout=full,
                                  stderr=subprocess.PIPE)
            refused(done, "standard output")


def on_small_disk(moebius, tmp_path, size, *args):
    """Runs with a tmpfs of `size` at tmp_path/disk, in a mount namespace of its own; returns the
    run, and what the disk then holds."""
    disk = tmp_path / "disk"
    disk.mkdir(exist_ok=True)
    unshare = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-Urm"]
    mount = f'mount -t tmpfs -o size={size} tmpfs "$1" || exit 99; '
    script = mount + 'shift_to="$1"; shift; "$@"; code=$?; ls -A "$shift_to"; exit $code'
    done = subprocess.run([*unshare, "sh", "-c", script, "sh", str(disk), moebius.path,
                           *map(str, args)], capture_output=True)
    if done.returncode == 99 or (b"unshare" in done.stderr and b"moebius:" not in done.stderr):
        pytest.skip(f"no small disk can be mounted: {done.stderr.decode().strip()}")
    return done


@pytest.mark.parametrize("size", ["64k", "300k"])
def test_disk_full_while_converting(moebius, originals, tmp_path, size):
    done = on_small_disk(moebius, tmp_path, size, "convert", originals("llama"), "-o",
                         tmp_path / "disk/out", "--layers", "all", "--experts", 8)
    refused(done, tmp_path / "disk", "free some space")
    assert done.stdout == b"", "something was left on the disk"


def test_disk_full_while_training(moebius, originals, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text(PROMPT * 50, encoding="utf-8")
    done = on_small_disk(moebius, tmp_path, "1m", "train", "--init", originals("llama"), "--data",
                         text, "--out", tmp_path / "disk/run", "--steps", 5, "--save-every", 1,
                         "--sequence", 8, "--batch", 1, "--keep", 5)
    refused(done, tmp_path / "disk/run", "free some space")


def test_disk_full_while_a_tokenizer_is_written(moebius, data, tmp_path):
    done = on_small_disk(moebius, tmp_path, "8k", "tokenizer", "train", "--data",
                         data / "text/wiki.test.raw", "--vocab-size", 600, "-o", tmp_path / "disk/tok")
    refused(done, tmp_path / "disk", "free some space")
    assert done.stdout == b""


# ---- Signals ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def slow(hf, tmp_path_factory):
    """A model of 70 MB: noise on its experts takes seconds."""
    config = hf.LlamaConfig(vocab_size=131, hidden_size=512, intermediate_size=2048,
                            num_hidden_layers=4, num_attention_heads=8, max_position_embeddings=64)
    torch.manual_seed(0)
    directory = tmp_path_factory.mktemp("slow") / "model"
    tiny.save(hf.LlamaForCausalLM(config), directory)
    return tiny.add_char_tokenizer(directory, 131)


def begin_conversion(moebius, slow, out, *more):
    """A conversion that was met while it writes its weights."""
    process = subprocess.Popen(
        [moebius.path, "convert", str(slow), "-o", str(out), "--layers", "all", "--experts", "4",
         "--noise", "0.1", *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        if list(out.parent.glob(f".{out.name}.partial-*/model.safetensors")):
            time.sleep(0.1)
            assert process.poll() is None, "too fast to be met in the middle"
            return process
        time.sleep(0.002)
    pytest.fail(f"it never wrote: {process.stderr.read().decode()}")


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_while_writing(moebius, slow, tmp_path, number, code):
    process = begin_conversion(moebius, slow, tmp_path / "out")
    process.send_signal(number)
    start = time.monotonic()
    stdout, stderr = process.communicate(timeout=60)
    assert time.monotonic() - start < 10
    assert process.returncode == code, stderr.decode()
    assert stdout == b"" and b"stopped" in stderr
    assert list(tmp_path.iterdir()) == []


def test_kill_9_while_writing(moebius, slow, originals, tmp_path):
    out = tmp_path / "out"
    process = begin_conversion(moebius, slow, out)
    process.kill()
    process.communicate()
    assert not out.exists()
    assert len(list(tmp_path.iterdir())) == 1, "a killed process cannot tidy up"
    # The next one does.
    moebius("convert", originals("llama"), "-o", out, check=True)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    moebius("generate", out, "--prompt", PROMPT, check=True)


def test_kill_9_while_overwriting_keeps_the_old_output(moebius, slow, originals, tmp_path):
    out = tmp_path / "out"
    moebius("convert", originals("llama"), "-o", out, check=True)
    before = state_of(out)
    process = begin_conversion(moebius, slow, out, "--overwrite")
    process.kill()
    process.communicate()
    assert state_of(out) == before
    moebius("convert", originals("llama"), "-o", out, "--overwrite", check=True)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_two_conversions_to_one_place(moebius, slow, originals, tmp_path):
    """The stage of a process that lives is not swept away."""
    out = tmp_path / "out"
    process = begin_conversion(moebius, slow, out)
    moebius("convert", originals("llama"), "-o", out, check=True)
    before = state_of(out)
    assert process.poll() is None
    stdout, stderr = process.communicate(timeout=100)
    # The first to finish has the name; the other may not replace it without --overwrite.
    assert process.returncode == 1, stderr.decode()
    assert str(out).encode() in stderr
    assert state_of(out) == before
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_signal_while_generating(moebius, stories, tmp_path):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("Once upon a time\n" * 1000)
    process = subprocess.Popen(
        [moebius.path, "generate", str(stories), "--prompts", str(prompts), "--max-tokens", "400"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert os.read(process.stdout.fileno(), 16)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130 and stderr == b"moebius: stopped\n"


def test_signal_while_evaluating(moebius, stories, data):
    process = subprocess.Popen(
        [moebius.path, "eval", str(stories), "--data", str(data / "text/tinystories_sample_2M.txt"),
         "--context", "16", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    time.sleep(2)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 143 and stdout == b"" and b"stopped" in stderr
