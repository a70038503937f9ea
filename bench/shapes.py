"""Generation at the shapes of real models, beside a dense model of equal total size, with a neighbour on one core, and
how its time grows. Random weights, `moebius bench`; medians of --repeat stretches. usage: shapes.py [PART ...], of
shapes, dense, neighbour, growth; all by default."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from common import moebius
from generation_speed import CONFIG as GRANITE

MIXTRAL = {
    "model_type": "mixtral", "architectures": ["MixtralForCausalLM"], "vocab_size": 32000, "hidden_size": 4096,
    "intermediate_size": 14336, "num_hidden_layers": 2, "num_attention_heads": 32, "num_key_value_heads": 8,
    "num_local_experts": 8, "num_experts_per_tok": 2, "max_position_embeddings": 32768, "rms_norm_eps": 1e-5,
    "rope_theta": 1e6, "hidden_act": "silu", "tie_word_embeddings": False, "torch_dtype": "bfloat16",
}  # fmt: skip
QWEN3 = {
    "model_type": "qwen3_moe", "architectures": ["Qwen3MoeForCausalLM"], "vocab_size": 151936, "hidden_size": 2048,
    "intermediate_size": 6144, "moe_intermediate_size": 768, "num_hidden_layers": 4, "num_attention_heads": 32,
    "num_key_value_heads": 4, "head_dim": 128, "num_experts": 128, "num_experts_per_tok": 8, "norm_topk_prob": True,
    "decoder_sparse_step": 1, "mlp_only_layers": [], "max_position_embeddings": 40960, "rms_norm_eps": 1e-6,
    "rope_theta": 1e6, "hidden_act": "silu", "tie_word_embeddings": False, "torch_dtype": "bfloat16",
    "attention_bias": False,
}  # fmt: skip
SMALL = {**GRANITE, "num_hidden_layers": 4, "vocab_size": 8192, "max_position_embeddings": 33024}


def dense_of(config):
    """A dense model of as many weights."""
    dense = {key: value for key, value in config.items() if key not in ("num_local_experts", "num_experts_per_tok")}
    return {**dense, "model_type": "granite", "architectures": ["GraniteForCausalLM"],
            "intermediate_size": config["intermediate_size"] * config["num_local_experts"]}


def bench(folder, config, *args, against=None):
    path = Path(folder)
    (path / "config.json").write_text(json.dumps(config))
    more = []
    if against is not None:
        (path / "dense").mkdir(exist_ok=True)
        (path / "dense/config.json").write_text(json.dumps(against))
        more = ["--against", path / "dense"]
    return json.loads(moebius("bench", path, "--random-weights", "--json", *args, *more))


def row(*cells):
    print("| " + " | ".join(str(c) for c in cells) + " |", flush=True)


def header(*cells):
    print()
    row(*cells)
    print("|---" * len(cells) + "|")


def shapes(folder):
    header("shape", "weights", "prefill 512 tok/s", "of the limit", "decode tok/s", "of the limit",
           "decode 8 x tok/s", "of the limit")
    for name, config in (("granite-3.0-1b-a400m", GRANITE), ("Mixtral, 2 layers", MIXTRAL),
                         ("Qwen3-30B-A3B, 4 layers", QWEN3)):
        for weights in ("bf16", "int8", "int4"):
            one = bench(folder, config, "--weights", weights)
            eight = bench(folder, config, "--weights", weights, "--batch", 8, "--prompt", 64, "--new", 64)
            row(name, weights, f"{one['prefill_tokens_per_s']:.0f}", f"{one['prefill_share']:.0%}",
                f"{one['decode_tokens_per_s']:.1f}", f"{one['decode_share']:.0%}",
                f"{eight['decode_tokens_per_s']:.1f}", f"{eight['decode_share']:.0%}")


def dense(folder):
    header("MoE beside dense of equal size", "weights", "prefill", "FLOPs allow", "decode", "bytes allow")
    for name, config in (("E 32, K 8, 24 layers", GRANITE),
                         ("E 64, K 8, 12 layers", {**GRANITE, "num_local_experts": 64, "num_hidden_layers": 12})):
        for weights in ("bf16", "int4"):
            r = bench(folder, config, "--weights", weights, against=dense_of(config))["ratios"]
            row(name, weights, *(f"{r[key]:.2f}" for key in
                                 ("prefill", "prefill_possible", "decode", "decode_possible")))


@contextlib.contextmanager
def busy_neighbour():
    core = max(os.sched_getaffinity(0))
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"],
                               preexec_fn=lambda: os.sched_setaffinity(0, {core}))
    try:
        yield
    finally:
        process.kill()


def neighbour(folder):
    header("with a process on one of the cores", "prefill", "of the undisturbed", "decode", "of the undisturbed")
    for weights in ("bf16", "int4"):
        alone = bench(folder, GRANITE, "--weights", weights)
        with busy_neighbour():
            beside = bench(folder, GRANITE, "--weights", weights)
        cells = []
        for key in ("prefill_tokens_per_s", "decode_tokens_per_s"):
            cells += [f"{beside[key]:.1f}", f"{beside[key] / alone[key]:.0%}"]
        row(weights, *cells)


def growth(folder):
    """int4, D 1024, F 512, 4 layers; 32 experts, top-8 unless a row says otherwise."""
    header("what grows", "", "prefill tok/s", "of the limit", "decode tok/s", "of the limit")
    cases = []
    cases += [("prompt", n, {}, ["--prompt", n, "--new", 16]) for n in (16, 64, 256, 1024, 4096)]
    cases += [("context", n, {}, ["--prompt", n, "--new", 64, "--repeat", 1]) for n in (8192, 16384, 32768)]
    cases += [("batch", n, {}, ["--batch", n, "--prompt", 64, "--new", 32]) for n in (1, 2, 4, 8, 16, 32)]
    cases += [("experts", n, {"num_local_experts": n}, []) for n in (8, 16, 32, 64, 128)]
    cases += [("top-k", n, {"num_experts_per_tok": n}, []) for n in (1, 2, 4, 8, 16)]
    cases += [("threads", n, {}, ["--threads", n]) for n in range(1, len(os.sched_getaffinity(0)) + 1)]
    for what, n, config, args in cases:
        r = bench(folder, {**SMALL, **config}, "--weights", "int4", *args)
        row(what, n, f"{r['prefill_tokens_per_s']:.0f}", f"{r['prefill_share']:.0%}",
            f"{r['decode_tokens_per_s']:.1f}", f"{r['decode_share']:.0%}")


if __name__ == "__main__":
    parts = {part.__name__: part for part in (shapes, dense, neighbour, growth)}
    with tempfile.TemporaryDirectory() as directory:
        for part in sys.argv[1:] or parts:
            parts[part](directory)
