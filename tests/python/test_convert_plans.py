"""Plans by layer, routers made from text, several sources, and mixtures in."""

import json

import pytest
import torch

import tiny
from converting import (  # fixtures too
    LIMIT, calibration, chosen_layers, config_of, convert, sources,
)


def same_in_transformers(hf, probe, out, folder, ids=None):
    """Both open the output and agree; the logits."""
    ids = tiny.random_ids(131) if ids is None else ids
    opened = tiny.hf_logits(tiny.open_in_transformers(hf, out), ids)
    assert tiny.max_difference(tiny.probe_logits(probe, out, ids, folder), opened) <= LIMIT
    return opened


def shares(moebius, model, text, folder):
    """[layer][expert] share of the text's tokens."""
    file = folder / "shares.txt"
    file.write_text(text)
    answer = json.loads(moebius("eval", model, "--data", file, "--json", check=True).stdout)
    return {row["layer"]: row["share"] for row in answer["layers"]}


# ---- Plan files -------------------------------------------------------------------------------


def test_plan(hf, moebius, probe, convert, sources, calibration, tmp_path):
    plan = tmp_path / "plan.yaml"
    plan.write_text("""
- {layers: 0, experts: 3, top-k: 1, granularity: 2}
- layers: [1, 2]
  method: split
  shared: 1
  partition: weights
""")
    model, source = sources("llama")
    out, report = convert(source, "--plan", plan, "--experts", 5, "--calibration", calibration)
    found = [(r["layer"], r["method"], r["experts"], r["top_k"]) for r in report["layers"]]
    assert found == [(0, "upcycle", 6, 2), (1, "split", 5, 2), (2, "split", 5, 2)]
    assert report["options"]["plan"] == str(plan)
    same_in_transformers(hf, probe, out, tmp_path)
    rows = config_of(out)["moebius"]["layers"]
    assert [r["shared_width"] for r in rows] == [0, 12, 12]
    said = json.loads(moebius("convert", source, "-o", tmp_path / "dry", "--plan", plan, "--calibration",
                              calibration, "--experts", 5, "--dry-run", "--json", check=True).stdout)
    assert said["layers"] == [0, 1, 2] and said["parameters"] == report["parameters"]


@pytest.mark.parametrize(
    "text, named",
    [
        ("- {layers: 0, expert: 3}", ["plan.yaml:1", "expert", "did you mean experts"]),
        ("- {layers: 0}\n- {layers: 0-1}", ["plan.yaml:2", "layer 0 again"]),
        ("- {experts: 3}", ["plan.yaml:1", "names no layers"]),
        ("- {layers: 9}", ["layer 9 is out of range"]),
        ("- {layers: 0, experts: many}", ["plan.yaml:1", "--experts", "many"]),
        ("- {layers: 0, method: melt}", ["plan.yaml:1", "melt", "upcycle"]),
        ("- {layers: 0, experts: 2, top-k: 3}", ["plan.yaml:1", "K must not exceed E"]),
        ("- {layers: 0, method: split, noise: 1}", ["plan.yaml:1", "--noise"]),
        ("- {layers: 0, method: split}", ["--calibration"]),
        ("- {layers: 0, router: centroid}", ["--calibration"]),
        ("- {layers: 0, method: prune}", ["plan.yaml:1", "layer 0", "dense"]),
        ("- {layers: 0, router: prompts}", ["prompts for 0 experts", "4"]),
        ("- {layers: 0, prompts: [{negative: a}]}", ["plan.yaml:1", "no positive prompt"]),
        ("- {layers: 0, prompts: [{positiv: a}]}", ["plan.yaml:1", "positiv"]),
        ("- {layers: 0, prompts: {positive: a}}", ["plan.yaml:1", "one entry an expert"]),
        ("- {layers: 0, prompts: [{positive: a}]}", ["plan.yaml:1", "router: prompts"]),
        ("- {layers: 0, layers: 1}", ["plan.yaml:1", "layers again"]),
        ("- 5", ["plan.yaml:1"]),
        ("layers: 0", ["plan.yaml", "a list of rows"]),
        ("", ["plan.yaml", "a list of rows"]),
        ("- {layers: [", ["plan.yaml:"]),
    ],
)
def test_plans_that_cannot_be(moebius, sources, tmp_path, text, named):
    plan = tmp_path / "plan.yaml"
    plan.write_text(text)
    done = moebius("convert", sources("llama")[1], "-o", tmp_path / "out", "--plan", plan)
    message = done.stderr.decode()
    assert done.returncode in (1, 2) and not (tmp_path / "out").exists()
    assert all(each in message for each in named), message
    assert len([line for line in message.splitlines() if "warning" not in line]) == 1


