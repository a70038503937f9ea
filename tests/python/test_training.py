"""The training loop against one of our own in torch, and what a run leaves behind."""

import copy
import json
import math
import shutil
import signal
import subprocess
import time

import pytest
import torch

import tiny

STEPS, BATCH, SEQUENCE, WARMUP, LR = 10, 2, 16, 2, 1e-3
SHAPE = ["--steps", STEPS, "--batch", BATCH, "--sequence", SEQUENCE]
OPTIMISER = ["--lr", LR, "--warmup", WARMUP, "--weight-decay", 0.1, "--clip", 1.0, "--beta2", 0.95]
KEYS = {"step", "tokens", "loss", "lr", "grad_norm", "tokens_per_s", "time"}
MOE_KEYS = {"balance_loss", "router_entropy", "max_violation", "dead_experts", "router_grad_norm"}
LAYER_KEYS = {"layer", "load", "max_violation", "load_cv", "router_entropy", "dead"}


@pytest.fixture(scope="module")
def text(data, tmp_path_factory):
    """Some 300 tokens: fewer than ten steps draw, so that the second epoch shows too."""
    file = tmp_path_factory.mktemp("text") / "story.txt"
    content = (data / "text/tinystories_sample_2M.txt").read_text(encoding="utf-8")
    file.write_text(content[:520], encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def models(hf, stories, tmp_path_factory):
    """Directories with tokenizer, made once; (family, overrides) -> (model, directory)."""
    root, made = tmp_path_factory.mktemp("models"), {}

    def call(family, **overrides):
        key = (family, repr(sorted(overrides.items())))
        if key not in made:
            model = tiny.make_model(hf, family, vocab_size=515, **overrides)
            directory = tiny.save(model, root / f"{family}-{len(made)}")
            made[key] = (model, tiny.add_stories_tokenizer(directory, stories))
        return made[key]

    return call


def rows_of(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def losses_of(run):
    return [row["loss"] for row in rows_of(run)]


def train(moebius, directory, text, run, *more, check=True):
    return moebius("train", "--init", directory, "--data", text, "--out", run, *more, check=check)


def lr_at(step, steps, floor=0.1):
    if step < WARMUP:
        return LR * (step + 1) / WARMUP
    progress = (step - WARMUP) / (steps - WARMUP)
    return LR * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress)))


def batches(moebius, directory, text, steps=STEPS):
    ids = [int(i) for i in moebius("tokenize", directory, input=text.read_bytes(), check=True)
           .stdout.split()]
    windows = (len(ids) - 1) // SEQUENCE
    assert BATCH < windows < BATCH * steps
    drawn = 0
    for _ in range(steps):
        starts = [(drawn + row) % windows * SEQUENCE for row in range(BATCH)]
        drawn += BATCH
        yield torch.tensor([ids[s : s + SEQUENCE + 1] for s in starts])


def torch_loop(model, drawn, extra_loss=None):
    """Losses, gradient norms, learning rates of AdamW in torch."""
    decayed = [p for p in model.parameters() if p.dim() >= 2]
    others = [p for p in model.parameters() if p.dim() < 2]
    optimiser = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}],
        lr=LR, betas=(0.9, 0.95), eps=1e-8,
    )
    found = []
    for step, ids in enumerate(drawn):
        for group in optimiser.param_groups:
            group["lr"] = lr_at(step, STEPS)
        more = {"output_router_logits": True} if extra_loss else {}
        output = model(ids[:, :-1], use_cache=False, **more)
        loss = torch.nn.functional.cross_entropy(output.logits.flatten(0, 1), ids[:, 1:].flatten())
        total, extra = loss, 0.0
        if extra_loss:
            extra, coefficient = extra_loss(output)
            total, extra = loss + coefficient * extra, extra.item()
        optimiser.zero_grad()
        total.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        found.append((loss.item(), norm.item(), lr_at(step, STEPS), extra))
    return found


CASES = {
    **{family: (family, {}) for family in tiny.FAMILIES},
    "llama-biases-tied": (
        "llama", dict(attention_bias=True, mlp_bias=True, tie_word_embeddings=True)),
    "opt-350m": ("opt", dict(do_layer_norm_before=False, word_embed_proj_dim=20)),
}


