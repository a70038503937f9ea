"""bench: what it prints, that it measures what was asked for, and what it refuses."""

import importlib.util
import json
import os
import subprocess
from pathlib import Path

import pytest

from conftest import ROOT, start

CONFIG = {
    "model_type": "mixtral", "architectures": ["MixtralForCausalLM"], "vocab_size": 300,
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "num_local_experts": 4, "num_experts_per_tok": 2,
    "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "torch_dtype": "bfloat16",
}  # fmt: skip
SHORT = ["--prompt", 20, "--new", 9, "--repeat", 2]


@pytest.fixture
def shape(tmp_path):
    """A directory with nothing but a config.json."""

    def make(name="shape", **changes):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps({**CONFIG, **changes}))
        return tmp_path / name

    return make


def bench(moebius, *args, **kw):
    return json.loads(moebius("bench", *args, "--json", check=True, **kw).stdout)


@pytest.mark.parametrize("weights", ["f32", "bf16", "int8", "int4"])
def test_of_a_checkpoint(moebius, stories, weights):
    out = bench(moebius, stories, "--weights", weights, *SHORT)
    for name in ["prefill", "decode"]:
        spread = out[f"{name}_spread"]
        assert spread["least"] <= out[f"{name}_tokens_per_s"] <= spread["most"]
        assert 0 < out[f"{name}_share"] < 2
        assert out[f"{name}_gflops"] > 0
    assert set(out["limits"]) == {"read_gbps", "f32_gflops", "bf16_gflops", "int8_gops"}
    assert all(value > 0 for value in out["limits"].values())
    assert out["weights"] == weights
    assert 0 < out["load_s"] < 60
    assert out["resident_bytes"] > out["weight_bytes"] > 0
    assert out["reference_error"] < (1e-5 if weights == "f32" else 0.05)