def test_plan_and_layers_exclude_each_other(moebius, sources, tmp_path):
    (tmp_path / "plan.yaml").write_text("- {layers: 0}")
    done = moebius("convert", sources("llama")[1], "-o", tmp_path / "out", "--plan",
                   tmp_path / "plan.yaml", "--layers", "1")
    assert done.returncode == 2 and b"--plan" in done.stderr


# ---- Routers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["llama", "gpt2", "opt-350m"])
def test_centroids(hf, probe, convert, sources, calibration, tmp_path, name):
    model, source = sources(name)
    options = ["--layers", "all", "--experts", 5, "--router", "centroid", "--calibration", calibration]
    out, report = convert(source, *options, "--threads", 1)
    assert report["dense_exact"] <= 1e-5
    dense = tiny.hf_logits(model, tiny.random_ids(131))
    assert tiny.max_difference(same_in_transformers(hf, probe, out, tmp_path), dense) <= LIMIT
    again, _ = convert(source, *options, "--threads", 2)
    assert all(tiny.same_bits(t, tiny.tensors_of(again)[n]) for n, t in tiny.tensors_of(out).items())


def test_centroids_share_real_text_evenly(moebius, convert, stories, data, tmp_path):
    """Which a random router does not, on text that neither saw."""
    text = (data / "text/tinystories_sample_2M.txt").read_text()
    (tmp_path / "calibration.txt").write_text(text[:60_000])

    def most(router, *more):
        out, _ = convert(stories, "--layers", "all", "--experts", 4, "--top-k", 1, "--router", router, *more)
        return max(max(row) for row in shares(moebius, out, text[-40_000:], tmp_path).values())

    assert most("centroid", "--calibration", tmp_path / "calibration.txt") < 0.35 < most("random")


def test_prompts(moebius, probe, convert, stories, data, tmp_path):
    """Each expert gets the kind of text that its prompts are of, and not what it is told not to."""
    text = (data / "text/tinystories_sample_2M.txt").read_text()
    java = (data / "text/codexglue_train.java.txt").read_text()
    prompts = [{"positive": [text[2_000:2_300], text[9_000:9_300]]},
               {"positive": [java[2_000:2_150], java[9_000:9_150]], "negative": [text[:200]]}]
    plan = tmp_path / "plan.yaml"
    plan.write_text(json.dumps([{"layers": "all", "experts": 2, "top-k": 1, "router": "prompts",
                                 "prompts": prompts}]))
    out, report = convert(stories, "--plan", plan)
    assert report["dense_exact"] <= 1e-5
    tales = shares(moebius, out, text[-20_000:], tmp_path)
    code = shares(moebius, out, java[-8_000:], tmp_path)
    for layer in range(5):
        assert tales[layer][0] > code[layer][0] + 0.3, (tales, code)
    right = [tales[layer][0] + code[layer][1] for layer in range(5)]
    assert sum(right) / 10 > 0.7, right


def test_prompts_that_hardly_differ(convert, moebius, stories, tmp_path):
    prompts = [{"positive": ["Once upon a time"]}, {"positive": ["Once upon a time"]},
               {"positive": ["She had a red ball."]}]
    plan = tmp_path / "plan.yaml"
    plan.write_text(json.dumps([{"layers": 2, "experts": 3, "router": "prompts", "prompts": prompts}]))
    done = moebius("convert", stories, "-o", tmp_path / "out", "--plan", plan, check=True)
    assert b"layer 2: the prompts of experts 0 and 1 hardly differ" in done.stderr


# ---- Several sources --------------------------------------------------------------------------