@pytest.mark.parametrize("name", CASES)
def test_ten_losses_equal_those_of_torch(moebius, models, text, tmp_path, name):
    family, overrides = CASES[name]
    model, directory = models(family, seed=7, **overrides)
    expected = torch_loop(copy.deepcopy(model), batches(moebius, directory, text))
    run = tmp_path / "run"
    train(moebius, directory, text, run, *SHAPE, *OPTIMISER, "--no-shuffle", "--balance", 0)
    rows = rows_of(run)
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    assert [row["tokens"] for row in rows] == [BATCH * SEQUENCE * n for n in range(1, STEPS + 1)]
    for row, (loss, norm, lr, _) in zip(rows, expected, strict=True):
        assert row["loss"] == pytest.approx(loss, rel=1e-5), f"step {row['step']}"
        assert row["grad_norm"] == pytest.approx(norm, rel=1e-3), f"step {row['step']}"
        assert row["lr"] == pytest.approx(lr, rel=1e-9)
    assert abs(rows[-1]["loss"] - rows[0]["loss"]) > 1e-2, "nothing was trained"


@pytest.mark.parametrize("family", ["llama", "mixtral"])
@pytest.mark.parametrize("precision", ["mixed", "bf16"])
def test_losses_in_bf16_follow_those_of_torch(moebius, models, text, tmp_path, family, precision):
    """Beside torch in f32, which masters in f32 stay near to, or with everything in bf16."""
    model, directory = models(family, seed=7)
    twin = copy.deepcopy(model)
    if precision == "bf16":
        twin = twin.bfloat16()
    expected = torch_loop(twin, batches(moebius, directory, text))
    run = tmp_path / "run"
    train(moebius, directory, text, run, *SHAPE, *OPTIMISER, "--no-shuffle", "--balance", 0,
          "--precision", precision)
    rows = rows_of(run)
    for row, (loss, *_) in zip(rows, expected, strict=True):
        assert row["loss"] == pytest.approx(loss, rel=2e-2), f"step {row['step']}"


@pytest.mark.parametrize("precision", ["f32", "mixed", "bf16"])
def test_a_correction_is_not_trained_and_stays_in_f32(moebius, models, text, tmp_path, precision):
    _, directory = models("deepseek_v3")
    source = shutil.copytree(directory, tmp_path / "source")
    tiny.edit_json(source / "config.json", dtype="bfloat16")
    train(moebius, source, text, tmp_path / "run", *SHAPE, "--lr", 0.1, "--precision", precision)
    before, after = tiny.tensors_of(source), tiny.tensors_of(tmp_path / "run/model")
    assert set(before) == set(after)
    for name, tensor in after.items():
        if name.endswith("e_score_correction_bias"):
            assert tiny.same_bits(tensor, before[name]) and tensor.count_nonzero() > 0
        else:
            assert tensor.dtype == torch.bfloat16


# ---- Balance loss -----------------------------------------------------------------------------


def hf_balance(hf, model, ids):
    from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

    with torch.no_grad():
        logits = model(ids, output_router_logits=True, use_cache=False).router_logits
    config = model.config
    return load_balancing_loss_func(
        tuple(logits), config.num_local_experts, config.num_experts_per_tok).item(), logits


@pytest.mark.parametrize("experts, top_k", [(5, 3), (4, 1), (3, 3), (8, 2)])
def test_balance_of_one_layer_equals_transformers(hf, probe, tmp_path, experts, top_k):
    model = tiny.make_model(hf, "mixtral", num_hidden_layers=1, num_local_experts=experts,
                            num_experts_per_tok=top_k)
    directory = tiny.save(model, tmp_path / "model")
    ids = tiny.random_ids(131, 3, 21)
    expected, _ = hf_balance(hf, model, ids)
    found = tiny.probe_balance(probe, directory, ids, tmp_path)
    assert found["pooled"] == pytest.approx(expected, rel=1e-5)
    assert found["layer"] * top_k == pytest.approx(expected, rel=1e-5)
    if experts > top_k:
        assert found["layer"] > 1


