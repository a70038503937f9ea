"""Files that lie or change, links that loop, disks that are full or read-only, processes that are
killed: one clear line, exit 1, nothing under the final name. docs/reliability.md has the list."""

import json
import os
import random
import shutil
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

import tiny
from test_bad_input import (  # noqa: F401 (fixtures among them)
    INDEX,
    PROMPT,
    Q,
    begin_conversion,
    copied,
    model,
    nothing_at,
    on_small_disk,
    originals,
    refused,
    refused_everywhere,
    sharded,
    slow,
    state_of,
)

# ---- Sources that change while they are read --------------------------------------------------


def cut_short(source):
    os.truncate(source / "model.safetensors", 1 << 20)
    return source / "model.safetensors", "became shorter"


def write_into(source):
    with open(source / "model.safetensors", "r+b") as file:
        file.seek(-4, os.SEEK_END)
        file.write(bytes(4))
    return source / "model.safetensors", "changed"


def replace_configuration(source):
    shutil.copy(source / "config.json", source / "new.json")
    os.replace(source / "new.json", source / "config.json")
    return source / "config.json", "changed"


def remove_tokenizer(source):
    (source / "tokenizer.json").unlink()
    return source / "tokenizer.json", "changed"


@pytest.mark.short_cases(2)
@pytest.mark.parametrize("change", [cut_short, write_into, replace_configuration, remove_tokenizer])
def test_source_that_changes_while_it_is_converted(moebius, slow, tmp_path, change):
    source = copied(slow, tmp_path / "source")
    process = begin_conversion(moebius, source, tmp_path / "out")
    process.send_signal(signal.SIGSTOP)
    named = change(source)
    process.send_signal(signal.SIGCONT)
    _, stderr = process.communicate(timeout=120)
    last = stderr.splitlines(keepends=True)[-1]
    refused(SimpleNamespace(returncode=process.returncode, stderr=last), *named)
    assert [p.name for p in tmp_path.iterdir()] == ["source"]


def test_source_that_is_cut_short_while_it_generates(moebius, slow, tmp_path):
    source = copied(slow, tmp_path / "source")
    process = subprocess.Popen(
        [moebius.path, "generate", str(source), "--prompts", "/dev/stdin", "--max-tokens", "50"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdin.write((PROMPT + "\n").encode() * 1000)
    process.stdin.close()
    assert os.read(process.stdout.fileno(), 1)
    os.truncate(source / "model.safetensors", 1 << 20)
    process.stdout.read()
    done = SimpleNamespace(returncode=process.wait(), stderr=process.stderr.read())
    refused(done, source / "model.safetensors", "became shorter")


# ---- Symbolic links that loop -----------------------------------------------------------------


def loop_at(path):
    path.unlink(missing_ok=True)
    path.symlink_to(path.name)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json",
                                  "generation_config.json"])
def test_files_that_are_links_to_themselves(moebius, model, tmp_path, name):
    loop_at(model / name)
    refused(moebius("convert", model, "-o", tmp_path / "out"), model / name, "symbolic links")
    nothing_at(tmp_path / "out")


def test_directories_that_are_links_to_themselves(moebius, model, tmp_path):
    loop_at(tmp_path / "loop")
    refused_everywhere(moebius, tmp_path / "loop", tmp_path, tmp_path / "loop")
    for out in (tmp_path / "loop", tmp_path / "loop/out"):
        for more in ([], ["--overwrite"]):
            refused(moebius("convert", model, "-o", out, *more), tmp_path / "loop")
    assert (tmp_path / "loop").is_symlink()
    assert not [p for p in tmp_path.iterdir() if "partial" in p.name]


def test_index_and_shards_that_are_links_to_themselves(moebius, sharded, tmp_path):
    shard = sorted(sharded.glob("*.safetensors"))[1]
    saved = shard.read_bytes()
    loop_at(shard)
    refused(moebius("info", sharded), shard.name)
    shard.unlink()
    shard.write_bytes(saved)
    loop_at(sharded / INDEX)
    refused(moebius("convert", sharded, "-o", tmp_path / "out"), sharded / INDEX)
    nothing_at(tmp_path / "out")


