"""The demo, small: the story is told in order, and its figures are those of the other commands."""

import json
import re

import pytest

import tiny

DOMAINS = ["finance", "legal", "code", "general"]
SMALL = ["--samples", 30, "--dense-steps", 12, "--steps", 6]


@pytest.fixture(scope="module")
def demo(moebius, tmp_path_factory):
    out = tmp_path_factory.mktemp("demo") / "story"
    done = moebius("demo", *SMALL, "--out", out, "--log-level", "warn", timeout=300, check=True)
    return out, done.stdout.decode(), json.loads((out / "demo.json").read_text())


def test_the_steps_are_printed_in_order(demo):
    _, text, _ = demo
    titles = [line.split()[0] for line in text.splitlines() if line]
    assert titles == ["data", "dense", "convert", "dense", "MoE", "measure", "perplexity", "dense,", "MoE,",
                      "dense", "experts", "verdict", "saved"]
    assert "= dense" in text


def test_the_table_holds_the_figures_of_the_file(demo):
    _, text, result = demo
    lines = {line[:22].strip(): line[22:] for line in text.splitlines()}
    assert [row["name"] for row in result["rows"]] == [
        "dense, trained on", "MoE, trained on", "dense of that size"]
    for row in result["rows"]:
        quality, cost = lines[row["name"]].split("|")
        if "perplexity" in row:
            assert quality.split() == [f"{row['perplexity'][d]:.3f}" for d in [*DOMAINS, "all"]]
        else:
            assert quality.split() == ["-"] * 5
        size, flops, speed = cost.split()
        assert size == f"{row['active_parameters'] / 1e6:.3f}/{row['parameters'] / 1e6:.3f}"
        assert flops == f"{row['flops_per_token'] / 1e6:.2f}" and speed == f"{row['tokens_per_s']:.0f}"
    dense, moe, big = result["rows"]
    assert dense["parameters"] < moe["active_parameters"] < moe["parameters"]
    assert big["parameters"] == pytest.approx(moe["parameters"], rel=0.01)
    lower = moe["perplexity"]["all"] <= dense["perplexity"]["all"]
    verdict = next(line for line in text.splitlines() if line.startswith("verdict"))
    assert ("lower" if lower else "higher") in verdict


def test_perplexities_are_those_of_eval(demo, moebius):
    out, _, result = demo
    for row in result["rows"][:2]:
        files = [out / "data" / f"{d}.heldout.jsonl" for d in DOMAINS]
        done = moebius("eval", row["model"], "--data", *files, "--context", 256, "--json", check=True)
        evaluated = json.loads(done.stdout)
        for name, part in zip(DOMAINS, evaluated["domains"]):
            assert part["perplexity"] == pytest.approx(row["perplexity"][name], rel=1e-6)


def test_experts_are_named_from_the_routing(demo):
    _, text, result = demo
    experts = result["rows"][1]["experts"]
    line = next(line for line in text.splitlines() if line.startswith("experts"))
    for name in DOMAINS:
        first, second = experts[name]
        assert f"{name} -> {first} {second}" in line and first != second and max(first, second) < 8


def test_the_result_opens_in_transformers_and_generates(demo, hf, moebius):
    out, _, result = demo
    model = tiny.open_in_transformers(hf, out / "moe")
    assert sum(p.numel() for p in model.parameters()) == result["rows"][1]["parameters"]
    done = moebius("generate", out / "moe", "--prompt", "The company", "--max-tokens", 5, check=True)
    assert done.stdout


def test_a_checkpoint_of_the_users(moebius, stories, tmp_path):
    before = {f.name: f.read_bytes() for f in stories.iterdir()}
    done = moebius("demo", "--model", stories, *SMALL, "--minutes", 0.5, "--out", tmp_path / "d",
                   "--log-level", "warn", timeout=300, check=True)
    text = done.stdout.decode()
    assert re.search(r"^budget .* GB for training, .* GB free · 6 steps of 256 tokens", text, re.M)
    assert "MoE, trained on" in text and "= dense" in text
    assert before == {f.name: f.read_bytes() for f in stories.iterdir()}


def test_without_time_nothing_trains_and_it_says_so(moebius, stories, tmp_path):
    done = moebius("demo", "--model", stories, "--samples", 12, "--minutes", 0.0001, "--out",
                   tmp_path / "d", "--json", check=True, timeout=300)
    result = json.loads(done.stdout)
    assert [row["name"] for row in result["rows"]] == ["dense", "MoE"]
    dense, moe = (row["perplexity"]["all"] for row in result["rows"])
    assert moe == pytest.approx(dense, rel=1e-5)  # an untrained conversion is the dense model


def test_a_foreign_directory_is_not_replaced(moebius, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.txt").write_text("mine")
    done = moebius("demo", *SMALL, "--out", tmp_path, "--overwrite")
    assert done.returncode == 1 and "not an output of moebius" in done.stderr.decode()
    assert (tmp_path / "data" / "mine.txt").read_text() == "mine"