def test_balance_of_several_layers(hf, probe, tmp_path):
    model = tiny.make_model(hf, "mixtral", num_hidden_layers=3)
    directory = tiny.save(model, tmp_path / "model")
    ids = tiny.random_ids(131, 3, 21)
    pooled, logits = hf_balance(hf, model, ids)
    layers = []
    for each in logits:
        chosen = torch.zeros_like(each).scatter(1, each.topk(3, -1).indices, 1.0)
        layers.append((5 / 3 * (chosen.mean(0) * each.softmax(-1).mean(0)).sum()).item())
    found = tiny.probe_balance(probe, directory, ids, tmp_path)
    assert found["pooled"] == pytest.approx(pooled, rel=1e-5)
    assert found["layers"] == pytest.approx(layers, rel=1e-5)
    assert found["layer"] == pytest.approx(sum(layers) / 3, rel=1e-5)


@pytest.mark.parametrize("form", ["layer", "pooled"])
def test_training_with_a_balance_loss(hf, moebius, models, text, tmp_path, form):
    from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

    model, directory = models("mixtral", num_hidden_layers=1, seed=2)

    def extra(output):
        loss = load_balancing_loss_func(tuple(output.router_logits), 5, 3)
        return (loss if form == "pooled" else loss / 3), 0.5

    expected = torch_loop(copy.deepcopy(model), batches(moebius, directory, text), extra)
    run = tmp_path / "run"
    train(moebius, directory, text, run, *SHAPE, *OPTIMISER, "--no-shuffle", "--balance", 0.5,
          "--balance-form", form)
    for row, (loss, norm, _, balance) in zip(rows_of(run), expected, strict=True):
        assert row["loss"] == pytest.approx(loss, rel=1e-5)
        assert row["balance_loss"] == pytest.approx(balance, rel=1e-5)
        assert row["grad_norm"] == pytest.approx(norm, rel=1e-3)


def test_accumulation_equals_a_larger_batch(moebius, models, text, tmp_path):
    _, directory = models("llama")
    common = ["--steps", 4, "--sequence", 16, "--no-shuffle"]
    train(moebius, directory, text, tmp_path / "a", *common, "--batch", 4)
    train(moebius, directory, text, tmp_path / "b", *common, "--batch", 2, "--accumulate", 2)
    assert losses_of(tmp_path / "b") == pytest.approx(losses_of(tmp_path / "a"), rel=1e-6)
    assert rows_of(tmp_path / "b")[-1]["tokens"] == rows_of(tmp_path / "a")[-1]["tokens"]


def test_routing_figures_are_of_the_whole_step(moebius, models, text, tmp_path):
    """Accumulated micro-batches have the figures of one large batch, not those of the last one."""
    _, directory = models("mixtral")
    common = ["--steps", 2, "--sequence", 16, "--no-shuffle", "--balance", 0, "--log-every", 1]
    train(moebius, directory, text, tmp_path / "a", *common, "--batch", 4)
    train(moebius, directory, text, tmp_path / "b", *common, "--batch", 1, "--accumulate", 4)
    for one, parts in zip(rows_of(tmp_path / "a"), rows_of(tmp_path / "b"), strict=True):
        for key in ("loss", "router_entropy", "max_violation", "dead_experts", "expert_distance"):
            assert parts[key] == pytest.approx(one[key], rel=1e-5), key
        for a, b in zip(one["layers"], parts["layers"], strict=True):
            assert b["load"] == pytest.approx(a["load"], rel=1e-6)


def test_groups_have_learning_rates_of_their_own(moebius, models, text, tmp_path):
    _, directory = models("mixtral")
    run = tmp_path / "run"
    train(moebius, directory, text, run, "--steps", 2, "--batch", 2, "--sequence", 16, "--group",
          "layers.0.*: lr=0", "--group", "*.router.weight: lr=2 decay=0")
    before, after = tiny.tensors_of(directory), tiny.tensors_of(run / "model")
    for name, tensor in after.items():
        still = "layers.0." in name and "block_sparse_moe.gate" not in name
        assert tiny.same_bits(tensor, before[name]) == still, name
    for bad, why in [("layers.9.*: lr=1", "layers.9.*"), ("layers.0.*", "no colon")]:
        done = train(moebius, directory, text, tmp_path / "bad", "--steps", 1, "--batch", 2,
                     "--sequence", 16, "--group", bad, check=False)
        assert done.returncode in (1, 2) and why in done.stderr.decode()
        assert done.stderr.count(b"\n") == 1 and not (tmp_path / "bad").exists()


