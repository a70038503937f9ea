"""What the tests of conversion share: sources, and the command."""

import json

import pytest

import tiny

LIMIT = 1e-4
PROMPT = tiny.to_text([5, 90, 17, 33, 2, 64, 101, 8, 77, 40, 9, 12])
FIELDS = {"source", "options", "layers", "dense_exact", "parameters", "active_parameters", "seconds"}
LAYER_FIELDS = {"layer", "method", "experts", "top_k", "kept", "ffn_error", "kl", "agreement",
                "reason"}

SOURCES = {
    "llama": ("llama", dict(num_hidden_layers=3)),
    "llama-theta-tied": (
        "llama",
        dict(rope_parameters={"rope_type": "default", "rope_theta": 12345.0}, rms_norm_eps=3e-3,
             tie_word_embeddings=True, head_dim=10, num_hidden_layers=3),
    ),
    "llama-biases": ("llama", dict(attention_bias=True, mlp_bias=True, num_hidden_layers=3)),
    "gpt2": ("gpt2", dict(n_inner=55, n_layer=3)),
    "mistral": ("mistral", dict(num_hidden_layers=3, head_dim=12, sliding_window=5)),
    "granite": ("granite", dict(num_hidden_layers=3, attention_bias=True)),
    "qwen2": ("qwen2", dict(num_hidden_layers=3)),
    "qwen3": ("qwen3", dict(num_hidden_layers=3)),
    "llama-yarn": (
        "llama",
        dict(num_hidden_layers=3,
             rope_parameters={"rope_type": "yarn", "rope_theta": 50.0, "factor": 4.0,
                              "original_max_position_embeddings": 16}),
    ),
    "deepseek_v2": ("deepseek_v2", dict(first_k_dense_replace=3)),
    "deepseek_v3-yarn": (
        "deepseek_v3",
        dict(first_k_dense_replace=3, q_lora_rank=None,
             rope_parameters={"rope_type": "yarn", "rope_theta": 50.0, "factor": 4.0, "mscale": 0.7,
                              "mscale_all_dim": 0.9, "original_max_position_embeddings": 16}),
    ),
    "opt": ("opt", dict(num_hidden_layers=3)),
    "opt-350m": (
        "opt", dict(num_hidden_layers=3, do_layer_norm_before=False, word_embed_proj_dim=20)
    ),
}


# What converts into a class that transformers has; Qwen3's may keep dense layers, others none.
NATIVE = {
    "llama": "MixtralForCausalLM", "llama-theta-tied": "MixtralForCausalLM",
    "llama-yarn": "MixtralForCausalLM", "mistral": "MixtralForCausalLM",
    "granite": "GraniteMoeForCausalLM", "qwen3": "Qwen3MoeForCausalLM",
}


@pytest.fixture(scope="session")
def sources(hf, tmp_path_factory):
    """name -> (model, directory with a char tokenizer), made once."""
    root, made = tmp_path_factory.mktemp("sources"), {}

    def call(name, dtype=None):
        key = (name, dtype)
        if key not in made:
            family, overrides = SOURCES[name]
            model = tiny.make_model(hf, family, seed=11, **overrides)
            directory = tiny.save(model, root / f"{name}-{len(made)}", dtype=dtype)
            made[key] = (
                tiny.open_in_transformers(hf, directory),
                tiny.add_char_tokenizer(directory, 131),
            )
        return made[key]

    return call


@pytest.fixture
def convert(moebius, tmp_path_factory):
    """(source, options) -> (output, its conversion.json). Each output has a name of its own, since
    transformers tells remote code by the folder's name."""

    def call(source, *args, name=None, prompt=PROMPT, **kw):
        out = tmp_path_factory.mktemp(name or "converted") / f"model{next(tiny._numbers)}"
        done = moebius("convert", source, "-o", out, "--test-prompt", prompt, *args,
                       **{"check": True, **kw})
        if done.returncode != 0:
            return out, done
        return out, json.loads((out / "conversion.json").read_text())

    return call


def config_of(directory):
    return json.loads((directory / "config.json").read_text())


def chosen_layers(report):
    return [row["layer"] for row in report["layers"]]


@pytest.fixture(scope="session")
def calibration(tmp_path_factory):
    file = tmp_path_factory.mktemp("calibration") / "text.txt"
    file.write_text(tiny.to_text(tiny.random_ids(131, 1, 2000, seed=8)[0].tolist()))
    return file