def test_costs_are_those_of_the_shape(moebius, shape):
    """FLOPs and bytes of a token, counted by hand."""
    out = bench(moebius, shape(), "--random-weights", "--weights", "f32", *SHORT)
    d, f, v, a, layers, prompt = 64, 96, 300, 16, 2, 20
    attention = d * (2 * 4 * a + 2 * 2 * a)
    per_token = layers * (attention + 4 * d + 2 * 3 * d * f)
    seen = sum(range(1, prompt + 1)) * layers
    flops = 2 * (per_token * prompt + v * d) + 4 * 4 * a * seen
    assert out["prefill_flops_per_token"] == pytest.approx(flops / prompt, rel=1e-9)
    padded = -(-v // 32) * 32  # rows of the head
    norms = (2 * layers + 1) * d
    router = layers * 4 * d
    weights = 4 * (layers * (attention + 2 * 3 * d * f) + padded * d + router + norms)
    middle = prompt + 9 // 2 + 1
    cache = layers * 2 * (a + 2 * a) * 4 * middle  # values lie in panels of 32
    assert out["decode_bytes_per_token"] == pytest.approx(weights + cache, rel=1e-9)


def test_keys_and_values_in_int8_are_counted(moebius, shape):
    out = bench(moebius, shape(), "--random-weights", "--weights", "f32", "--kv-cache", "int8", *SHORT)
    # Layers and heads: keys and padded values, in panels of 16 with a line of scales each, and values' own.
    page = 2 * 2 * (64 * 16 + 4 * 64 + 32 * 64 + 2 * 64 + 2 * 64)
    assert out["cache_bytes"] == page


def test_against_another_in_the_same_run(moebius, shape):
    dense = shape("dense", model_type="llama", architectures=["LlamaForCausalLM"],
                  intermediate_size=4 * 96)  # fmt: skip
    out = bench(moebius, shape(), "--random-weights", "--against", dense, *SHORT, "--batch", 3)
    assert out["against"]["model"] == str(dense)
    for phase in ("prefill", "decode"):  # medians of ratios of what took turns
        ours, theirs = out[f"{phase}_stretches"], out["against"][f"{phase}_stretches"]
        ratios = sorted(a / b for a, b in zip(ours, theirs, strict=True))
        assert out["ratios"][phase] == pytest.approx(ratios[len(ratios) // 2])
        spread = out[f"{phase}_spread"]
        assert (spread["least"], spread["most"]) == pytest.approx((min(ours), max(ours)))
        assert out[f"{phase}_tokens_per_s"] == pytest.approx(sorted(ours)[len(ours) // 2])
    # The same weights in all, of which the mixture meets half of the experts.
    assert 1 < out["ratios"]["prefill_possible"] < 2
    text = moebius("bench", shape("again"), "--random-weights", "--against", dense, *SHORT,
                   check=True).stdout.decode()  # fmt: skip
    assert "prefill 20" in text and "times as fast" in text and "resident" in text


def test_what_is_refused(moebius, shape, stories):
    config = shape()

    def complaint(*args, code, **kw):
        done = moebius("bench", *args, **kw)
        assert done.returncode == code, done.stderr
        return done.stderr.decode()

    assert "200" in complaint(config, "--random-weights", "--prompt", 200, code=2)
    assert "--repeat 0" in complaint(config, "--random-weights", "--repeat", 0, code=2)
    assert "--precision" in complaint(config, "--random-weights", "--train", "--weights", "int4", code=2)
    assert "model.safetensors" in complaint(config, *SHORT, code=1)
    for isa in ["avx1024", ""]:
        said = complaint(stories, *SHORT, code=1, env={**os.environ, "MOEBIUS_ISA": isa})
        assert "MOEBIUS_ISA" in said
    huge = shape("huge", max_position_embeddings=10**9, num_hidden_layers=2)
    said = complaint(huge, "--random-weights", "--prompt", 10**8, code=1)
    assert "MiB" in said


@pytest.mark.parametrize("isa", ["ref", "avx2", "avx512", "avx512bf16"])
def test_every_instruction_set_tells_the_same_story(moebius, stories, isa):
    done = moebius("generate", stories, "--prompt", "", "--max-tokens", 200,
                   env={**os.environ, "MOEBIUS_ISA": isa})  # fmt: skip
    if b"lacks" in done.stderr:
        pytest.skip(f"this processor has no {isa}")
    assert done.stdout == (stories / "expected_greedy_200.txt").read_bytes()


@pytest.mark.parametrize("precision, tied", [("f32", False), ("mixed", False), ("bf16", True)])
def test_training_costs_are_those_of_the_shape(moebius, shape, precision, tied):
    out = bench(moebius, shape(tie_word_embeddings=tied), "--random-weights", "--train",
                "--precision", precision, "--batch", 2, "--prompt", 20, "--repeat", 2)
    d, f, v, a, layers, prompt, experts = 64, 96, 300, 16, 2, 20, 4
    attention = d * (2 * 4 * a + 2 * 2 * a)
    per_token = layers * (attention + experts * d + 2 * 3 * d * f) + v * d
    seen = sum(range(1, prompt + 1)) * layers / prompt
    assert out["train_flops_per_token"] == pytest.approx(3 * (2 * per_token + 4 * 4 * a * seen))
    values = layers * (attention + experts * d + experts * 3 * d * f + 2 * d) + (1 if tied else 2) * v * d + d
    each = {"f32": 32, "mixed": 30, "bf16": 16}[precision]
    assert out["optimizer_bytes"] == pytest.approx(values * each)
    assert out["weight_bytes"] == values * (4 if precision == "f32" else 2)
    assert out["precision"] == precision
    assert 0 < out["train_share"] < 2
    spread = out["train_spread"]
    assert 0 < spread["least"] <= out["train_tokens_per_s"] <= spread["most"]
    assert out["first_loss"] == pytest.approx(out["last_loss"], rel=0.1)
    assert out["first_loss"] > 5  # that of guessing one of 300


def test_training_beyond_the_context(moebius, shape):
    out = moebius("bench", shape(), "--random-weights", "--train", "--prompt", 200)
    assert out.returncode == 2 and b"200" in out.stderr and b"128" in out.stderr


@pytest.mark.parametrize("policy", [None, "active"])
def test_openmp_threads_sleep_unless_told_otherwise(moebius, monkeypatch, policy):
    monkeypatch.delenv("OMP_WAIT_POLICY")
    env = {"OMP_DISPLAY_ENV": "verbose"} | ({"OMP_WAIT_POLICY": policy} if policy else {})
    out = moebius("bench", "nowhere", env=env)  # OpenMP is loaded with the library of the job
    (spins,) = [line for line in out.stderr.decode().splitlines() if "GOMP_SPINCOUNT" in line]
    assert (spins.split("'")[1] == "0") == (policy is None)


def test_figures_go_into_the_page(tmp_path, monkeypatch):
    """What a benchmark prints stands in its one place: tables as they are, other text as code."""
    spec = importlib.util.spec_from_file_location("bench_run", ROOT / "bench/run.py")
    run = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(run)
    page = (ROOT / "docs/benchmarks.md").read_text()
    for name in run.ALL:  # every one has its place
        assert (ROOT / f"bench/{name}.py").exists()
        assert run.with_figures(page, name, "day", "| new |").count("<!-- day -->\n\n| new |\n\n<!-- end -->") == 1

    bench = tmp_path / "bench"
    bench.mkdir()
    (tmp_path / "docs").mkdir()
    place = "<!-- bench/shapes.py -->\n<!-- end -->\n"
    (tmp_path / "docs/benchmarks.md").write_text(f"a\n<!-- bench/load_time.py, old -->\n1\n2\n<!-- end -->\nb\n{place}")
    (bench / "load_time.py").write_text("print('load 3 s')")
    (bench / "shapes.py").write_text("raise SystemExit(3)")
    monkeypatch.setattr(run, "ROOT", tmp_path)
    subprocess.run(["git", "-C", tmp_path, "init", "-q"], check=True)
    commit = ["git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "a"]
    subprocess.run(commit, check=True)
    run.main(["load_time"])
    text = (tmp_path / "docs/benchmarks.md").read_text()
    assert text.startswith("a\n<!-- bench/load_time.py, 2") and "1\n" not in text.split("-->")[1]
    assert text.endswith("-->\n\n```\nload 3 s\n```\n\n<!-- end -->\nb\n" + place)
    for names, message in ((["load_time", "none"], "no such benchmark: none"), (["shapes"], "ended with 3")):
        with pytest.raises(SystemExit, match=message):
            run.main(names)
    assert (tmp_path / "docs/benchmarks.md").read_text() == text


@pytest.mark.parametrize("tokens", [1, 37])
@pytest.mark.parametrize("family", ["mixtral", "qwen3_moe"])
def test_moe_layer_beside_others(moebius, shape, family, tokens):
    """The program of bench/moe_layer.py checks that all ways compute the same, and prints a row for each."""
    qwen = {"model_type": "qwen3_moe", "architectures": ["Qwen3MoeForCausalLM"], "num_experts": 6, "head_dim": 16,
            "moe_intermediate_size": 40, "norm_topk_prob": False, "decoder_sparse_step": 2}  # fmt: skip
    folder = shape(**(qwen if family == "qwen3_moe" else {}))
    out = start(Path(moebius.path).parent / "moe_layer", folder, "--tokens", tokens, "--repeat", 2, check=True)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in out.stdout.decode().splitlines()]
    assert [row[0] for row in rows] == ["moebius", "grouped_mm", "loop"]
    assert all(float(row[1].split()[0]) > 0 and float(row[3].split()[0]) > 0 for row in rows)
    for wrong in (["--token", 3], ["--tokens", "x"], ["--tokens"], ["--repeat", 0], ["--way", "none"]):
        out = start(Path(moebius.path).parent / "moe_layer", folder, *wrong)
        assert out.returncode == 1 and out.stderr.startswith(b"moe_layer: ")