def test_epochs(moebius, models, text, tmp_path):
    _, directory = models("llama")
    ids = moebius("tokenize", directory, input=text.read_bytes(), check=True).stdout.split()
    windows = (len(ids) - 1) // SEQUENCE
    train(moebius, directory, text, tmp_path / "run", "--epochs", 1.5, "--batch", 4, "--sequence",
          SEQUENCE)
    assert len(rows_of(tmp_path / "run")) == math.ceil(1.5 * windows / 4)


# ---- What a run leaves ------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["llama", "mixtral"])
def test_layout_of_a_run(hf, moebius, models, text, tmp_path, family):
    yaml = pytest.importorskip("yaml")
    _, directory = models(family)
    run = tmp_path / "run"
    train(moebius, directory, text, run, *SHAPE, "--save-every", 4, "--keep", 2, "--seed", 3,
          "--log-every", 4)
    for row in rows_of(run):
        layers, with_layers = row.pop("layers", None), row["step"] in (1, 4, 8, 10)
        expected = KEYS | MOE_KEYS if family == "mixtral" else KEYS
        if family == "mixtral" and with_layers:
            expected = expected | {"expert_distance"}
        assert set(row) == expected
        assert all(isinstance(v, (int, float)) and math.isfinite(v) for v in row.values())
        assert (layers is not None) == (family == "mixtral" and with_layers)
        for at, layer in enumerate(layers or []):
            assert set(layer) == LAYER_KEYS and layer["layer"] == at
            assert len(layer["load"]) == 5 and sum(layer["load"]) == pytest.approx(1)
        if layers:
            assert row["max_violation"] == max(layer["max_violation"] for layer in layers)
            assert row["dead_experts"] == sum(layer["dead"] for layer in layers)
    assert sorted(p.name for p in run.glob("checkpoint-*")) == ["checkpoint-10", "checkpoint-8"]
    assert (run / "latest").read_text() == "checkpoint-10\n"
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["steps"] == 10 and config["batch"] == 2 and config["seed"] == 3
    assert config["data"] == [str(text)] and config["lr"] == 3e-4 and config["shuffle"] is True
    assert not [p for p in run.rglob("*partial*")]
    # The final model, and the checkpoint too, open in transformers and are the same model.
    for name in ("tokenizer.json", "tokenizer_config.json", "config.json", "model.safetensors"):
        assert (run / "model" / name).exists()
    ids = tiny.random_ids(515)
    final = tiny.hf_logits(tiny.open_in_transformers(hf, run / "model"), ids)
    last = tiny.hf_logits(tiny.open_in_transformers(hf, run / "checkpoint-10"), ids)
    before = tiny.hf_logits(tiny.open_in_transformers(hf, directory), ids)
    assert torch.equal(final, last) and tiny.max_difference(final, before) > 1e-3
    out = moebius("generate", run / "model", "--prompt", "Once", "--max-tokens", 3, check=True)
    assert out.stderr == b""


def test_the_echo_repeats_the_run(moebius, models, text, tmp_path):
    _, directory = models("llama")
    run = tmp_path / "run"
    train(moebius, directory, text, run, *SHAPE, *OPTIMISER, "--seed", 5)
    echo = tmp_path / "again.yaml"
    shutil.copy(run / "config.yaml", echo)
    moebius("train", "--config", echo, "--out", tmp_path / "again", check=True)
    assert losses_of(tmp_path / "again") == losses_of(run)


def test_same_seed_same_run_and_shuffling_follows_the_seed(moebius, models, text, tmp_path):
    _, directory = models("llama")
    for name, seed in [("a", 1), ("b", 1), ("c", 2)]:
        train(moebius, directory, text, tmp_path / name, "--steps", 3, "--batch", 2, "--sequence",
              16, "--seed", seed)
    assert losses_of(tmp_path / "a") == losses_of(tmp_path / "b")
    assert losses_of(tmp_path / "a") != losses_of(tmp_path / "c")


