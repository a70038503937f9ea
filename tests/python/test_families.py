"""Logits and gradients of every family against transformers, on tiny random checkpoints."""

import copy
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

import tiny

LIMIT = 1e-4

YARN_MSCALE = {"rope_type": "yarn", "rope_theta": 50.0, "factor": 4.0, "mscale": 0.7, "mscale_all_dim": 0.9,
               "original_max_position_embeddings": 16, "beta_fast": 3.0}

CASES = {
    "llama-gqa": ("llama", {}),
    "llama-biases": ("llama", dict(attention_bias=True, mlp_bias=True)),
    "llama-attention-bias-tied": ("llama", dict(attention_bias=True, tie_word_embeddings=True)),
    "llama-mlp-bias-mqa": ("llama", dict(mlp_bias=True, num_key_value_heads=1)),
    "llama-wide-heads": ("llama", dict(head_dim=14, num_attention_heads=4, num_key_value_heads=2)),
    "llama-narrow-heads": ("llama", dict(head_dim=2, vocab_size=77, intermediate_size=33)),
    "llama-theta-eps": (
        "llama",
        dict(rope_parameters={"rope_type": "default", "rope_theta": 123.0}, rms_norm_eps=0.03),
    ),
    "llama-gelu": ("llama", dict(hidden_act="gelu", num_hidden_layers=3)),
    "llama-relu-1-layer": ("llama", dict(hidden_act="relu", num_hidden_layers=1)),
    "mistral": ("mistral", {}),
    "mistral-wide-heads-tied": ("mistral", dict(head_dim=20, tie_word_embeddings=True)),
    "gpt2": ("gpt2", {}),
    "gpt2-inner-untied": ("gpt2", dict(n_inner=55, tie_word_embeddings=False)),
    "gpt2-odd": ("gpt2", dict(n_embd=35, n_head=5, n_layer=3, layer_norm_epsilon=0.02)),
    "gpt2-gelu-unscaled": (
        "gpt2", dict(activation_function="gelu", scale_attn_weights=False, n_inner=9)
    ),
    "mixtral": ("mixtral", {}),
    "mixtral-7-1": ("mixtral", dict(num_local_experts=7, num_experts_per_tok=1)),
    "mixtral-3-3-tied": (
        "mixtral", dict(num_local_experts=3, num_experts_per_tok=3, tie_word_embeddings=True)
    ),
    "mixtral-1-1": ("mixtral", dict(num_local_experts=1, num_experts_per_tok=1, head_dim=10)),
    "mixtral-11-2": (
        "mixtral", dict(num_local_experts=11, num_experts_per_tok=2, num_hidden_layers=3)
    ),
    "granitemoe": ("granitemoe", {}),
    "granitemoe-untied": (
        "granitemoe", dict(tie_word_embeddings=False, attention_bias=False, num_key_value_heads=6)
    ),
    "granitemoe-9-2": (
        "granitemoe", dict(num_local_experts=9, num_experts_per_tok=2, intermediate_size=21)
    ),
    "granite": ("granite", {}),
    "granite-biases-tied": (
        "granite", dict(attention_bias=True, mlp_bias=True, tie_word_embeddings=True)
    ),
    "qwen2": ("qwen2", {}),
    "qwen2-tied-mqa": ("qwen2", dict(tie_word_embeddings=True, num_key_value_heads=1)),
    "qwen2-windows-in-later-layers": (
        "qwen2",
        dict(use_sliding_window=True, sliding_window=7, max_window_layers=1, num_hidden_layers=3),
    ),
    "qwen3": ("qwen3", {}),
    "qwen3-biases-tied": ("qwen3", dict(attention_bias=True, tie_word_embeddings=True, head_dim=6)),
    "qwen3-layer-types": (
        "qwen3", dict(use_sliding_window=True, sliding_window=5,
                      layer_types=["sliding_attention", "full_attention"])
    ),
    "mistral-window": ("mistral", dict(sliding_window=9)),
    "mistral-window-1": ("mistral", dict(sliding_window=1)),
    "mixtral-window": ("mixtral", dict(sliding_window=6)),
    "olmoe": ("olmoe", {}),
    "olmoe-clipped-renormalised": (
        "olmoe", dict(clip_qkv=0.7, norm_topk_prob=True, attention_bias=True)
    ),
    "qwen2_moe": ("qwen2_moe", {}),
    "qwen2_moe-sparse-step": (
        "qwen2_moe", dict(decoder_sparse_step=2, mlp_only_layers=[], norm_topk_prob=True)
    ),
    "qwen2_moe-windows": (
        "qwen2_moe", dict(use_sliding_window=True, sliding_window=5, max_window_layers=2,
                          qkv_bias=False)
    ),
    "qwen3_moe": ("qwen3_moe", {}),
    "qwen3_moe-not-renormalised": (
        "qwen3_moe", dict(norm_topk_prob=False, num_experts_per_tok=1, attention_bias=True)
    ),
    "deepseek_v2": ("deepseek_v2", {}),
    "deepseek_v2-greedy": (
        "deepseek_v2", dict(topk_method="greedy", q_lora_rank=None, first_k_dense_replace=0,
                            attention_bias=True, n_shared_experts=1)
    ),
    "deepseek_v2-yarn-tied": (
        "deepseek_v2", dict(rope_parameters=YARN_MSCALE, tie_word_embeddings=True, v_head_dim=23)
    ),
    "deepseek_v2-best-group-unshared": (
        "deepseek_v2", dict(topk_group=1, num_experts_per_tok=3, n_shared_experts=0, norm_topk_prob=True)
    ),
    "deepseek_v3": ("deepseek_v3", {}),
    "deepseek_v3-halves-of-whole-queries": (
        "deepseek_v3", dict(rope_interleave=False, q_lora_rank=None, attention_bias=True, rms_norm_eps=0.03)
    ),
    "deepseek_v3-yarn": ("deepseek_v3", dict(rope_parameters=YARN_MSCALE, qk_rope_head_dim=14)),
    "deepseek_v3-dynamic": (
        "deepseek_v3", dict(rope_parameters={"rope_type": "dynamic", "factor": 3.0, "rope_theta": 50.0,
                                             "mscale_all_dim": 0.7})
    ),
    "deepseek_v3-not-renormalised": (
        "deepseek_v3", dict(norm_topk_prob=False, n_group=1, topk_group=1, first_k_dense_replace=0)
    ),
    "deepseek_v3-best-group-unshared": (
        "deepseek_v3", dict(topk_group=1, num_experts_per_tok=2, n_shared_experts=0, first_k_dense_replace=2)
    ),
    "opt": ("opt", {}),
    "opt-350m": (
        "opt", dict(do_layer_norm_before=False, word_embed_proj_dim=20, activation_function="gelu")
    ),
    "opt-unbiased-untied": (
        "opt", dict(enable_bias=False, tie_word_embeddings=False, num_attention_heads=4)
    ),
    "opt-without-last-norm": ("opt", dict(_remove_final_layer_norm=True)),
    **{
        f"llama-rope-{name}": ("llama", dict(rope_parameters={"rope_theta": 50.0, **rope}))
        for name, rope in {
            "linear": {"rope_type": "linear", "factor": 2.5},
            "dynamic": {"rope_type": "dynamic", "factor": 3.0},
            "llama3": {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0,
                       "high_freq_factor": 3.0, "original_max_position_embeddings": 16},
            "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16,
                     "beta_fast": 3.0},
            "yarn-mscale": {"rope_type": "yarn", "factor": 4.0, "mscale": 0.7,
                            "original_max_position_embeddings": 16, "mscale_all_dim": 0.9,
                            "truncate": False, "beta_fast": 5.0, "beta_slow": 0.5},
            "yarn-attention": {"rope_type": "yarn", "factor": 4.0, "attention_factor": 0.8,
                               "original_max_position_embeddings": 16},
        }.items()
    },
}


