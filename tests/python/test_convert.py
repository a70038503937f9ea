"""Conversions: that noise 0 gives the dense model, that everything else stays as it was, that
transformers opens the result, and that conversion.json tells the truth."""

import json
import math
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

import tiny
from converting import (  # fixtures too
    FIELDS, LAYER_FIELDS, LIMIT, NATIVE, PROMPT, SOURCES, calibration, chosen_layers, config_of, convert, sources,
)

# ---- Equality ---------------------------------------------------------------------------------

CHOICES = [
    (["--layers", "all"], 4, 2, [0, 1, 2]),
    (["--layers", "all"], 3, 3, [0, 1, 2]),
    (["--every", 2], 5, 1, [0, 2]),
    (["--layers", "1"], 7, 3, [1]),
]


@pytest.mark.short_cases(8)
@pytest.mark.parametrize(
    "name, choice",
    [(name, choice) for name in SOURCES for choice in range(len(CHOICES))
     if name in ("llama", "gpt2") or choice in (0, 2)],
)
def test_noise_0_is_the_dense_model_everywhere(
        hf, moebius, probe, convert, sources, tmp_path, name, choice):
    options, experts, top_k, layers = CHOICES[choice]
    model, source = sources(name)
    out, report = convert(source, *options, "--experts", experts, "--top-k", top_k)
    assert chosen_layers(report) == layers
    assert report["dense_exact"] <= 1e-5
    for row in report["layers"]:
        assert row["kept"] is True and row["reason"] == "" and row["method"] == "upcycle"
        assert (row["experts"], row["top_k"]) == (experts, top_k)
        assert row["ffn_error"] <= 1e-5 and abs(row["kl"]) <= 1e-6 and row["agreement"] == 1

    ids = tiny.random_ids(131)
    dense = tiny.hf_logits(model, ids)
    opened = tiny.open_in_transformers(hf, out)
    assert tiny.max_difference(tiny.hf_logits(opened, ids), dense) <= LIMIT
    assert tiny.max_difference(tiny.probe_logits(probe, out, ids, tmp_path), dense) <= LIMIT
    assert report["parameters"] == opened.num_parameters()

    native = NATIVE.get(name) if layers == [0, 1, 2] or name == "qwen3" else None
    config = config_of(out)
    if native:
        assert type(opened).__name__ == native
        assert config["rope_theta"] == config["rope_parameters"]["rope_theta"]
        assert "auto_map" not in config and not (out / "modeling_moebius.py").exists()
    else:
        assert type(opened).__name__ == "MoebiusForCausalLM"
        assert (out / "modeling_moebius.py").exists()
        assert set(config["auto_map"]) == {"AutoConfig", "AutoModelForCausalLM"}

    # Greedy continuations: transformers with its cache, and moebius.
    prompt = [3, 1, 4, 15, 92, 65]
    with torch.no_grad():
        ids = opened.generate(torch.tensor([prompt]), do_sample=False, use_cache=True,
                              max_new_tokens=20, pad_token_id=0)[0].tolist()
    new = [i for i in ids[len(prompt):] if i != 2]
    done = moebius("generate", out, "--prompt", tiny.to_text(prompt), "--max-tokens", 20, check=True)
    assert tiny.to_ids(done.stdout.decode()) == new


FINE = {  # E, K, G and N of a source's width: 76, 55, 50
    "halves": ("llama", [4, 2, 2, 0]),
    "nineteenths-top-1": ("llama-biases", [2, 1, 19, 0]),
    "all-of-quarters": ("qwen3", [3, 3, 4, 0]),
    "conv1d-fifths": ("gpt2", [3, 2, 5, 0]),
    "shared-copy": ("llama", [4, 2, 1, 1]),
    "shared-two-copies": ("llama-biases", [3, 2, 1, 2]),
    "shared-half-a-copy": ("llama-biases", [3, 1, 2, 1]),
    "shared-one-and-a-half": ("gpt2", [2, 2, 5, 7]),
    "shared-opt": ("opt", [3, 2, 2, 2]),
    "shared-and-halves-granite": ("granite", [2, 1, 2, 3]),
    "shared-qwen2": ("qwen2", [4, 2, 1, 1]),
    "shared-qwen2-halves": ("qwen2", [4, 2, 2, 1]),
}


