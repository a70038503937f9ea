"""quantize: packed files compute what packing at once does, and lie about nothing unnoticed."""

import json
import os
import shutil

import pytest
import tiny

TEXT = "Once upon a time there was a little dog. It liked to play in the park with its friends. " * 9


def as_json(moebius, *args):
    return json.loads(moebius(*args, "--json", check=True).stdout)


@pytest.fixture
def packed(moebius, stories, tmp_path):
    moebius("quantize", stories, "-o", tmp_path / "q", "--weights", "int8", check=True)
    return tmp_path / "q"


def complaint(moebius, *args, code=1):
    done = moebius(*args)
    assert done.returncode == code, done.stderr
    return done.stderr.decode()


@pytest.mark.parametrize("weights", ["f32", "bf16", "int8", "int4"])
def test_a_packed_file_is_what_packing_at_once_gives(moebius, stories, tmp_path, weights):
    report = as_json(moebius, "quantize", stories, "-o", tmp_path / "q", "--weights", weights)
    bits = {"f32": 32, "bf16": 16, "int8": 8.25, "int4": 4.5}[weights]
    assert bits <= report["bits_per_weight"] < 1.12 * bits  # short groups, and rows to 32
    (tmp_path / "text.txt").write_text(TEXT)
    evaluate = ["--data", tmp_path / "text.txt", "--context", 128]
    at_once = as_json(moebius, "eval", stories, *evaluate, "--weights", weights)
    stored = as_json(moebius, "eval", tmp_path / "q", *evaluate)
    assert stored["nll"] == at_once["nll"]
    assert as_json(moebius, "bench", tmp_path / "q", "--prompt", 5, "--new", 3, "--repeat", 1)[
        "weights"
    ] == weights  # fmt: skip
    info = as_json(moebius, "info", tmp_path / "q")
    assert info["dtype"] == weights and info["bytes"] < report["bytes"]


@pytest.mark.parametrize("family", ["gpt2", "mixtral", "qwen2_moe", "deepseek_v3"])
def test_every_kind_of_weight_is_stored(moebius, hf, tmp_path, family):
    directory = tiny.save(tiny.make_model(hf, family, seed=3), tmp_path / "model")
    tiny.add_char_tokenizer(directory, 131)
    moebius("quantize", directory, "-o", tmp_path / "q", "--weights", "f32", check=True)
    say = ["--prompt", "abc", "--max-tokens", 12]
    one = moebius("generate", directory, *say, check=True).stdout
    assert moebius("generate", tmp_path / "q", "--verify", *say, check=True).stdout == one


def divergence(moebius, model, reference, text):
    return as_json(moebius, "eval", model, "--data", text, "--context", 64, "--reference", reference)["kl"]


def test_calibrated_codes_lose_less_on_text_that_they_did_not_see(moebius, stories, data, tmp_path):
    text = (data / "text/tinystories_sample_2M.txt").read_text()
    (tmp_path / "held.txt").write_text(text[-20_000:])
    (tmp_path / "calibration.txt").write_text(text[:60_000])
    kl = {}
    for name, more in (("nearest", []), ("calibrated", ["--calibration", tmp_path / "calibration.txt"])):
        report = as_json(moebius, "quantize", stories, "-o", tmp_path / name, *more)
        assert report["bits_per_weight"] < 5
        kl[name] = divergence(moebius, tmp_path / name, stories, tmp_path / "held.txt")
    assert kl["calibrated"] < 0.85 * kl["nearest"]


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_every_family_is_quantised_for_a_text(moebius, hf, tmp_path, family):
    source = tiny.save(tiny.make_model(hf, family, seed=3), tmp_path / "source")
    tiny.add_char_tokenizer(source, 131)
    (tmp_path / "text.txt").write_text(tiny.to_text(tiny.random_ids(131, 1, 900)[0].tolist()))
    names = {}
    for name, more in (("nearest", []), ("calibrated", ["--calibration", tmp_path / "text.txt"])):
        moebius("quantize", source, "-o", tmp_path / name, "--weights", "int8", *more, check=True)
        names[name] = json.loads((tmp_path / name / "packed.json").read_text())["tensors"].keys()
    assert names["nearest"] == names["calibrated"]
    found = [divergence(moebius, tmp_path / name, source, tmp_path / "text.txt") for name in names]
    assert found[1] < 2 * found[0] + 1e-6