def test_templates_in_a_folder_that_holds_itself(moebius, model, tmp_path):
    folder = model / "additional_chat_templates"
    folder.mkdir()
    (folder / "itself").symlink_to(folder)
    moebius("convert", model, "-o", tmp_path / "out", check=True)
    (folder / "x.jinja").symlink_to("x.jinja")
    refused(moebius("convert", model, "-o", tmp_path / "out2"), folder / "x.jinja")
    nothing_at(tmp_path / "out2")


# ---- Lies of a configuration, an index, names -------------------------------------------------


@pytest.mark.parametrize("changes, named", [
    (dict(hidden_size=2**31, num_attention_heads=2**31, num_key_value_heads=2**31, head_dim=2**30),
     ["2^40"]),
    (dict(vocab_size=2**31, hidden_size=2**31, num_attention_heads=2, num_key_value_heads=2), ["2^40"]),
    (dict(num_local_experts=65536, num_hidden_layers=4096), ["tensors"]),
    (dict(num_local_experts=-1), ["num_local_experts"]),
    (dict(vocab_size=-131), ["vocab_size"]),
    (dict(intermediate_size=2**63), ["intermediate_size"]),
    (dict(max_position_embeddings=0), ["max_position_embeddings"]),
], ids=lambda value: "-".join(value) if isinstance(value, dict) else "")
def test_sizes_that_cannot_be(moebius, originals, tmp_path, changes, named):
    model = copied(originals("mixtral"), tmp_path / "model")
    tiny.edit_json(model / "config.json", **changes)
    for command in ("info", "generate"):
        prompt = ["--prompt", PROMPT] if command == "generate" else []
        refused(moebius(command, model, *prompt), model / "config.json", *named)


def test_keys_given_twice(moebius, sharded):
    config = (sharded / "config.json").read_text()
    (sharded / "config.json").write_text(config.replace("{", '{"hidden_size": 8,', 1))
    refused(moebius("info", sharded), sharded / "config.json", "hidden_size", "twice")
    (sharded / "config.json").write_text(config)
    index = (sharded / INDEX).read_text()
    (sharded / INDEX).write_text(index.replace('"weight_map": {', f'"weight_map": {{"{Q}": "x",', 1))
    refused(moebius("info", sharded), sharded / INDEX, Q, "twice")


def test_a_million_keys_and_deep_values(moebius, model):
    file = model / "config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps(config | {f"k{i}": i for i in range(1_000_000)}))
    moebius("info", model, check=True, timeout=60)
    file.write_text(json.dumps(config)[:-1] + ', "x": ' + "[" * 10_000 + "]" * 10_000 + "}")
    refused(moebius("info", model), file, "nested deeper")


def test_a_name_of_megabytes(moebius, model):
    name = "n" * (4 << 20)
    save_file({name: torch.ones(1)}, model / "model.safetensors")
    message = refused(moebius("info", model), model / "model.safetensors", "name")
    assert len(message) < 1000
    (model / "model.safetensors").unlink()
    torch.save({name: torch.ones(1)}, model / "pytorch_model.bin")
    message = refused(moebius("info", model), model / "pytorch_model.bin", "name")
    assert len(message) < 1000


@pytest.mark.parametrize("family, overrides", [
    ("gpt2", {}), ("mixtral", {}), ("llama", dict(hidden_size=36)), ("llama", dict(num_hidden_layers=3)),
    ("llama", dict(vocab_size=132))])
def test_weights_of_another_model(moebius, originals, model, tmp_path, family, overrides):
    shutil.copy(originals(family, **overrides) / "model.safetensors", model / "model.safetensors")
    refused_everywhere(moebius, model, tmp_path, model, "tensor")


A = PROMPT[0]


@pytest.mark.parametrize("parts", [
    dict(pre_tokenizer={"type": "Split", "pattern": {"Regex": f"(?=({A}+{A}+)+$)"}, "behavior": "Isolated"}),
    dict(normalizer={"type": "Sequence", "normalizers": [
        {"type": "Replace", "pattern": {"String": A}, "content": A * 100}] * 20}),
    dict(post_processor={"type": "Sequence", "processors": [
        {"type": "TemplateProcessing", "special_tokens": {}, "pair": [], "single":
         [{"Sequence": {"id": "A", "type_id": 0}}] * 2}] * 60}),
], ids=["a regex slow at every place", "a text that grows", "a text that is repeated"])
def test_tokenizers_that_never_end(moebius, model, parts):
    tiny.edit_json(model / "tokenizer.json", **parts)
    done = moebius("tokenize", model, input=(A * 4000 + "!").encode(), timeout=60)
    assert len(refused(done)) < 1000