@pytest.fixture(scope="session")
def tunes(hf, tmp_path_factory):
    """Three models of one shape, as fine-tunes of one base would be."""
    root = tmp_path_factory.mktemp("tunes")
    return [
        tiny.add_char_tokenizer(
            tiny.save(tiny.make_model(hf, "llama", seed=seed, num_hidden_layers=3), root / f"tune{seed}"), 131)
        for seed in (1, 2, 3)
    ]


@pytest.mark.parametrize("rest", ["base", "average"])
def test_branch_train_mix(hf, probe, convert, tunes, tmp_path, rest):
    out, report = convert(tunes[0], "--source", tunes[1], tunes[2], "--layers", "0,2", "--experts", 6,
                          "--rest", rest)
    before, after = [tiny.tensors_of(t) for t in tunes], tiny.tensors_of(out)
    mean = {n: torch.stack([b[n].double() for b in before]).mean(0).float() for n in before[0]}
    for name, tensor in after.items():
        if ".mlp.experts." in name:
            front, back = name.split(".experts.")
            expert, part = back.split(".", 1)
            assert tiny.same_bits(tensor, before[int(expert) % 3][f"{front}.{part}"])
        elif ".router." not in name:
            assert tiny.same_bits(tensor, before[0][name]) if rest == "base" else torch.equal(tensor, mean[name])
    same_in_transformers(hf, probe, out, tmp_path)
    assert [s["path"] for s in report["more_sources"]] == [str(tunes[1]), str(tunes[2])]
    digests = [s["digests"]["model.safetensors"] for s in (report["source"], *report["more_sources"])]
    assert len(set(digests)) == 3
    assert report["dense_exact"] > 1e-3


@pytest.mark.parametrize("rest", ["base", "average"])
def test_a_mix_of_one_with_itself_is_the_model(convert, tunes, rest):
    out, report = convert(tunes[0], "--source", tunes[0], "--layers", "all", "--experts", 2, "--rest", rest)
    assert report["dense_exact"] <= 1e-5
    before, after = tiny.tensors_of(tunes[0]), tiny.tensors_of(out)
    assert all(tiny.same_bits(t, before[n]) for n, t in after.items() if n in before)


def test_sources_that_do_not_fit(moebius, sources, tunes, tmp_path):
    for other, named in ((sources("gpt2")[1], "gpt2"), (sources("llama-biases")[1], "bias"),
                         (sources("llama-theta-tied")[1], "q_proj"), (tmp_path / "none", "none")):
        done = moebius("convert", tunes[0], "-o", tmp_path / "out", "--source", other)
        assert done.returncode == 1 and named in done.stderr.decode(), done.stderr
        assert str(other) in done.stderr.decode() and not (tmp_path / "out").exists()
    done = moebius("convert", tunes[0], "-o", tmp_path / "out", "--rest", "average")
    assert done.returncode == 2 and b"--source" in done.stderr


# ---- Mixtures in ------------------------------------------------------------------------------

MIXTURES = {
    "mixtral": {}, "granitemoe": {}, "qwen2_moe": {}, "qwen3_moe": {}, "olmoe": {},
    "deepseek_v2": {"topk_method": "greedy"}, "deepseek_v3": {"n_group": 1, "topk_group": 1},
}


@pytest.fixture(scope="session")
def mixtures(hf, tmp_path_factory):
    root, made = tmp_path_factory.mktemp("mixtures"), {}

    def call(family):
        if family not in made:
            model = tiny.make_model(hf, family, seed=5, **MIXTURES[family])
            made[family] = tiny.add_char_tokenizer(tiny.save(model, root / family), 131)
        return made[family]

    return call


def experts_of(hf, directory):
    """[MoE layer][expert] -> (gate, up, down), and the rows of the routers, as transformers has them; a
    correction is one more column."""
    layers, routers = [], []
    for layer in tiny.open_in_transformers(hf, directory).model.layers:
        block = getattr(layer, "mlp", None) or layer.block_sparse_moe
        if hasattr(block, "experts"):
            gate, up = block.experts.gate_up_proj.chunk(2, dim=1)
            gate_of = getattr(block, "gate", None) or block.router
            down, router = block.experts.down_proj, gate_of.weight
            if hasattr(gate_of, "e_score_correction_bias"):
                router = torch.cat([router, gate_of.e_score_correction_bias[:, None]], 1)
        elif hasattr(block, "input_linear"):
            gate, up = block.input_linear.weight.chunk(2, dim=1)
            down, router = block.output_linear.weight, block.router.layer.weight
        else:
            continue  # a dense layer between mixtures
        layers.append([tuple(t.detach() for t in each) for each in zip(gate, up, down)])
        routers.append(router.detach())
    return layers, routers