def test_from_scratch(hf, moebius, models, stories, text, tmp_path):
    _, directory = models("llama")
    run = tmp_path / "run"
    done = moebius("train", "--model-config", directory / "config.json", "--tokenizer", stories,
                   "--data", text, "--out", run, *SHAPE, "--json", check=True)
    report = json.loads(done.stdout)
    assert report["steps"] == 10 and report["model"] == str(run / "model")
    assert report["first_loss"] == pytest.approx(math.log(515), abs=0.3)
    assert report["last_loss"] == losses_of(run)[-1] < report["first_loss"]
    done = moebius("train", "--init", run / "model", "--data", text, "--out", tmp_path / "on", "--batch", 2,
                   "--sequence", 16, "--steps", 25, "--json", check=True)
    report, losses = json.loads(done.stdout), losses_of(tmp_path / "on")
    assert report["first_loss"] == pytest.approx(sum(losses[:3]) / 3)  # a tenth, rounded up
    assert report["last_loss"] == pytest.approx(sum(losses[-3:]) / 3)
    assert tiny.open_in_transformers(hf, run / "model").config.vocab_size == 515


def test_a_trained_overlay_opens_in_transformers(hf, moebius, models, stories, text, tmp_path):
    """A mixture trained with another folder's tokenizer still carries its modelling code."""
    _, directory = models("llama")
    mixture, run = tmp_path / "overlay-trained", tmp_path / "run"
    moebius("convert", directory, "-o", mixture, "--layers", "1", check=True)
    train(moebius, mixture, text, run, "--steps", 2, "--batch", 2, "--sequence", 16,
          "--tokenizer", stories)
    ids = tiny.random_ids(515)
    logits = tiny.hf_logits(tiny.open_in_transformers(hf, run / "model"), ids)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_model_is_stored_in_the_dtype_of_its_start(hf, moebius, stories, text, tmp_path, dtype):
    model = tiny.make_model(hf, "llama", vocab_size=515)
    directory = tiny.save(model, tmp_path / "model", dtype=dtype)
    tiny.add_stories_tokenizer(directory, stories)
    run = tmp_path / "run"
    train(moebius, directory, text, run, "--steps", 1, "--batch", 2, "--sequence", 16)
    assert {t.dtype for t in tiny.tensors_of(run / "model").values()} == {dtype}
    assert {t.dtype for t in tiny.tensors_of(run / "checkpoint-1").values()} == {torch.float32}


# ---- Resume -----------------------------------------------------------------------------------

FLAT = [*OPTIMISER, "--min-lr-ratio", 1, "--batch", BATCH, "--sequence", SEQUENCE, "--seed", 9]


@pytest.fixture(scope="module")
def whole_run(moebius, models, text, tmp_path_factory):
    """Ten steps in one go, of a mixture, shuffled."""
    run = tmp_path_factory.mktemp("whole") / "run"
    train(moebius, models("mixtral")[1], text, run, *FLAT, "--steps", 10)
    return run


def compare_runs(run, whole):
    assert losses_of(run) == losses_of(whole)
    assert [row["step"] for row in rows_of(run)] == list(range(1, len(rows_of(whole)) + 1))
    ours, theirs = tiny.tensors_of(run / "model"), tiny.tensors_of(whole / "model")
    assert all(tiny.same_bits(ours[name], theirs[name]) for name in theirs)


def test_resume_equals_one_go_bit_for_bit(moebius, models, text, tmp_path, whole_run):
    run = tmp_path / "run"
    train(moebius, models("mixtral")[1], text, run, *FLAT, "--steps", 6)
    assert len(rows_of(run)) == 6
    train(moebius, models("mixtral")[1], text, run, *FLAT, "--steps", 10, "--resume")
    compare_runs(run, whole_run)


@pytest.mark.parametrize("precision", ["mixed", "bf16"])
def test_precisions_resume_bit_for_bit(moebius, models, text, tmp_path, whole_run, precision):
    whole, run = tmp_path / "whole", tmp_path / "run"
    options = [*FLAT, "--precision", precision]
    train(moebius, models("mixtral")[1], text, whole, *options, "--steps", 10)
    assert losses_of(whole) != losses_of(whole_run)
    train(moebius, models("mixtral")[1], text, run, *options, "--steps", 6)
    train(moebius, models("mixtral")[1], text, run, *options, "--steps", 10, "--resume")
    compare_runs(run, whole)