# ---- Disks ------------------------------------------------------------------------------------


def test_read_only_output(moebius, originals, tmp_path):
    out = tmp_path / "disk/out"
    done = on_small_disk(moebius, tmp_path, "1m,ro", "convert", originals("llama"), "-o", out)
    refused(done, tmp_path / "disk", "Read-only")
    assert done.stdout == b""
    done = on_small_disk(moebius, tmp_path, "1m,ro", "convert", originals("llama"), "-o", out / "deeper")
    refused(done, tmp_path / "disk", "Read-only")


@pytest.mark.parametrize("more", [8, pytest.param(1, marks=pytest.mark.long)])
def test_disk_that_fills_at_any_write(moebius, originals, tmp_path, more):
    """So many pages more each time; with one, every write that takes a page fails once."""
    job = ["convert", originals("llama"), "-o", tmp_path / "disk/out", "--layers", "0"]
    moebius(*job[:2], "-o", tmp_path / "whole", *job[4:], check=True)
    weights = (tmp_path / "whole/model.safetensors").stat().st_size // 4096
    # Below the size of the weights all fail alike, before the first write.
    for pages in [1, 2, weights // 2, *range(weights, weights + 1000, more)]:
        done = on_small_disk(moebius, tmp_path, f"{4 * pages}k", *job)
        if done.returncode == 0:
            break
        refused(done, tmp_path / "disk", "free some space")
        assert done.stdout == b"", "something was left on the disk"
    assert pages > weights + 5 and done.returncode == 0, done.stderr


# ---- kill -9 ----------------------------------------------------------------------------------


def outcome(directory):
    """What a conversion wrote, less what differs from run to run."""
    state = state_of(directory)
    report = json.loads(state.pop("conversion.json"))
    del report["seconds"]
    return state, report


def killed_at_random(moebius, source, place, times, seed):
    """Kills so many conversions, each at some moment of its life; half of them overwrite."""
    place.mkdir()
    draw = random.Random(seed)
    job = [moebius.path, "convert", str(source), "-o", str(place / "out"), "--overwrite", "--layers"]

    def whole(layers):
        start = time.monotonic()
        subprocess.run([*job, layers], check=True, capture_output=True)
        return outcome(place / "out"), time.monotonic() - start

    old, _ = whole("0")
    new, seconds = whole("all")
    killed = before = 0
    while killed < times:
        shutil.rmtree(place / "out", ignore_errors=True)
        overwrites = draw.random() < 0.5
        if overwrites:
            for name, content in old[0].items():
                (place / "out").mkdir(exist_ok=True)
                (place / "out" / name).write_bytes(content)
            (place / "out/conversion.json").write_text(json.dumps(old[1] | {"seconds": 0}))
        process = subprocess.Popen([*job, "all"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(draw.uniform(0, seconds))
        except subprocess.TimeoutExpired:
            process.kill()
            killed += process.wait() == -signal.SIGKILL
        if (place / "out").exists():
            found = outcome(place / "out")
            assert found == new or (overwrites and found == old)
        else:
            assert not overwrites and process.returncode != 0
            before += 1
    whole("all")
    assert [p.name for p in place.iterdir()] == ["out"], "what the killed left is not cleared away"
    return before


@pytest.mark.parametrize("times", [8, pytest.param(100, marks=pytest.mark.long)])
def test_kill_9_at_any_moment(moebius, originals, tmp_path, times):
    """Either the whole output or none; either the old or the new."""
    source = originals("llama")
    with ThreadPoolExecutor(2) as pool:
        halves = [pool.submit(killed_at_random, moebius, source, tmp_path / str(seed), times // 2, seed)
                  for seed in range(2)]
        before = sum(half.result() for half in halves)
        assert before > 0 or times < 100