def routing(probe, model, text, folder):
    """Scores of every MoE layer over windows of 64 characters, as calibration sees them."""
    ids = tiny.to_ids(text)
    windows = torch.tensor(ids[: len(ids) // 64 * 64]).view(-1, 64)
    found = tiny.probe_tensors(probe, "routing", model, windows, folder)
    return [found[name] for name in sorted(found, key=lambda n: int(n.split(".")[-1]))]


def usage(probe, source, routers, text, folder):
    """Of every MoE layer: scores, and how many tokens each expert gets."""
    config = json.loads((source / "config.json").read_text())
    for scores, rows in zip(routing(probe, source, text, folder), routers, strict=True):
        corrected = rows.shape[1] > config["hidden_size"]
        choice = scores.sigmoid() + rows[:, -1] if corrected else scores
        chosen = choice.topk(config["num_experts_per_tok"], dim=1).indices
        yield scores, torch.bincount(chosen.flatten(), minlength=scores.shape[1])


@pytest.mark.parametrize("family", MIXTURES)
def test_expand(hf, probe, convert, mixtures, tmp_path, family):
    source = mixtures(family)
    before, rows = experts_of(hf, source)
    count = 2 * len(before[0])
    out, report = convert(source, "--method", "expand", "--experts", count)
    after, new_rows = experts_of(hf, out)
    assert [r["method"] for r in report["layers"]] == ["expand"] * len(before)
    for old, new, row, new_row in zip(before, after, rows, new_rows):
        assert len(new) == count
        for e, parts in enumerate(new):
            assert all(map(torch.equal, parts, old[e % len(old)]))
        first, second = new_row.chunk(2)
        assert torch.allclose((first + second) / 2, row, atol=1e-6) and not torch.equal(first, row)
    same_in_transformers(hf, probe, out, tmp_path)
    noisy, _ = convert(source, "--method", "expand", "--experts", count + 1, "--noise", 0.1)
    changed = experts_of(hf, noisy)[0][0]
    assert len(changed) == count + 1
    half = count // 2
    assert all(map(torch.equal, changed[0], before[0][0])) and not torch.equal(changed[half][0], before[0][0][0])


@pytest.mark.parametrize("family", MIXTURES)
def test_prune_keeps_the_most_used(hf, probe, convert, mixtures, calibration, tmp_path, family):
    source = mixtures(family)
    before, rows = experts_of(hf, source)
    left = len(before[0]) - 1
    out, _ = convert(source, "--method", "prune", "--experts", left, "--calibration", calibration)
    after, new_rows = experts_of(hf, out)
    for l, (_, used) in enumerate(usage(probe, source, rows, calibration.read_text(), tmp_path)):
        kept = sorted(sorted(range(left + 1), key=lambda e: (-int(used[e]), e))[:left])
        assert torch.equal(new_rows[l], rows[l][kept])
        for parts, e in zip(after[l], kept):
            assert all(map(torch.equal, parts, before[l][e]))
    same_in_transformers(hf, probe, out, tmp_path)


@pytest.mark.parametrize("family", MIXTURES)
def test_merge(hf, probe, convert, mixtures, calibration, tmp_path, family):
    source = mixtures(family)
    before, rows = experts_of(hf, source)
    count = len(before[0])
    top_k = json.loads((source / "config.json").read_text())["num_experts_per_tok"]
    out, _ = convert(source, "--method", "merge", "--experts", top_k, "--calibration", calibration)
    after, new_rows = experts_of(hf, out)
    for l, (scores, used) in enumerate(usage(probe, source, rows, calibration.read_text(), tmp_path)):
        kept = sorted(sorted(range(count), key=lambda e: (-used[e], e))[:top_k])
        centred = scores.double() - scores.double().mean(1, keepdim=True)
        alike = torch.corrcoef(centred.t())
        groups = {e: [e] for e in kept}
        for e in set(range(count)) - set(kept):
            groups[max(kept, key=lambda k: alike[e, k])].append(e)
        assert torch.equal(new_rows[l], rows[l][kept])
        for parts, e in zip(after[l], kept):
            for part, tensor in enumerate(parts):
                mean = sum(used[m] * before[l][m][part].double() for m in groups[e]) / sum(used[m] for m in groups[e])
                assert torch.allclose(tensor.double(), mean, atol=1e-6)
    same_in_transformers(hf, probe, out, tmp_path)


def test_mixtures_that_moebius_made(hf, probe, convert, sources, calibration, tmp_path):
    """One layer of its own choice; a split's too."""
    made, _ = convert(sources("gpt2")[1], "--layers", "0,2", "--method", "split", "--experts", 5,
                      "--top-k", 3, "--router", "neurons", "--calibration", calibration)
    fewer, report = convert(made, "--method", "prune", "--layers", "2", "--experts", 4, "--calibration", calibration)
    assert chosen_layers(report) == [2]
    assert [r["experts"] for r in config_of(fewer)["moebius"]["layers"]] == [5, 4]
    same_in_transformers(hf, probe, fewer, tmp_path)
    more, _ = convert(fewer, "--method", "expand", "--experts", 7)
    assert [r["experts"] for r in config_of(more)["moebius"]["layers"]] == [7, 7]
    same_in_transformers(hf, probe, more, tmp_path)


def test_a_correction_keeps_its_dtype(convert, mixtures):
    out, _ = convert(mixtures("deepseek_v3"), "--method", "expand", "--experts", 18, "--dtype", "bf16")
    dtypes = {name: tensor.dtype for name, tensor in tiny.tensors_of(out).items()}
    assert {name for name, dtype in dtypes.items() if dtype != torch.bfloat16} == {
        f"model.layers.{layer}.mlp.gate.e_score_correction_bias" for layer in (1, 2)}


def test_what_mixtures_refuse(hf, moebius, convert, sources, mixtures, calibration, tmp_path):
    grouped, _ = convert(sources("llama")[1], "--layers", "all", "--granularity", 2)
    limited = tiny.add_char_tokenizer(tiny.save(tiny.make_model(hf, "deepseek_v3"), tmp_path / "limited"), 131)
    cases = [
        (limited, ["--method", "expand", "--experts", 18], ["layer 1", "n_group"]),
        (limited, ["--method", "upcycle", "--layers", "0"], ["mixtures of experts of its own", "expand"]),
        (mixtures("mixtral"), ["--method", "expand", "--experts", 5], ["--experts 5", "more"]),
        (mixtures("mixtral"), ["--method", "prune", "--experts", 5], ["--experts 5", "fewer"]),
        (mixtures("mixtral"), ["--method", "prune", "--experts", 1], ["--experts 1", "takes"]),
        (mixtures("mixtral"), ["--method", "merge", "--experts", 4, "--layers", "0"], ["every layer", "alike"]),
        (mixtures("mixtral"), ["--method", "upcycle"], ["mixtures of experts of its own", "expand"]),
        (mixtures("mixtral"), ["--method", "prune", "--experts", 4, "--router", "zero"], ["--router"]),
        (sources("llama")[1], ["--method", "prune", "--experts", 4], ["no mixture"]),
        (grouped, ["--method", "prune", "--experts", 4], ["groups"]),
    ]
    for source, options, named in cases:
        if options[1] in ("prune", "merge"):
            options += ["--calibration", calibration]
        done = moebius("convert", source, "-o", tmp_path / "out", *options)
        message = done.stderr.decode()
        assert done.returncode in (1, 2) and not (tmp_path / "out").exists()
        assert all(each in message for each in named), message
    done = moebius("convert", mixtures("mixtral"), "-o", tmp_path / "out", "--method", "prune", "--experts", 4)
    assert done.returncode == 2 and b"--calibration" in done.stderr