def test_an_expert_that_no_token_reaches_is_quantised_well(moebius, hf, tmp_path):
    directory = tiny.save(tiny.make_model(hf, "mixtral", seed=3, num_hidden_layers=1), tmp_path / "model")
    tiny.add_char_tokenizer(directory, 131)
    (tmp_path / "text.txt").write_text(tiny.to_text([7] * 600))  # the same experts again and again
    (tmp_path / "other.txt").write_text(tiny.to_text(tiny.random_ids(131, 1, 900)[0].tolist()))
    kl = []
    for name, more in (("nearest", []), ("calibrated", ["--calibration", tmp_path / "text.txt"])):
        moebius("quantize", directory, "-o", tmp_path / name, "--weights", "int4", *more, check=True)
        kl.append(divergence(moebius, tmp_path / name, directory, tmp_path / "other.txt"))
    assert kl[1] < 1.5 * kl[0]


def test_calibration_that_cannot_be(moebius, stories, tmp_path):
    say = ["quantize", stories, "-o", tmp_path / "q"]
    (tmp_path / "empty.txt").write_text("")
    assert "no such file" in complaint(moebius, *say, "--calibration", tmp_path / "none.txt")
    assert "no text" in complaint(moebius, *say, "--calibration", tmp_path / "empty.txt")
    (tmp_path / "text.txt").write_text(TEXT)
    text = ["--calibration", tmp_path / "text.txt"]
    assert "int8" in complaint(moebius, *say, *text, "--weights", "bf16", code=2)
    assert "--calibration-tokens" in complaint(moebius, *say, *text, "--calibration-tokens", 1, code=2)
    assert not (tmp_path / "q").exists()
    bare = shutil.copytree(stories, tmp_path / "bare", ignore=shutil.ignore_patterns("tokenizer*"))
    assert "tokenizer" in complaint(moebius, "quantize", bare, "-o", tmp_path / "q", *text)


def test_verify_finds_a_flipped_bit(moebius, packed):
    file = packed / "packed.safetensors"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    moebius("generate", packed, "--prompt", "Once", check=True)
    said = complaint(moebius, "generate", packed, "--prompt", "Once", "--verify")
    assert "digest" in said and ".weight" in said and "quantize" in said


def test_what_does_not_fit_is_named(moebius, packed, tmp_path):
    say = ["--prompt", "Once", "--max-tokens", 3]

    def broken(change, *words):
        copy = tmp_path / "broken"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(packed, copy)
        change(copy)
        said = complaint(moebius, "generate", copy, *say)
        for word in words:
            assert word in said, said

    def manifest(change):
        def apply(directory):
            content = json.loads((directory / "packed.json").read_text())
            change(content)
            (directory / "packed.json").write_text(json.dumps(content))

        return apply

    def config(**changes):
        def apply(directory):
            content = json.loads((directory / "config.json").read_text())
            (directory / "config.json").write_text(json.dumps({**content, **changes}))

        return apply

    slot = "layers.1.attn.q.weight"
    broken(manifest(lambda m: m.update(version=1)), "version 1", "version 2", "quantize")
    broken(manifest(lambda m: m.update(format="other")), "format")
    broken(manifest(lambda m: m.update(weights="int3")), "int3")
    broken(manifest(lambda m: m["tensors"].pop(slot)), slot)
    broken(manifest(lambda m: m["tensors"][slot].update(group=12)), "group")
    broken(manifest(lambda m: m["tensors"][slot].update(group=8)), slot, "bytes")
    broken(manifest(lambda m: m["tensors"][slot].update(type="int4")), slot, "bytes")
    broken(config(intermediate_size=64), "bytes", "configuration")
    broken(config(num_hidden_layers=9), "layers.", "missing")
    broken(lambda d: os.truncate(d / "packed.safetensors", 100_000), "packed.safetensors")
    broken(lambda d: (d / "packed.safetensors").unlink(), "packed.safetensors")


def test_what_packed_weights_are_not_for(moebius, stories, packed, tmp_path):
    assert "int8" in complaint(
        moebius, "generate", packed, "--weights", "int4", "--prompt", "a", code=2
    )
    for command in [["convert"], ["quantize"], ["export"]]:
        out = tmp_path / "out.gguf"
        said = complaint(moebius, *command, packed, "-o", out)
        assert "packed" in said and not out.exists()
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/letter.txt").write_text("dear")
    for there in [packed, tmp_path / "precious"]:
        assert "exists" in complaint(moebius, "quantize", stories, "-o", there)
    assert "precious" in complaint(
        moebius, "quantize", stories, "-o", tmp_path / "precious", "--overwrite"
    )
    moebius("quantize", stories, "-o", packed, "--weights", "int4", "--overwrite", check=True)
    assert as_json(moebius, "info", packed)["dtype"] == "int4"