@pytest.fixture
def compare(hf, probe, tmp_path):
    """Largest difference between the logits of a model in transformers and of a directory here."""

    def call(model, directory, limit=LIMIT, length=23):
        ids = tiny.random_ids(model.config.vocab_size, length=length)
        expected = tiny.hf_logits(model, ids)
        assert expected.std() > 0.05, "the models are too dull to be told apart"
        found = tiny.probe_logits(probe, directory, ids, tmp_path)
        assert tiny.max_difference(found, expected) <= limit

    return call


@pytest.mark.parametrize("name", CASES)
def test_logits_equal_those_of_transformers(hf, compare, tmp_path, name):
    family, overrides = CASES[name]
    model = tiny.make_model(hf, family, **overrides)
    compare(model, tiny.save(model, tmp_path / "model"))


def test_every_family_appears(hf):
    assert {family for family, _ in CASES.values()} == set(tiny.FAMILIES)


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_whole_context_and_single_token(hf, probe, tmp_path, family):
    model = tiny.make_model(hf, family, seed=3)
    directory = tiny.save(model, tmp_path / "model")
    for rows, length in [(1, 64), (3, 1)]:
        ids = tiny.random_ids(131, rows, length)
        found = tiny.probe_logits(probe, directory, ids, tmp_path)
        assert tiny.max_difference(found, tiny.hf_logits(model, ids)) <= LIMIT


