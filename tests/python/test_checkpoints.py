"""Directories whose files disagree, experts in one tensor, keys of another storage: read as transformers reads them."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

import tiny

LIMIT = 1e-4
MIXTURES = ["mixtral", "granitemoe", "qwen2_moe", "qwen3_moe", "olmoe", "deepseek_v2", "deepseek_v3"]


def change(directory, edit):
    """Passes the stored tensors through `edit`."""
    file = directory / "model.safetensors"
    tensors = edit(load_file(file))
    save_file({name: t.contiguous() for name, t in tensors.items()}, file, metadata={"format": "pt"})


def config_of(directory):
    return json.loads((directory / "config.json").read_text())


@pytest.fixture
def compare(hf, probe, tmp_path):
    """Logits of a directory here, beside those of transformers, which are returned."""

    def call(directory, other=None):
        ids = tiny.random_ids(131)
        expected = tiny.hf_logits(tiny.open_in_transformers(hf, other or directory), ids)
        assert tiny.max_difference(tiny.probe_logits(probe, directory, ids, tmp_path), expected) <= LIMIT
        return expected

    return call


@pytest.fixture
def write(hf, tmp_path):
    """A tiny model of a family in a directory with a char tokenizer."""

    def call(family, name="model", **kw):
        options = {key: kw.pop(key) for key in ("save_original_format",) if key in kw}
        model = tiny.make_model(hf, family, **kw)
        return tiny.add_char_tokenizer(tiny.save(model, tmp_path / name, **options), 131)

    return call


@pytest.fixture
def text(tmp_path):
    file = tmp_path / "text.txt"
    file.write_text(tiny.to_text(tiny.random_ids(131, 1, 200)[0].tolist()), encoding="utf-8")
    return file


def nll(moebius, model, text):
    return json.loads(moebius("eval", model, "--data", text, "--json", check=True).stdout)["nll"]


def train(moebius, source, text, out, *args):
    moebius("train", "--init", source, "--data", text, "--out", out, "--steps", 1, "--sequence", 8,
            "--batch", 1, "--lr", 1e-9, *args, check=True)
    return next(p for p in sorted(out.rglob("config.json")) if "training" not in p.parts).parent


# ---- A tie that the files contradict ------------------------------------------------------------


@pytest.fixture
def contradicted(write):
    """tie_word_embeddings true beside a head of its own."""

    def call(family):
        directory = write(family, tie_word_embeddings=False)
        tiny.edit_json(directory / "config.json", tie_word_embeddings=True)
        return directory

    return call


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "granitemoe"])
def test_a_stored_head_that_differs_is_kept_with_one_warning(moebius, compare, contradicted, family):
    directory = contradicted(family)
    compare(directory)
    done = moebius("info", directory, "--json", check=True)
    assert json.loads(done.stdout)["tied"] is False
    lines = done.stderr.decode().splitlines()
    assert len(lines) == 1 and "lm_head.weight" in lines[0] and "warning" in lines[0]


def test_every_command_that_writes_keeps_the_head(hf, moebius, compare, contradicted, text, tmp_path):
    source = contradicted("llama")
    expected, head = compare(source), load_file(source / "model.safetensors")["lm_head.weight"]
    converted, packed = tmp_path / "converted", tmp_path / "packed"
    moebius("convert", source, "-o", converted, "--layers", "all", "--experts", 2, check=True)
    moebius("quantize", source, "-o", packed, "--weights", "f32", check=True)
    trained = train(moebius, source, text, tmp_path / "run")
    ids = tiny.random_ids(131)
    for out in (converted, trained):
        assert config_of(out)["tie_word_embeddings"] is False
        opened = tiny.open_in_transformers(hf, out)
        assert tiny.max_difference(opened.lm_head.weight, head) <= 1e-6
        assert tiny.max_difference(tiny.hf_logits(opened, ids), expected) <= LIMIT
    assert config_of(packed)["tie_word_embeddings"] is False
    assert abs(nll(moebius, packed, text) - nll(moebius, source, text)) < 1e-4


def test_export_keeps_the_head(hf, moebius, stories, tmp_path):
    model = tiny.make_model(hf, "llama", vocab_size=512, tie_word_embeddings=False)
    source = tiny.add_stories_tokenizer(tiny.save(model, tmp_path / "model"), stories)
    tiny.edit_json(source / "config.json", tie_word_embeddings=True)
    moebius("export", source, "-o", tmp_path / "out.gguf", check=True)
    text = tmp_path / "english.txt"
    text.write_text("Once upon a time there was a dog. " * 5)
    assert nll(moebius, tmp_path / "out.gguf", text) == nll(moebius, source, text)


def test_a_tied_model_may_store_the_head_alone(compare, write):
    directory = write("llama", tie_word_embeddings=True)

    def rename(tensors):
        tensors["lm_head.weight"] = tensors.pop("model.embed_tokens.weight")
        return tensors

    change(directory, rename)
    compare(directory)


# ---- Other facts in two places --------------------------------------------------------------------


@pytest.mark.parametrize("generation, stops", [
    (None, True), ({"eos_token_id": "first"}, True), ({"eos_token_id": ["first", 130]}, True),
    ({"do_sample": False}, False), ({"eos_token_id": None}, False)])
def test_generation_config_replaces_the_eos_of_the_configuration(hf, moebius, write, generation, stops):
    directory = write("llama", eos_token_id=2)
    ids, file = [5, 90, 17], directory / "generation_config.json"
    file.unlink(missing_ok=True)
    model = tiny.open_in_transformers(hf, directory)
    first = int(tiny.hf_logits(model, [ids])[0, -1].argmax())
    tiny.edit_json(directory / "config.json", eos_token_id=first)
    if generation is not None:
        file.write_text(json.dumps(generation).replace('"first"', str(first)))
    opened = tiny.open_in_transformers(hf, directory)
    made = opened.generate(torch.tensor([ids]), max_new_tokens=6, do_sample=False)[0, len(ids):].tolist()
    assert len(made) == (1 if stops else 6)
    done = moebius("generate", directory, "--prompt", tiny.to_text(ids), "--max-tokens", 6,
                   "--json", check=True)
    assert json.loads(done.stdout)["new_tokens"] == len(made)
    assert (b"generation_config.json" in done.stderr) == (not stops)


@pytest.mark.parametrize("keys, dtype", [
    (dict(dtype=None, torch_dtype=None), "bf16"), (dict(dtype=None, torch_dtype="float16"), "f16"),
    (dict(dtype="float32", torch_dtype="float16"), "f32")])
def test_where_the_dtype_is_stated(hf, moebius, write, keys, dtype):
    directory = write("llama")
    change(directory, lambda tensors: {name: t.bfloat16() for name, t in tensors.items()})
    tiny.edit_json(directory / "config.json", **keys)
    opened = hf.AutoModelForCausalLM.from_pretrained(directory, dtype="auto")
    assert str(opened.dtype) == {"bf16": "torch.bfloat16", "f16": "torch.float16", "f32": "torch.float32"}[dtype]
    assert json.loads(moebius("info", directory, "--json", check=True).stdout)["dtype"] == dtype


@pytest.mark.parametrize("key, value, tensor", [
    ("vocab_size", 134, "embed_tokens"), ("num_key_value_heads", 6, "k_proj"), ("intermediate_size", 80, "gate_proj")])
def test_sizes_that_the_tensors_contradict_are_refused_by_both(hf, moebius, write, key, value, tensor):
    directory = write("llama")
    tiny.edit_json(directory / "config.json", **{key: value})
    with pytest.raises(RuntimeError):
        tiny.open_in_transformers(hf, directory)
    done = moebius("info", directory)
    assert done.returncode == 1 and tensor in done.stderr.decode()


# ---- Keys that describe another storage -----------------------------------------------------------


@pytest.mark.parametrize("method", ["bitsandbytes", "gptq", "awq", "fp8"])
def test_a_quantization_config_beside_plain_weights_is_not_carried_on(hf, moebius, write, text, tmp_path, method):
    source = write("llama")
    tiny.edit_json(source / "config.json", quantization_config={"quant_method": method, "bits": 4})
    converted, packed = tmp_path / "converted", tmp_path / "packed"
    done = moebius("convert", source, "-o", converted, "--layers", "all", "--experts", 2, check=True)
    lines = done.stderr.decode().splitlines()
    assert sum("quantised" in line for line in lines) == 1 and method in "".join(lines)
    outputs = [converted]
    if method == "bitsandbytes":
        moebius("quantize", source, "-o", packed, check=True)
        outputs += [packed, train(moebius, source, text, tmp_path / "run")]
    for out in outputs:
        assert "quantization_config" not in config_of(out)
    tiny.open_in_transformers(hf, converted)


# ---- Experts in one tensor ------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["safetensors", "torch.save", "transposed"])
@pytest.mark.parametrize("family", MIXTURES)
def test_fused_experts_open_as_in_transformers(hf, probe, write, tmp_path, family, form):
    directory = write(family, save_original_format=False)
    file = directory / "model.safetensors"
    stored = load_file(file)
    assert any(name.endswith("experts.gate_up_proj") and t.dim() == 3 for name, t in stored.items())
    ids = tiny.random_ids(131)
    expected = tiny.hf_logits(tiny.open_in_transformers(hf, directory), ids)
    if form == "torch.save":
        model = tiny.make_model(hf, family)
        file.unlink()
        torch.save(model.state_dict(), directory / "pytorch_model.bin")
    elif form == "transposed":
        change(directory, lambda tensors: {n: t.mT if t.dim() == 3 else t for n, t in tensors.items()})
    assert tiny.max_difference(tiny.probe_logits(probe, directory, ids, tmp_path), expected) <= LIMIT


@pytest.mark.parametrize("family", ["mixtral", "qwen2_moe", "olmoe"])
@pytest.mark.parametrize("fused_source", [False, True])
def test_convert_writes_experts_in_either_layout(hf, moebius, compare, write, tmp_path, family, fused_source):
    source = write(family, save_original_format=not fused_source)
    outputs = {}
    for layout in ("fused", "separate", None):
        outputs[layout] = tmp_path / str(layout)
        moebius("convert", source, "-o", outputs[layout], "--method", "expand", "--experts", 6,
                *(["--expert-layout", layout] if layout else []), check=True)
    stored = {layout: tiny.tensors_of(out) for layout, out in outputs.items()}
    assert set(stored["separate"]) == set(stored[None])
    assert all(tiny.same_bits(t, stored[None][name]) for name, t in stored["separate"].items())
    assert any(name.endswith("experts.gate_up_proj") for name in stored["fused"])
    assert not any(".experts.0." in name for name in stored["fused"])
    compare(outputs["fused"], outputs["separate"])
    tiny.open_in_transformers(hf, outputs["fused"])


def test_a_dense_model_becomes_fused_experts(hf, compare, moebius, write, tmp_path):
    source = write("llama")
    out = tmp_path / "out"
    moebius("convert", source, "-o", out, "--layers", "all", "--experts", 3, "--expert-layout", "fused", check=True)
    assert "model.layers.0.mlp.experts.gate_up_proj" in tiny.tensors_of(out)
    compare(out, source)  # without noise the conversion is exact
    assert type(tiny.open_in_transformers(hf, out)).__name__ == "MixtralForCausalLM"


def test_train_and_quantize_take_fused_experts(hf, moebius, write, text, tmp_path):
    fused, usual = write("mixtral", "fused", save_original_format=False), write("mixtral", "usual")
    trained = train(moebius, fused, text, tmp_path / "run", "--expert-layout", "fused")
    assert "model.layers.0.mlp.experts.gate_up_proj" in tiny.tensors_of(trained)
    tiny.open_in_transformers(hf, trained)
    for source in (fused, usual):
        moebius("quantize", source, "-o", tmp_path / f"{source.name}-packed", "--weights", "int8", check=True)
    same = [(tmp_path / f"{s}-packed/packed.safetensors").read_bytes() for s in ("fused", "usual")]
    assert same[0] == same[1]


def test_export_takes_fused_experts(hf, moebius, stories, tmp_path):
    files = []
    for original in (True, False):
        model = tiny.make_model(hf, "mixtral", vocab_size=512)
        source = tiny.save(model, tmp_path / str(original) / "model", save_original_format=original)
        files.append(tmp_path / f"{original}.gguf")
        moebius("export", tiny.add_stories_tokenizer(source, stories), "-o", files[-1], check=True)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_granite_has_no_separate_layout(moebius, write, tmp_path):
    source = write("granitemoe")
    done = moebius("convert", source, "-o", tmp_path / "out", "--method", "expand", "--experts", 6,
                   "--expert-layout", "separate")
    assert done.returncode == 2 and b"--expert-layout separate" in done.stderr
    assert not (tmp_path / "out").exists()


# ---- info -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("family, dtype", [("llama", torch.bfloat16), ("qwen3_moe", None), ("deepseek_v3", None)])
def test_info_of_a_configuration_alone(moebius, write, family, dtype):
    directory = write(family)
    if dtype is not None:
        change(directory, lambda tensors: {name: t.to(dtype) for name, t in tensors.items()})
        tiny.edit_json(directory / "config.json", dtype="bfloat16")
    whole = json.loads(moebius("info", directory, "--json", check=True).stdout)
    (directory / "model.safetensors").unlink()
    alone = json.loads(moebius("info", directory, "--json", check=True).stdout)
    assert (whole.pop("weights_present"), alone.pop("weights_present")) == (True, False)
    assert alone == whole
    assert b"without weight files" in moebius("info", directory, check=True).stdout


def test_info_prints_equal_layers_as_one_range(moebius, write):
    directory = write("qwen3_moe", num_hidden_layers=6, mlp_only_layers=[2])
    table = moebius("info", directory, check=True).stdout.decode().splitlines()
    rows = table[table.index("layers") + 1:]
    assert [(row.split()[0], row.split()[1]) for row in rows] == [("0-1", "moe"), ("2", "dense"), ("3-5", "moe")]
    layers = json.loads(moebius("info", directory, "--json", check=True).stdout)["layers"]
    assert [row["layer"] for row in layers] == list(range(6))