def test_resume_without_a_checkpoint_starts_at_the_beginning(
        moebius, models, text, tmp_path, whole_run):
    run = tmp_path / "run"
    done = train(moebius, models("mixtral")[1], text, run, *FLAT, "--steps", 10, "--resume")
    assert b"starting at step 0" in done.stderr
    compare_runs(run, whole_run)


def begin(moebius, *args):
    return subprocess.Popen([moebius.path, *map(str, args)], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE)


def wait_for_steps(process, run, count, limit=60):
    """Until the run has written `count` rows."""
    until = time.monotonic() + limit
    while time.monotonic() < until and process.poll() is None:
        file = run / "metrics.jsonl"
        if file.exists() and file.read_bytes().count(b"\n") >= count:
            return
        time.sleep(0.005)
    pytest.fail(f"no {count} steps: {process.poll()} {process.stderr.read().decode()}")


LONG = 400  # steps: long enough to be met in the middle


@pytest.fixture(scope="module")
def long_run(moebius, models, text, tmp_path_factory):
    run = tmp_path_factory.mktemp("long") / "run"
    train(moebius, models("llama")[1], text, run, *FLAT, "--steps", LONG)
    return run


def test_resume_after_kill_9_equals_one_go(moebius, models, text, tmp_path, long_run):
    run = tmp_path / "run"
    job = ["train", "--init", models("llama")[1], "--data", text, "--out", run, *FLAT, "--steps",
           LONG, "--save-every", 20]
    process = begin(moebius, *job)
    wait_for_steps(process, run, 50)
    process.kill()
    process.wait()
    assert not (run / "model").exists()
    latest = (run / "latest").read_text().strip()
    assert (run / latest / "model.safetensors").exists()
    moebius(*job, "--resume", check=True)
    compare_runs(run, long_run)
    assert not [p for p in run.rglob("*partial*")], "what the killed process left is still there"


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_saves_says_how_to_resume_and_resumes(
        moebius, models, text, tmp_path, long_run, number, code):
    run = tmp_path / "run"
    job = ["train", "--init", models("llama")[1], "--data", text, "--out", run, *FLAT, "--steps",
           LONG]
    process = begin(moebius, *job)
    wait_for_steps(process, run, 20)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == code
    assert b"--resume" in stderr
    steps = len(rows_of(run))
    assert 20 <= steps < LONG
    assert (run / "latest").read_text() == f"checkpoint-{steps}\n"
    assert not (run / "model").exists()
    moebius(*job, "--resume", check=True)
    compare_runs(run, long_run)


def test_resume_of_another_model_is_refused(moebius, models, text, tmp_path):
    run = tmp_path / "run"
    train(moebius, models("llama")[1], text, run, *FLAT, "--steps", 1)
    other = models("llama", num_hidden_layers=3)[1]
    done = train(moebius, other, text, run, *FLAT, "--steps", 2, "--resume", check=False)
    assert done.returncode == 1
    assert str(run).encode() in done.stderr
    assert (run / "latest").read_text() == "checkpoint-1\n" and len(rows_of(run)) == 1


def test_resume_with_another_choice_of_weights_is_refused(moebius, models, text, tmp_path):
    run = tmp_path / "run"
    _, directory = models("mixtral")
    train(moebius, directory, text, run, *FLAT, "--steps", 1, "--train", "router")
    done = train(moebius, directory, text, run, *FLAT, "--steps", 2, "--resume", check=False)
    assert done.returncode == 1 and b"--train" in done.stderr


@pytest.fixture
def started(moebius, models, text, tmp_path):
    """A run of two steps on a data file of its own: the command, the file, the run."""
    file, run = tmp_path / "data.txt", tmp_path / "run"
    shutil.copy(text, file)
    job = ["train", "--init", models("llama")[1], "--out", run, *FLAT]
    moebius(*job, "--data", file, "--steps", 2, check=True)
    return job, file, run