@pytest.mark.parametrize("family", ["llama", "mistral", "mixtral", "granitemoe"])
def test_old_spelling_of_the_configuration(hf, compare, tmp_path, family):
    rope = {"rope_type": "default", "rope_theta": 321.0}
    model = tiny.make_model(hf, family, rope_parameters=rope)
    directory = tiny.save(model, tmp_path / "model")
    config = json.loads((directory / "config.json").read_text())
    assert config["rope_parameters"]["rope_theta"] == 321.0 and config["dtype"] == "float32"
    tiny.edit_json(
        directory / "config.json", rope_parameters=None, rope_theta=321.0, rope_scaling=None,
        dtype=None, torch_dtype="float32", head_dim=None, transformers_version="4.30.0",
    )
    compare(model, directory)


def test_dynamic_rope_beyond_the_context_of_training(hf, compare, moebius, tmp_path):
    rope = {"rope_type": "dynamic", "factor": 3.0, "rope_theta": 50.0}
    directory = tiny.save(
        tiny.make_model(hf, "llama", rope_parameters=rope), tmp_path / "model")
    assert json.loads(moebius("info", directory, "--json", check=True).stdout)["context"] == 192
    for length in (64, 65, 150, 192):
        # Opened anew: transformers keeps the frequencies of the longest sequence so far.
        compare(tiny.open_in_transformers(hf, directory), directory, length=length)