@pytest.mark.short_cases(7)
@pytest.mark.parametrize("case", FINE)
@pytest.mark.parametrize("layers", ["all", "0,2"])
def test_fine_grained_and_shared_experts_are_the_dense_model(
        hf, moebius, probe, convert, sources, tmp_path, case, layers):
    name, (experts, top_k, parts, shared) = FINE[case]
    model, source = sources(name)
    out, report = convert(source, "--layers", layers, "--experts", experts, "--top-k", top_k,
                          "--granularity", parts, "--shared", shared)
    assert report["dense_exact"] <= 1e-5
    width = json.loads(moebius("info", source, "--json", check=True).stdout)["layers"][0]["width"]
    made = json.loads(moebius("info", out, "--json", check=True).stdout)
    for layer in chosen_layers(report):
        row = made["layers"][layer]
        assert (row["experts"], row["top_k"]) == (experts * parts, top_k * parts)
        assert (row["width"], row["shared"]) == (width // parts, shared * width // parts)
        assert row["router_groups"] == experts
    ids = tiny.random_ids(131)
    dense = tiny.hf_logits(model, ids)
    opened = tiny.open_in_transformers(hf, out)
    native = name == "qwen2" and parts == 1
    assert type(opened).__name__ == ("Qwen2MoeForCausalLM" if native else "MoebiusForCausalLM")
    assert tiny.max_difference(tiny.hf_logits(opened, ids), dense) <= LIMIT
    assert tiny.max_difference(tiny.probe_logits(probe, out, ids, tmp_path), dense) <= LIMIT
    assert report["parameters"] == made["parameters"] == opened.num_parameters()


def test_parts_of_a_copy_are_its_neurons_in_order(convert, sources):
    _, source = sources("llama")
    out, _ = convert(source, "--layers", "1", "--experts", 3, "--granularity", 4)
    before, after = tiny.tensors_of(source), tiny.tensors_of(out)
    place = "model.layers.1.mlp."
    up, down = before[place + "up_proj.weight"], before[place + "down_proj.weight"]
    router = after[place + "router.weight"]
    for e in range(12):
        neurons = slice(e % 4 * 19, (e % 4 + 1) * 19)
        assert tiny.same_bits(after[f"{place}experts.{e}.up_proj.weight"], up[neurons])
        assert tiny.same_bits(after[f"{place}experts.{e}.down_proj.weight"], 4 * down[:, neurons])
        assert tiny.same_bits(router[e], router[e // 4 * 4])
    assert len({tuple(row.tolist()) for row in router}) == 3


def test_drop_draws_a_share_of_the_neurons_anew(convert, sources):
    _, source = sources("llama")
    out, report = convert(source, "--layers", "0", "--experts", 3, "--drop", 0.5)
    before, after = tiny.tensors_of(source), tiny.tensors_of(out)
    place, kept = "model.layers.0.mlp.", []
    for e in range(3):
        masks = []
        for part in ("gate", "up", "down"):
            old, new = before[f"{place}{part}_proj.weight"], after[f"{place}experts.{e}.{part}_proj.weight"]
            same = (old == new).all(dim=1 if part != "down" else 0)
            masks.append(same)
            fresh = new[~same] if part != "down" else new[:, ~same]
            assert fresh.mean().item() == pytest.approx(old.mean().item(), abs=0.1 * old.std().item())
            assert fresh.std().item() == pytest.approx(old.std().item(), rel=0.1)
        assert masks[0].sum() == 38 and all(torch.equal(m, masks[0]) for m in masks)
        kept.append(masks[0])
    assert not torch.equal(kept[0], kept[1]) and not torch.equal(kept[1], kept[2])
    assert report["layers"][0]["ffn_error"] > 0.1
    again, _ = convert(source, "--layers", "0", "--experts", 3, "--drop", 0.5, "--threads", 1)
    assert all(tiny.same_bits(t, after[n]) for n, t in tiny.tensors_of(again).items())


def test_a_zero_router_takes_every_expert_alike(probe, convert, sources, tmp_path):
    model, source = sources("llama-biases")
    out, report = convert(source, "--layers", "all", "--experts", 3, "--top-k", 3, "--router", "zero")
    routers = [t for n, t in tiny.tensors_of(out).items() if is_router(n)]
    assert len(routers) == 3 and not any(t.any() for t in routers)
    assert report["dense_exact"] <= 1e-5


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("wanted", ["f32", "bf16", "f16"])
def test_dtype_of_the_output(hf, convert, sources, stored, wanted):
    _, source = sources("llama", stored)
    out, _ = convert(source, "--layers", "1", "--dtype", wanted, "--granularity", 2)
    dtype = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}[wanted]
    before, after = tiny.tensors_of(source), tiny.tensors_of(out)
    assert {t.dtype for t in after.values()} == {dtype}
    for name, tensor in after.items():
        if name in before:
            assert tiny.same_bits(tensor, before[name].to(dtype)), name
    config = config_of(out)
    assert config["dtype"] == str(dtype).removeprefix("torch.")
    assert hf.AutoModelForCausalLM.from_pretrained(out, trust_remote_code=True, dtype="auto").dtype == dtype


def test_dry_run_says_what_comes_out_and_writes_nothing(moebius, convert, sources, tmp_path):
    _, source = sources("llama")
    options = ["--layers", "0,2", "--experts", 5, "--granularity", 2, "--dtype", "bf16"]
    done = moebius("convert", source, "-o", tmp_path / "a" / "out", *options, "--dry-run", "--json",
                   check=True)
    said = json.loads(done.stdout)
    assert not (tmp_path / "a").exists() and list(tmp_path.iterdir()) == []
    out, report = convert(source, *options)
    info = json.loads(moebius("info", out, "--json", check=True).stdout)
    for key in ("parameters", "active_parameters", "flops_per_token", "bytes"):
        assert said[key] == info[key], key
    assert said["layers"] == chosen_layers(report) and said["seconds"] > 0
    before = json.loads(moebius("info", source, "--json", check=True).stdout)
    assert said["source_flops_per_token"] == before["flops_per_token"] < said["flops_per_token"]
    text = moebius("convert", source, "-o", tmp_path / "b", *options, "--dry-run", check=True).stdout
    assert b"slower than its source" in text and b"nothing was written" in text
    done = moebius("convert", source, "-o", tmp_path / "b", "--layers", "7", "--dry-run")
    assert done.returncode == 1 and b"--layers" in done.stderr


# ---- Splitting --------------------------------------------------------------------------------


SPLITS = {  # source, partition, router, E, N
    "activations": ("llama", "activations", "linear", 4, 0),
    "biased-neurons": ("llama-biases", "activations", "neurons", 5, 0),
    "weights-shared": ("llama-biases", "weights", "linear", 3, 2),
    "conv1d": ("gpt2", "activations", "neurons", 4, 1),
    "conv1d-by-lot": ("gpt2", "random", "random", 7, 0),
    "opt": ("opt", "weights", "linear", 3, 1),
    "qwen3": ("qwen3", "activations", "neurons", 6, 2),
    "granite": ("granite", "activations", "linear", 2, 0),
}


@pytest.mark.short_cases(5)
@pytest.mark.parametrize("case", SPLITS)
@pytest.mark.parametrize("all_of_them", [True, False])
def test_split(hf, moebius, probe, convert, sources, calibration, tmp_path, case, all_of_them):
    name, partition, router, experts, shared = SPLITS[case]
    model, source = sources(name)
    top_k = experts if all_of_them else max(1, experts // 2)
    out, report = convert(
        source, "--method", "split", "--layers", "0,2", "--experts", experts, "--top-k", top_k,
        "--shared", shared, "--partition", partition, "--router", router, "--calibration", calibration)
    ids = tiny.random_ids(131)
    opened = tiny.hf_logits(tiny.open_in_transformers(hf, out), ids)
    assert tiny.max_difference(tiny.probe_logits(probe, out, ids, tmp_path), opened) <= LIMIT
    exact = tiny.max_difference(opened, tiny.hf_logits(model, ids)) <= LIMIT
    assert exact == all_of_them and (report["dense_exact"] <= 1e-5) == all_of_them
    before = json.loads(moebius("info", source, "--json", check=True).stdout)
    after = json.loads(moebius("info", out, "--json", check=True).stdout)
    assert all_of_them or after["active_parameters"] < before["parameters"]
    if not all_of_them and router != "neurons":
        assert after["flops_per_token"] < before["flops_per_token"]
    width, row = before["layers"][0]["width"], after["layers"][0]
    assert row["shared"] == width * shared // (experts + shared)
    assert row["width"] == math.ceil((width - row["shared"]) / experts)


@pytest.mark.parametrize("partition", ["random", "weights", "activations"])
def test_split_divides_the_neurons(convert, sources, calibration, partition):
    _, source = sources("llama")
    options = ["--method", "split", "--layers", "1", "--experts", 5, "--shared", 1, "--partition",
               partition, "--calibration", calibration]
    out, _ = convert(source, *options, "--threads", 1)
    before, after = tiny.tensors_of(source), tiny.tensors_of(out)
    place, rows, columns, widths = "model.layers.1.mlp.", [], [], []
    for part in ("shared", *(f"experts.{e}" for e in range(5))):
        up, down = after[f"{place}{part}.up_proj.weight"], after[f"{place}{part}.down_proj.weight"]
        real = up.any(dim=1)
        assert torch.equal(real, down.any(dim=0)) and real[: int(real.sum())].all()
        rows.append(up[real])
        columns.append(down[:, real])
        widths.append(int(real.sum()))
    assert widths[0] == 12 and set(widths[1:]) == {12, 13}
    rows, columns = torch.cat(rows), torch.cat(columns, dim=1)
    dense_up, dense_down = before[place + "up_proj.weight"], before[place + "down_proj.weight"]
    order = [(dense_up == row).all(dim=1).nonzero().item() for row in rows]
    assert sorted(order) == list(range(76))
    assert tiny.same_bits(columns, dense_down[:, order])
    again, _ = convert(source, *options, "--threads", 2)
    assert all(tiny.same_bits(t, after[n]) for n, t in tiny.tensors_of(again).items())


@pytest.mark.long
def test_split_by_activations_on_a_real_model(moebius, convert, stories, data, tmp_path):
    """Held-out text, half of the neurons: by activations better than by weights or by lot, and the
    fitted router better than a random one."""
    text = (data / "text/tinystories_sample_2M.txt").read_text()
    (tmp_path / "calibration.txt").write_text(text[:100_000])
    (tmp_path / "held.txt").write_text(text[-40_000:])

    def perplexity(partition, router):
        out, _ = convert(stories, "--method", "split", "--layers", "all", "--experts", 4, "--top-k", 2,
                         "--partition", partition, "--router", router, "--calibration",
                         tmp_path / "calibration.txt")
        done = moebius("eval", out, "--data", tmp_path / "held.txt", "--json", check=True)
        return json.loads(done.stdout)["perplexity"]

    fitted = perplexity("activations", "linear")
    assert fitted < perplexity("weights", "linear") < perplexity("random", "linear")
    assert fitted < perplexity("activations", "neurons") < perplexity("activations", "random")


# ---- Routers ----------------------------------------------------------------------------------


ROUTINGS = {
    "bias": dict(router_bias=True),
    "one-plus": dict(router_weights="one_plus", router_bias=True),
    "one-bias-once": dict(router_weights="one", bias_once=True),
    "sigmoid-renorm": dict(router_weights="sigmoid_renorm"),
    "neurons": dict(router_scores="neurons", router_weights="one_plus", bias_once=True),
}


@pytest.mark.short_cases(9)
@pytest.mark.parametrize("routing", ROUTINGS)
@pytest.mark.parametrize("name", ["llama", "llama-biases", "gpt2", "opt"])
@pytest.mark.parametrize("shared", [0, 1])
def test_every_way_of_routing_opens_in_transformers(
        hf, probe, convert, sources, tmp_path, name, routing, shared):
    """A converted layer described anew by hand, its weights drawn at random."""
    _, source = sources(name)
    out, _ = convert(source, "--layers", "1", "--experts", 4, "--noise", 0.5, "--shared", shared,
                     "--granularity", 1)
    spec, file = ROUTINGS[routing], out / "model.safetensors"
    config = config_of(out)
    config["moebius"]["layers"][0].update(spec)
    (out / "config.json").write_text(json.dumps(config))
    tensors = load_file(file)
    router = next(n for n in tensors if n.endswith("router.weight"))
    place, width = router.removesuffix("router.weight"), tensors[router].shape[1]
    down = {"llama": "down_proj", "llama-biases": "down_proj", "gpt2": "c_proj", "opt": "fc2"}[name]
    biased = name != "llama"
    randoms = torch.Generator().manual_seed(3)

    def random(*shape):
        return torch.empty(shape).normal_(0, 0.4, generator=randoms)

    tensors[router] = random(4, width)
    neurons = spec.get("router_scores") == "neurons"
    if spec.get("router_bias") or (neurons and biased):
        tensors[place + "router.bias"] = random(4)
    if neurons and name.startswith("llama"):
        tensors[place + "router.up.weight"] = random(4, width)
        if biased:
            tensors[place + "router.up.bias"] = random(4)
    if spec.get("router_weights") == "one_plus":
        tensors[place + "router.scale"] = random(4)
    if spec.get("bias_once") and biased:
        for tensor in [n for n in tensors if n.startswith(place) and n.endswith(f"{down}.bias")]:
            del tensors[tensor]
        tensors[place + "bias"] = random(width)
    save_file(tensors, file, metadata={"format": "pt"})
    ids = tiny.random_ids(131)
    found = tiny.probe_logits(probe, out, ids, tmp_path)
    assert tiny.max_difference(found, tiny.hf_logits(tiny.open_in_transformers(hf, out), ids)) <= LIMIT


def test_config_of_a_native_mixtral(convert, sources):
    out, _ = convert(sources("llama-theta-tied")[1], "--layers", "all")
    config = config_of(out)
    assert config["model_type"] == "mixtral"
    assert config["architectures"] == ["MixtralForCausalLM"]
    assert config["rope_theta"] == 12345.0 and config["rms_norm_eps"] == 3e-3
    assert config["tie_word_embeddings"] is True
    assert (config["num_local_experts"], config["num_experts_per_tok"]) == (4, 2)


@pytest.mark.parametrize("kind", ["linear", "dynamic"])
def test_context_of_a_scaled_source_that_states_none(moebius, convert, sources, tmp_path, kind):
    """Scaling starts from what the class takes as its context, not from what it stretches that to."""
    source = tmp_path / "source"
    shutil.copytree(sources("llama")[1], source)
    tiny.edit_json(source / "config.json", max_position_embeddings=None,
                   rope_parameters={"rope_type": kind, "factor": 4.0, "rope_theta": 1e4})
    out, _ = convert(source, "--layers", "all")
    assert config_of(out)["max_position_embeddings"] == 2048
    contexts = [json.loads(moebius("info", m, "--json", check=True).stdout)["context"] for m in (source, out)]
    assert contexts == [8192, 8192]


@pytest.mark.short_cases(3)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["llama", "gpt2"])
@pytest.mark.parametrize("layers", ["all", "0,2"])
def test_half_precision_sources(hf, probe, convert, sources, tmp_path, name, dtype, layers):
    model, source = sources(name, dtype)
    out, report = convert(source, "--layers", layers)
    assert report["dense_exact"] <= 1e-5
    assert {t.dtype for t in tiny.tensors_of(out).values()} == {dtype}
    assert config_of(out)["dtype"] == str(dtype).removeprefix("torch.")
    ids = tiny.random_ids(131)
    dense = tiny.hf_logits(model, ids)
    assert tiny.max_difference(tiny.probe_logits(probe, out, ids, tmp_path), dense) <= LIMIT
    opened = tiny.open_in_transformers(hf, out)
    assert tiny.max_difference(tiny.hf_logits(opened, ids), dense) <= LIMIT
    low = hf.AutoModelForCausalLM.from_pretrained(
        out, trust_remote_code=True, dtype=dtype, experts_implementation="eager").eval()
    assert {p.dtype for p in low.parameters()} == {dtype}
    assert tiny.max_difference(tiny.hf_logits(low, ids), dense) <= 0.2 * dense.std()


@pytest.mark.short_cases(1)
@pytest.mark.parametrize(
    "options, layers",
    [(["--layers", "all"], [0, 1, 2, 3, 4]), (["--every", 2], [0, 2, 4]), ([], [0, 4])])
def test_the_real_model(hf, moebius, probe, convert, stories, tmp_path, options, layers):
    prompt = "Once upon a time, there was a little girl"
    out, report = convert(stories, *options, prompt=prompt)
    assert chosen_layers(report) == layers
    assert report["dense_exact"] <= 1e-5
    expected = (stories / "expected_greedy_200.txt").read_bytes()
    assert moebius("generate", out, "--prompt", "", "--max-tokens", 200, check=True).stdout == expected
    opened, dense = (tiny.open_in_transformers(hf, d) for d in (out, stories))
    ids = tiny.random_ids(512, 2, 100)
    logits = tiny.hf_logits(dense, ids)
    assert tiny.max_difference(tiny.hf_logits(opened, ids), logits) <= LIMIT
    assert tiny.max_difference(tiny.probe_logits(probe, out, ids, tmp_path), logits) <= LIMIT
    tokenizer = hf.AutoTokenizer.from_pretrained(out)
    new = opened.generate(torch.tensor([[1]]), do_sample=False, use_cache=True, max_new_tokens=60)
    text = tokenizer.decode(new[0], skip_special_tokens=True)
    assert text.strip() and expected.decode().strip().startswith(text.strip())


# ---- What stays and what is copied ------------------------------------------------------------


def experts_of(name, tensor):
    """(dense name, tensor) of every expert that a stored tensor holds; nothing for other tensors."""
    mixtral = {"w1": "gate_proj", "w3": "up_proj", "w2": "down_proj"}
    if ".block_sparse_moe.experts." in name:
        head, rest = name.split(".block_sparse_moe.experts.")
        _, matrix, kind = rest.split(".")
        return [(f"{head}.mlp.{mixtral[matrix]}.{kind}", tensor)]
    if name.endswith(".block_sparse_moe.input_linear.weight"):
        head = name.removesuffix(".block_sparse_moe.input_linear.weight")
        return [(f"{head}.mlp.{part}_proj.weight", t)
                for expert in tensor for part, t in zip(("gate", "up"), expert.chunk(2))]
    if name.endswith(".block_sparse_moe.output_linear.weight"):
        head = name.removesuffix(".block_sparse_moe.output_linear.weight")
        return [(f"{head}.mlp.down_proj.weight", expert) for expert in tensor]
    if ".fc1.experts." in name:  # OPT has no module of its own for the dense network
        head, rest = name.split(".fc1.experts.")
        return [(f"{head}.{rest.split('.', 1)[1]}", tensor)]
    if ".mlp.experts." in name:
        head, rest = name.split(".mlp.experts.")
        return [(f"{head}.mlp.{rest.split('.', 1)[1]}", tensor)]
    return []


def is_router(name):
    return name.endswith((
        ".block_sparse_moe.gate.weight", ".block_sparse_moe.router.layer.weight",
        ".mlp.gate.weight", ".mlp.router.weight", ".fc1.router.weight"))


@pytest.mark.short_cases(9)
@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("noise, layers", [(0, "all"), (0.1, "0-1")])
def test_weights_are_copies_bit_by_bit(convert, sources, name, layers, noise):
    _, source = sources(name)
    out, report = convert(source, "--layers", layers, "--experts", 3, "--noise", noise)
    before, after = tiny.tensors_of(source), tiny.tensors_of(out)
    routers = [n for n in after if is_router(n)]
    assert len(routers) == len(report["layers"])
    experts, kept = {}, set()
    for tensor, found in after.items():
        if tensor in routers:
            continue
        copies = experts_of(tensor, found)
        if not copies:
            assert tiny.same_bits(found, before[tensor]), tensor
            kept.add(tensor)
        for dense, copy in copies:
            assert dense in before
            experts.setdefault(dense, []).append(copy)
    assert kept | set(experts) == set(before), "a tensor of the source is lost"
    assert not kept & set(experts)
    for dense, copies in experts.items():
        assert len(copies) == 3
        original = before[dense]
        for copy in copies:
            if noise == 0 or original.dim() == 1:
                assert tiny.same_bits(copy, original), dense
                continue
            change = (copy.double() - original.double()).std() / original.double().std()
            assert change.item() == pytest.approx(noise, rel=0.05), dense
        if noise > 0 and original.dim() == 2:
            assert not torch.equal(copies[0], copies[1]) and not torch.equal(copies[1], copies[2])
            # Noises of two experts are independent.
            a, b = (c.double().flatten() - original.double().flatten() for c in copies[:2])
            assert abs(torch.corrcoef(torch.stack([a, b]))[0, 1]) < 0.1


@pytest.mark.short_cases(2)
@pytest.mark.parametrize("name", ["llama", "gpt2"])
@pytest.mark.parametrize("noise", [0, 0.05])
def test_same_seed_same_bytes_at_any_number_of_threads(convert, sources, name, noise):
    _, source = sources(name)
    options = ["--layers", "0,2", "--noise", noise]
    one, _ = convert(source, *options, "--seed", 4, "--threads", 1)
    two, _ = convert(source, *options, "--seed", 4, "--threads", 2)
    other, _ = convert(source, *options, "--seed", 5, "--threads", 2)
    assert tiny.files_of(one, "conversion.json") == tiny.files_of(two, "conversion.json")
    routers = [n for n in tiny.tensors_of(one) if is_router(n)]
    ours, theirs = tiny.tensors_of(one), tiny.tensors_of(other)
    assert all(not torch.equal(ours[n], theirs[n]) for n in routers)
    reports = [json.loads((d / "conversion.json").read_text()) for d in (one, two)]
    for report in reports:
        report.pop("seconds")
    for a, b in zip(reports[0].pop("layers"), reports[1].pop("layers"), strict=True):
        for key in ("ffn_error", "kl", "agreement"):
            assert a.pop(key) == pytest.approx(b.pop(key), rel=1e-3, abs=1e-6)
        assert a == b
    assert reports[0].pop("dense_exact") == pytest.approx(reports[1].pop("dense_exact"), abs=1e-5)
    assert reports[0] == reports[1]


def test_routers_of_layers_differ(convert, sources):
    out, _ = convert(sources("llama")[1], "--layers", "all")
    routers = [t for n, t in tiny.tensors_of(out).items() if is_router(n)]
    assert len(routers) == 3
    assert not torch.equal(routers[0], routers[1]) and not torch.equal(routers[1], routers[2])


def test_router_is_not_saturated_on_real_text(
        moebius, probe, convert, stories, data, tmp_path):
    out, _ = convert(stories, "--layers", "all", "--experts", 6)
    text = (data / "text/tinystories_sample_2M.txt").read_text(encoding="utf-8")[:3000]
    ids = [int(i) for i in moebius("tokenize", stories, input=text.encode()).stdout.split()][:512]
    for name, logits in tiny.probe_tensors(probe, "routing", out, [ids], tmp_path).items():
        assert 0.3 < logits.std().item() < 3, name
        shares = torch.bincount(logits.topk(2, -1).indices.flatten(), minlength=6) / logits.shape[0]
        assert (shares > 0).sum() >= 4, f"{name} sends everything to {shares}"


# ---- Layer by layer ---------------------------------------------------------------------------


def test_top_1_warns_and_top_2_does_not(moebius, sources, tmp_path):
    _, source = sources("llama")
    for top_k, warns in [(1, True), (2, False)]:
        done = moebius("convert", source, "-o", tmp_path / f"k{top_k}", "--top-k", top_k, check=True)
        assert (b"gradient" in done.stderr) == warns
        assert (b"warning" in done.stderr) == warns


def divergence(dense, other, ids):
    p, q = (tiny.hf_logits(m, [ids]).double().log_softmax(-1)[0] for m in (dense, other))
    agreement = (p.argmax(-1) == q.argmax(-1)).double().mean().item()
    exact = (tiny.hf_logits(dense, [ids]) - tiny.hf_logits(other, [ids])).abs().max()
    exact = (exact / tiny.hf_logits(dense, [ids]).abs().max()).item()
    return (p.exp() * (p - q)).sum(-1).mean().item(), agreement, exact


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_recorded_figures_are_those_of_torch(hf, convert, sources, name):
    """kl, agreement and dense_exact of the last layer are of the saved model; ffn_error of the
    first layer is of its FFN on the dense model's own input."""
    model, source = sources(name)
    out, report = convert(source, "--layers", "all", "--noise", 0.3, "--experts", 3)
    opened = tiny.open_in_transformers(hf, out)
    ids = tiny.to_ids(PROMPT)
    kl, agreement, exact = divergence(model, opened, ids)
    last = report["layers"][-1]
    assert kl > 1e-3
    assert last["kl"] == pytest.approx(kl, rel=1e-3)
    assert last["agreement"] == pytest.approx(agreement)
    assert report["dense_exact"] == pytest.approx(exact, rel=1e-3)

    # The saved models with fewer layers give the figures of the layers before.
    for row, layers in zip(report["layers"], ["0", "0-1"]):
        part, _ = convert(source, "--layers", layers, "--noise", 0.3, "--experts", 3)
        kl, agreement, _ = divergence(model, tiny.open_in_transformers(hf, part), ids)
        assert row["kl"] == pytest.approx(kl, rel=1e-3)
        assert row["agreement"] == pytest.approx(agreement)

    seen = {}

    def keep(which):
        def hook(module, inputs, output):
            seen[which] = output[0] if isinstance(output, tuple) else output
        return hook

    def ffn(model):
        layer = (model.transformer.h if name == "gpt2" else model.model.layers)[0]
        return layer.mlp

    ffn(model).register_forward_hook(keep("dense"))
    ffn(opened).register_forward_hook(keep("moe"))
    tiny.hf_logits(model, [ids]), tiny.hf_logits(opened, [ids])
    error = (seen["moe"] - seen["dense"]).norm() / seen["dense"].norm()
    assert report["layers"][0]["ffn_error"] == pytest.approx(error.item(), rel=1e-3)


def test_all_layers_reverted(hf, moebius, probe, convert, sources, tmp_path):
    model, source = sources("llama")
    out, report = convert(source, "--layers", "all", "--noise", 0.5, "--max-kl", 1e-9)
    assert [row["kept"] for row in report["layers"]] == [False] * 3
    for row in report["layers"]:
        assert "kl" in row["reason"] and "1e-09" in row["reason"] and row["kl"] > 1e-9
    assert report["dense_exact"] == 0
    before, after = tiny.tensors_of(source), tiny.tensors_of(out)
    assert set(before) == set(after)
    assert all(tiny.same_bits(before[n], after[n]) for n in before)
    ids = tiny.random_ids(131)
    opened = tiny.open_in_transformers(hf, out)
    assert type(opened).__name__ == "LlamaForCausalLM"
    assert torch.equal(tiny.hf_logits(opened, ids), tiny.hf_logits(model, ids))
    found = tiny.probe_logits(probe, out, ids, tmp_path)
    assert tiny.max_difference(found, tiny.hf_logits(model, ids)) <= LIMIT
    assert report["parameters"] == report["active_parameters"] == model.num_parameters()


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_one_layer_reverted_others_kept(hf, moebius, convert, tmp_path, bad):
    """The FFN of layer `bad` is loud, those of the others soft: its noise alone does harm."""
    model = tiny.make_model(hf, "llama", num_hidden_layers=3, attention_bias=True)
    with torch.no_grad():
        for n, layer in enumerate(model.model.layers):
            layer.mlp.down_proj.weight.mul_(10 if n == bad else 0.02)
    source = tiny.add_char_tokenizer(tiny.save(model, tmp_path / "source"), 131)
    options = ["--layers", "all", "--noise", 0.4]
    _, free = convert(source, *options)
    kls = {row["layer"]: row["kl"] for row in free["layers"]}
    before = kls.get(bad - 1, 0.0)
    bound = math.sqrt(kls[bad] * max(before, 1e-5)) if before else kls[bad] / 10
    assert max([kls[n] for n in range(bad)], default=0) < bound < kls[bad]

    out, report = convert(source, *options, "--max-kl", bound)
    assert [row["kept"] for row in report["layers"]] == [n != bad for n in range(3)]
    assert [row["layer"] for row in report["layers"]] == [0, 1, 2]
    assert report["layers"][bad]["reason"] != ""
    assert report["layers"][bad]["kl"] == pytest.approx(kls[bad], rel=1e-4)
    opened = tiny.open_in_transformers(hf, out)
    kinds = [type(layer.mlp).__name__ for layer in opened.model.layers]
    assert kinds == ["LlamaMLP" if n == bad else "MoebiusMoe" for n in range(3)]
    kl, _, exact = divergence(model, opened, tiny.to_ids(PROMPT))
    last = [row for row in report["layers"] if row["kept"]][-1]
    assert last["kl"] == pytest.approx(kl, rel=1e-3, abs=1e-9)
    assert kl < bound
    assert report["dense_exact"] == pytest.approx(exact, rel=1e-2)
    assert report["parameters"] == opened.num_parameters()
    info = json.loads(moebius("info", out, "--json", check=True).stdout)
    assert [row["kind"] for row in info["layers"]] == [
        "dense" if n == bad else "moe" for n in range(3)]
    # What was kept has the bytes that it has without a bound.
    whole, _ = convert(source, *options)
    ours, theirs = tiny.tensors_of(out), tiny.tensors_of(whole)
    assert all(tiny.same_bits(ours[n], theirs[n]) for n in ours if n in theirs)


# ---- The record and the files -----------------------------------------------------------------


def test_fields_of_the_record(moebius, convert, sources, tmp_path):
    xxhash = pytest.importorskip("xxhash")
    source = tmp_path / "source"
    shutil.copytree(sources("llama-biases")[1], source)
    out, report = convert(source, "--layers", "0,2", "--experts", 6, "--top-k", 3, "--noise", 0.01,
                          "--max-kl", 9, "--seed", 77)
    assert set(report) == FIELDS
    assert all(set(row) == LAYER_FIELDS for row in report["layers"])
    assert report["source"]["path"] == str(source)
    digests = {p.name: xxhash.xxh3_128_hexdigest(p.read_bytes()) for p in source.iterdir()}
    assert report["source"]["digests"] == digests
    options = report["options"]
    assert (options["experts"], options["top_k"], options["noise"]) == (6, 3, 0.01)
    assert (options["layers"], options["max_kl"], options["seed"]) == ("0,2", 9, 77)
    assert options["test_prompt"] == PROMPT and options["method"] == "upcycle"
    assert 0 < report["seconds"] < 60
    info = json.loads(moebius("info", out, "--json", check=True).stdout)
    assert info["parameters"] == report["parameters"]
    assert info["active_parameters"] == report["active_parameters"]
    assert report["active_parameters"] < report["parameters"]


def test_json_on_stdout_is_the_record(moebius, sources, tmp_path):
    done = moebius("convert", sources("llama")[1], "-o", tmp_path / "out", "--json", check=True)
    assert json.loads(done.stdout) == json.loads((tmp_path / "out/conversion.json").read_text())


def test_digest_of_sharded_sources_and_shards_of_the_output(hf, probe, convert, tmp_path):
    xxhash = pytest.importorskip("xxhash")
    model = tiny.make_model(hf, "llama", num_hidden_layers=3)
    source = tiny.save(model, tmp_path / "source", max_shard_size="40KB")
    tiny.add_char_tokenizer(source, 131)
    out, report = convert(source, "--layers", "all", "--max-shard-size", "100KB")
    for file in source.glob("*.safetensors"):
        digest = xxhash.xxh3_128_hexdigest(file.read_bytes())
        assert report["source"]["digests"][file.name] == digest
    shards = sorted(out.glob("*.safetensors"))
    assert len(shards) > 3 and not (out / "model.safetensors").exists()
    for number, shard in enumerate(shards):
        assert shard.name == f"model-{number + 1:05}-of-{len(shards):05}.safetensors"
        assert shard.stat().st_size < 100_000 + 8192
    index = json.loads((out / "model.safetensors.index.json").read_text())
    tensors = tiny.tensors_of(out)  # asserts the metadata format: pt
    assert set(index["weight_map"]) == set(tensors)
    size = sum(t.numel() * t.element_size() for t in tensors.values())
    assert index["metadata"]["total_size"] == size
    ids = tiny.random_ids(131)
    dense = tiny.hf_logits(model, ids)
    opened = tiny.open_in_transformers(hf, out)
    assert tiny.max_difference(tiny.hf_logits(opened, ids), dense) <= LIMIT
    assert tiny.max_difference(tiny.probe_logits(probe, out, ids, tmp_path), dense) <= LIMIT


def test_companions_are_carried(convert, stories, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(stories, source)
    (source / "chat_template.jinja").write_text("{{ messages }}")
    (source / "additional_chat_templates").mkdir()
    (source / "additional_chat_templates/tool_use.jinja").write_text("{{ tools }}")
    (source / "special_tokens_map.json").write_text('{"bos_token": "<s>"}')
    (source / "README.md").write_text("not a part of the model")
    for layers in ("all", "0"):
        out, _ = convert(source, "--layers", layers)
        for name in ("tokenizer.json", "tokenizer.model", "tokenizer_config.json",
                     "generation_config.json", "chat_template.jinja", "special_tokens_map.json",
                     "additional_chat_templates/tool_use.jinja"):
            assert (out / name).read_bytes() == (source / name).read_bytes(), name


@pytest.mark.parametrize("name", ["llama", "llama-biases", "gpt2"])
def test_the_remaining_layers_in_a_second_conversion(
        hf, moebius, probe, convert, sources, tmp_path, name):
    """A partly converted model is a source like any other; layers may differ in E and K."""
    model, source = sources(name)
    first, _ = convert(source, "--layers", "0", "--experts", 3, "--noise", 0.1)
    second, report = convert(first, "--layers", "1-2", "--experts", 5, "--top-k", 4)
    assert report["dense_exact"] <= 1e-5
    ids = tiny.random_ids(131)
    partly = tiny.hf_logits(tiny.open_in_transformers(hf, first), ids)
    opened = tiny.open_in_transformers(hf, second)
    assert tiny.max_difference(tiny.hf_logits(opened, ids), partly) <= LIMIT
    assert tiny.max_difference(tiny.probe_logits(probe, second, ids, tmp_path), partly) <= LIMIT
    before, after = tiny.tensors_of(first), tiny.tensors_of(second)
    for tensor in before:
        if tensor in after:
            assert tiny.same_bits(before[tensor], after[tensor]), tensor
    info = json.loads(moebius("info", second, "--json", check=True).stdout)
    assert [(r["experts"], r["top_k"]) for r in info["layers"]] == [(3, 2), (5, 4), (5, 4)]
    assert info["parameters"] == opened.num_parameters()


@pytest.mark.parametrize("layers", ["all", "0,3"])
def test_info_generate_and_eval_open_the_output(moebius, convert, stories, tmp_path, layers):
    out, _ = convert(stories, "--layers", layers)
    info = json.loads(moebius("info", out, "--json", check=True).stdout)
    assert [row["kind"] for row in info["layers"]].count("moe") == (5 if layers == "all" else 2)
    text = tmp_path / "text.txt"
    text.write_text("Once upon a time, there was a little girl named Lily. " * 5)
    report = json.loads(
        moebius("eval", out, "--data", text, "--reference", stories, "--json", check=True).stdout)
    assert abs(report["kl"]) < 1e-6
    assert report["top1_agreement"] == 1
    assert moebius("info", out, check=True).stdout
    assert moebius("eval", out, "--data", text, check=True).stdout


@pytest.mark.short_cases(2)
@pytest.mark.parametrize("layers", ["all", "1"])
@pytest.mark.parametrize("name, prefix", [("gpt2", "transformer."), ("llama", "model.")])
def test_source_with_other_names(hf, convert, sources, tmp_path, name, prefix, layers):
    """Names without prefix, buffers, a stored copy of a tied head: the output has the usual ones."""
    model, original = sources(name)
    source = tmp_path / "source"
    shutil.copytree(original, source)
    tensors = tiny.tensors_of(source)
    tensors = {n.removeprefix(prefix): t.contiguous() for n, t in tensors.items()}
    if name == "gpt2":
        tensors["h.0.attn.bias"] = torch.ones(1, 1, 64, 64)
        tensors["lm_head.weight"] = tensors["wte.weight"].clone()
    save_file(tensors, source / "model.safetensors", metadata={"format": "pt"})
    out, _ = convert(source, "--layers", layers)
    usual, _ = convert(original, "--layers", layers)
    ours, theirs = tiny.tensors_of(out), tiny.tensors_of(usual)
    assert set(ours) == set(theirs)
    assert all(tiny.same_bits(ours[n], theirs[n]) for n in theirs)


def test_source_without_a_tokenizer(moebius, hf, tmp_path):
    model = tiny.make_model(hf, "llama")
    source = tiny.save(model, tmp_path / "source")
    done = moebius("convert", source, "-o", tmp_path / "out-bare", "--layers", "all", check=True)
    assert b"no tokenizer" in done.stderr
    assert json.loads((tmp_path / "out-bare/conversion.json").read_text())["dense_exact"] <= 1e-5


def test_one_expert(hf, convert, sources):
    model, source = sources("llama")
    out, _ = convert(source, "--layers", "all", "--experts", 1, "--top-k", 1)
    ids = tiny.random_ids(131)
    opened = tiny.open_in_transformers(hf, out)
    assert tiny.max_difference(tiny.hf_logits(opened, ids), tiny.hf_logits(model, ids)) <= LIMIT