def resumed(moebius, started, *more, data=None):
    job, file, run = started
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    done = moebius(*job, "--data", data or file, "--steps", 4, "--resume", *more)
    if done.returncode != 0:
        assert done.stderr.count(b"\n") == 1
        assert {p: p.read_bytes() for p in before} == before, "a refused run was changed"
    return done


def test_resume_after_the_data_changed_is_refused(moebius, started):
    job, file, _ = started
    file.write_text(file.read_text().replace("the", "THE"))
    done = resumed(moebius, started)
    assert done.returncode == 1
    assert str(file).encode() in done.stderr and b"changed" in done.stderr


def test_resume_on_another_file_is_refused(moebius, started, text, tmp_path):
    other = tmp_path / "other.txt"
    shutil.copy(text, other)
    done = resumed(moebius, started, data=other)
    assert done.returncode == 1
    assert b"data.txt" in done.stderr and b"other.txt" in done.stderr


def test_resume_with_another_key_or_sequence_is_refused(moebius, started):
    job, file, run = started
    done = resumed(moebius, started, "--key", "content")
    assert done.returncode == 1 and b"--key" in done.stderr
    shorter = [*job]
    shorter[job.index("--sequence") + 1] = 8
    done = resumed(moebius, (shorter, file, run))
    assert done.returncode == 1 and b"--sequence was 16, now 8" in done.stderr


def test_resume_after_the_data_is_gone_goes_on_with_its_tokens(moebius, started):
    _, file, run = started
    file.unlink()
    done = resumed(moebius, started)
    assert done.returncode == 0 and str(file).encode() in done.stderr
    assert len(rows_of(run)) == 4


# ---- What trains ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "choice, moves",
    [("router", lambda n: "block_sparse_moe.gate." in n),
     ("experts", lambda n: ".experts." in n),
     ("layers.1.attn.*", lambda n: "layers.1.self_attn" in n),
     ("head.weight", lambda n: n == "lm_head.weight")],
)
def test_only_what_is_chosen_trains(moebius, models, text, tmp_path, choice, moves):
    _, directory = models("mixtral")
    run = tmp_path / "run"
    train(moebius, directory, text, run, "--steps", 3, "--batch", 2, "--sequence", 16, "--train",
          choice, "--weight-decay", 0.1)
    before, after = tiny.tensors_of(directory), tiny.tensors_of(run / "model")
    assert set(before) == set(after)
    changed = {name for name in before if not tiny.same_bits(before[name], after[name])}
    assert changed == {name for name in before if moves(name)} != set()


def test_pattern_without_a_match(moebius, models, text, tmp_path):
    _, directory = models("llama")
    for choice in ("router", "experts", "nonsense.*"):
        run = tmp_path / choice.strip(".*")
        done = train(moebius, directory, text, run, *SHAPE, "--train", choice, check=False)
        assert done.returncode == 1
        assert f"--train {choice}" in done.stderr.decode()
        assert done.stderr.count(b"\n") == 1
        assert not run.exists(), "a run that never began was left behind"


def test_experts_come_apart_after_a_noiseless_conversion(moebius, stories, data, tmp_path):
    mixture, run = tmp_path / "mixture", tmp_path / "run"
    moebius("convert", stories, "-o", mixture, "--layers", "all", "--experts", 4, "--top-k", 2,
            check=True)
    text = tmp_path / "story.txt"
    content = (data / "text/tinystories_sample_2M.txt").read_text(encoding="utf-8")
    text.write_text(content[:20000], encoding="utf-8")
    train(moebius, mixture, text, run, "--steps", 20, "--batch", 2, "--sequence", 64,
          "--log-every", 1)
    rows = rows_of(run)
    distances = [row["expert_distance"] for row in rows]
    # The first row is taken after the first update, which already parts the copies.
    assert 0 < distances[0] < 1e-2
    assert all(a < b for a, b in zip(distances, distances[1:]))
    # Equal experts give their router no gradient; from the second step on it has one.
    assert all(row["router_grad_norm"] > 0 for row in rows[1:])
    assert rows[0]["router_grad_norm"] < 0.1 * rows[-1]["router_grad_norm"]
    done = moebius("generate", run / "model", "--prompt", "Once upon a time", "--max-tokens", 5,
                   check=True)
    assert done.stdout