@pytest.mark.parametrize("rope, context", [
    ({"type": "linear", "factor": 2.0}, 128), ({"type": "dynamic", "factor": 1.5}, 96),
    ({"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}, 128)])
def test_old_spelling_of_rope_scaling(hf, compare, moebius, tmp_path, rope, context):
    parameters = {**rope, "rope_type": rope["type"], "rope_theta": 50.0}
    model = tiny.make_model(hf, "llama", rope_parameters=parameters)
    directory = tiny.save(model, tmp_path / "model")
    tiny.edit_json(directory / "config.json", rope_parameters=None, rope_theta=50.0,
                   rope_scaling=rope)
    compare(tiny.open_in_transformers(hf, directory), directory, length=90)
    assert json.loads(moebius("info", directory, "--json", check=True).stdout)["context"] == context


def test_an_absent_window_of_mistral_is_its_default(hf, moebius, tmp_path):
    model = tiny.make_model(hf, "mistral", num_hidden_layers=1, max_position_embeddings=8192)
    directory = tiny.save(model, tmp_path / "model")
    tiny.edit_json(directory / "config.json", sliding_window=None)  # removes the key
    opened = tiny.open_in_transformers(hf, directory)
    assert opened.config.sliding_window == 4096
    info = json.loads(moebius("info", directory, "--json", check=True).stdout)
    assert info["layers"][0]["window"] == 4096


def test_defaults_of_absent_keys(hf, compare, tmp_path):
    """A configuration of 2023 leaves out what LlamaConfig then had as default."""
    model = tiny.make_model(hf, "llama", num_key_value_heads=6, rms_norm_eps=1e-6)
    directory = tiny.save(model, tmp_path / "model")
    keep = ["architectures", "model_type", "hidden_size", "intermediate_size", "vocab_size",
            "num_hidden_layers", "num_attention_heads", "torch_dtype", "max_position_embeddings"]
    config = json.loads((directory / "config.json").read_text()) | {"torch_dtype": "float32"}
    (directory / "config.json").write_text(json.dumps({k: config[k] for k in keep}))
    compare(model, directory)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_half_precision_checkpoints_compute_in_f32(hf, compare, tmp_path, family, dtype):
    model = tiny.make_model(hf, family)
    directory = tiny.save(model, tmp_path / "model", dtype=dtype)
    config = json.loads((directory / "config.json").read_text())
    assert config["dtype"] == str(dtype).removeprefix("torch.")
    # Opened anew: .float() would leave the rotary frequencies rounded.
    compare(tiny.open_in_transformers(hf, directory), directory)


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_shards_with_index(hf, compare, tmp_path, family):
    model = tiny.make_model(hf, family)
    directory = tiny.save(model, tmp_path / "model", max_shard_size="30KB")
    assert (directory / "model.safetensors.index.json").exists()
    assert len(list(directory.glob("model-*.safetensors"))) > 2
    compare(model, directory)


def rewrite(directory, change):
    """Passes the stored tensors through `change`."""
    file = directory / "model.safetensors"
    tensors = change(load_file(file))
    save_file({n: t.contiguous() for n, t in tensors.items()}, file, metadata={"format": "pt"})


@pytest.mark.parametrize("family, prefix", [("gpt2", "transformer."), ("llama", "model.")])
def test_names_without_the_optional_prefix(hf, compare, tmp_path, family, prefix):
    model = tiny.make_model(hf, family)
    directory = tiny.save(model, tmp_path / "model")
    rewrite(directory, lambda tensors: {n.removeprefix(prefix): t for n, t in tensors.items()})
    compare(model, directory)


@pytest.mark.parametrize("prefix", ["transformer.", ""])
def test_gpt2_with_stored_masks(hf, compare, tmp_path, prefix):
    model = tiny.make_model(hf, "gpt2")
    directory = tiny.save(model, tmp_path / "model")

    def add_masks(tensors):
        tensors = {prefix + n.removeprefix("transformer."): t for n, t in tensors.items()}
        for layer in range(2):
            name = f"{prefix}h.{layer}.attn."
            tensors[name + "bias"] = torch.ones(64, 64, dtype=torch.uint8).tril()[None, None]
            tensors[name + "masked_bias"] = torch.tensor(-1e4)
        return tensors

    rewrite(directory, add_masks)
    compare(model, directory)


@pytest.mark.parametrize("family", ["llama", "mistral", "mixtral", "granitemoe"])
def test_stored_rotary_frequencies_are_passed_over(hf, compare, tmp_path, family):
    model = tiny.make_model(hf, family)
    directory = tiny.save(model, tmp_path / "model")
    extra = {f"model.layers.{i}.self_attn.rotary_emb.inv_freq": torch.rand(4) for i in range(2)}
    rewrite(directory, lambda tensors: tensors | extra)
    compare(model, directory)


@pytest.mark.parametrize("family", ["llama", "gpt2", "granitemoe"])
def test_stored_copy_of_a_tied_head(hf, compare, tmp_path, family):
    model = tiny.make_model(hf, family, tie_word_embeddings=True)
    directory = tiny.save(model, tmp_path / "model")
    head = model.lm_head.weight.detach().clone()
    rewrite(directory, lambda tensors: tensors | {"lm_head.weight": head})
    compare(model, directory)


def test_experts_in_any_order_and_in_several_files(hf, compare, tmp_path):
    """Experts that do not lie at equal distances in one file."""
    model = tiny.make_model(hf, "mixtral")
    directory = tiny.save(model, tmp_path / "model", max_shard_size="30KB")
    index = json.loads((directory / "model.safetensors.index.json").read_text())
    tensors = tiny.tensors_of(directory)
    for file in directory.glob("*.safetensors"):
        file.unlink()
    names = sorted(tensors, key=lambda name: name[::-1])
    weight_map = {}
    for part in range(3):
        chosen = names[part::3]
        file = f"part-{part}.safetensors"
        save_file({n: tensors[n] for n in chosen}, directory / file, metadata={"format": "pt"})
        weight_map |= {n: file for n in chosen}
    index["weight_map"] = weight_map
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    compare(model, directory)


# ---- Gradients --------------------------------------------------------------------------------


def gradients_by_transformers(model, ids, folder):
    """d(mean next-token cross entropy)/d(weight), under the names that transformers stores."""
    logits = model(ids[:, :-1], use_cache=False).logits
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
    loss.backward()
    gradients = copy.deepcopy(model)
    with torch.no_grad():
        for target, p in zip(gradients.parameters(), model.parameters()):
            target.copy_(p.grad if p.grad is not None else torch.zeros_like(p))
            target.grad = None
        for buffer in gradients.buffers():
            buffer.zero_()
    found = tiny.tensors_of(tiny.save(gradients, folder))
    return {name: tensor for name, tensor in found.items() if tensor.numel()}


@pytest.mark.parametrize("name", CASES)
def test_gradients_equal_autograd_in_transformers(hf, probe, tmp_path, name):
    family, overrides = CASES[name]
    model = tiny.make_model(hf, family, seed=5, **overrides)
    directory = tiny.save(model, tmp_path / "model")
    ids = tiny.random_ids(model.config.vocab_size, rows=3, length=20, seed=1)
    expected = gradients_by_transformers(model, ids, tmp_path / "gradients")
    found = tiny.probe_tensors(probe, "gradients", directory, ids, tmp_path)
    assert set(found) == set(expected)
    for tensor, wanted in expected.items():
        got = found[tensor]
        assert got.shape == wanted.shape, tensor
        # The bias of keys shifts all scores of a query alike: its gradient is zero but for rounding.
        floor = 1e-7 * len(wanted.flatten()) ** 0.5
        error = (got - wanted).norm().item()
        assert error <= 1e-4 * wanted.norm().item() + floor, tensor
    routers = [n for n in expected if ".gate.weight" in n or "router" in n]
    assert bool(routers) == any(part in family for part in ("moe", "mixtral", "deepseek"))
    if getattr(model.config, "num_experts_per_tok", 0) == 1 and family == "mixtral":
        return  # a renormalised weight is always one
    for tensor in routers:
        assert expected[tensor].norm() > 1e-3, f"{tensor} has no gradient to compare"
