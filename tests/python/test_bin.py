"""Weights in pytorch_model.bin, as torch.save writes them: read to the same logits as safetensors,
and nothing in them ever executed."""

import builtins
import collections
import io
import json
import os
import pickle
import shutil
import subprocess
import zipfile

import pytest
import torch
import xxhash

import tiny
from test_bad_input import refused, refused_everywhere

SAFE, BIN, INDEX = "model.safetensors", "pytorch_model.bin", "pytorch_model.bin.index.json"


def weights_of(directory):
    return tiny.tensors_of(directory)


def as_bin(directory, state=None, **kw):
    """The directory with its weights in pytorch_model.bin instead."""
    state = weights_of(directory) if state is None else state
    for file in directory.glob("*.safetensors*"):
        file.unlink()
    torch.save(state, directory / BIN, **kw)
    return directory


@pytest.fixture
def llama(hf, tmp_path):
    return tiny.save(tiny.make_model(hf, "llama"), tmp_path / "model")


@pytest.fixture
def same(probe, tmp_path):
    """Asserts that two directories compute the same logits, bit for bit."""

    def check(a, b):
        ids = tiny.random_ids(131)
        logits = [tiny.probe_logits(probe, d, ids, tmp_path) for d in (a, b)]
        assert logits[0].std() > 0.05
        assert torch.equal(*logits)

    return check


def twin(directory):
    return shutil.copytree(directory, directory.with_name("twin"))


# ---- What is read -----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_every_family_and_dtype(hf, same, tmp_path, family, dtype):
    source = tiny.save(tiny.make_model(hf, family), tmp_path / "model", dtype)
    same(source, as_bin(twin(source)))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickle_protocols(llama, same, protocol):
    same(llama, as_bin(twin(llama), pickle_protocol=protocol))


def test_a_state_dict_as_the_model_gives_it(hf, same, tmp_path):
    """With _metadata, tied weights in one storage, and buffers that nothing reads."""
    model = tiny.make_model(hf, "gpt2")
    source = tiny.save(model, tmp_path / "model")
    state = model.state_dict()
    assert state._metadata and state["lm_head.weight"].data_ptr() == state["transformer.wte.weight"].data_ptr()
    state["transformer.h.0.attn.bias"] = torch.ones(1, 1, 64, 64, dtype=torch.bool).tril()
    state["transformer.h.0.attn.masked_bias"] = torch.tensor(-1e4, dtype=torch.float64)
    state["version"] = 3
    same(source, as_bin(twin(source), state))


@pytest.mark.parametrize("family", ["llama", "gpt2", "granitemoe"])
def test_strides_offsets_parameters_and_shared_storages(hf, moebius, same, tmp_path, family):
    source = tiny.save(tiny.make_model(hf, family), tmp_path / "model")
    state = {}
    for i, (name, t) in enumerate(weights_of(source).items()):
        if i % 4 == 0:
            t = t.transpose(0, -1).contiguous().transpose(0, -1)
        elif i % 4 == 1:
            t = torch.cat([torch.full((7,), 9.0), t.flatten(), torch.ones(3)])[7:-3].view(t.shape)
        elif i % 4 == 2:
            t = torch.nn.Parameter(t)
        else:
            t = torch.stack([t, t + 1], -1)[..., 0]
        state[name] = t
    assert any(not t.is_contiguous() for t in state.values())
    same(source, as_bin(twin(source), state))
    if family == "granitemoe":
        return  # has no dense layer to convert
    for where, out in [(source, "a"), (source.with_name("twin"), "b")]:
        moebius("convert", where, "-o", tmp_path / out, "--seed", 3, check=True)
    assert_equal_tensors(tmp_path / "a", tmp_path / "b")


def assert_equal_tensors(a, b):
    a, b = weights_of(a), weights_of(b)
    assert a.keys() == b.keys()
    assert all(tiny.same_bits(a[name], b[name]) for name in a)


@pytest.mark.parametrize("key", ["state_dict", "model"])
def test_a_state_dict_one_level_down(llama, same, key):
    state = {"epoch": 3, "optimizer": [], key: weights_of(llama)}
    same(llama, as_bin(twin(llama), state))


def shards(directory, state=None, count=3):
    state = weights_of(directory) if state is None else state
    (as_bin(directory) / BIN).unlink()
    weight_map = {n: f"pytorch_model-{i % count + 1:05}-of-{count:05}.bin" for i, n in enumerate(state)}
    for file in set(weight_map.values()):
        torch.save({n: t for n, t in state.items() if weight_map[n] == file}, directory / file)
    (directory / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return directory


def test_shards(llama, moebius, same, tmp_path):
    sharded = tiny.add_char_tokenizer(shards(twin(llama)), 131)
    same(llama, sharded)
    gone = sorted(sharded.glob("*.bin"))[1]
    gone.unlink()
    refused_everywhere(moebius, sharded, tmp_path, sharded / INDEX, gone.name)


def test_safetensors_go_first(llama, moebius):
    (llama / BIN).write_bytes(b"damaged")
    moebius("info", llama, check=True)


def test_large_zip_archive(llama, same):
    """torch ends every archive with a zip64 end; here sizes and offsets need one too."""
    bits = io.BytesIO()
    torch.save(weights_of(llama), bits)
    target = twin(llama)
    (target / SAFE).unlink()
    with zipfile.ZipFile(bits) as source, zipfile.ZipFile(target / BIN, "w") as to:
        for info in source.infolist():
            with to.open(zipfile.ZipInfo(info.filename), "w", force_zip64=True) as entry:
                entry.write(source.read(info))
    same(llama, target)


def test_every_command_works(llama, moebius, tmp_path):
    source = as_bin(llama)
    tiny.add_char_tokenizer(source, 131)
    text = tmp_path / "text.txt"
    text.write_text(tiny.to_text(range(3, 120)))
    info = json.loads(moebius("info", source, "--json", check=True).stdout)
    assert info["parameters"] == sum(t.numel() for t in torch.load(source / BIN).values())
    moebius("generate", source, "--prompt", tiny.to_text([5, 6]), "--max-tokens", 3, check=True)
    done = moebius("eval", source, "--data", text, "--reference", source, "--json", check=True)
    assert abs(json.loads(done.stdout)["kl"]) < 1e-9
    moebius("train", "--init", source, "--data", text, "--out", tmp_path / "run", "--steps", 1,
            "--sequence", 8, "--batch", 1, check=True)
    moebius("convert", source, "-o", tmp_path / "out", check=True)
    report = json.loads((tmp_path / "out/conversion.json").read_text())
    assert report["dense_exact"] < 1e-5


def test_digests_are_those_of_the_files(hf, moebius, tmp_path):
    """Whatever the order, the overlaps and the copies of the tensors in them."""
    source = tiny.save(tiny.make_model(hf, "llama"), tmp_path / "model")
    state = weights_of(source)
    base = torch.zeros(48 * 48 + 5)
    for i, name in enumerate(n for n in state if n.endswith("q_proj.weight")):
        state[name] = base[i : i + 48 * 48].view(48, 48)
    name = next(n for n in state if n.endswith("o_proj.weight"))
    state[name] = state[name].t()
    source = shards(source, state)
    moebius("convert", source, "-o", tmp_path / "out", check=True)
    digests = json.loads((tmp_path / "out/conversion.json").read_text())["source"]["digests"]
    files = sorted(source.glob("*.bin"))
    assert len(files) == 3
    for file in files:
        assert digests[file.name] == xxhash.xxh3_128_hexdigest(file.read_bytes())
    single = as_bin(twin(source), state)
    for file in [*single.glob("pytorch_model-*"), single / INDEX]:
        file.unlink()
    moebius("convert", single, "-o", tmp_path / "out2", check=True)
    digests = json.loads((tmp_path / "out2/conversion.json").read_text())["source"]["digests"]
    assert digests[BIN] == xxhash.xxh3_128_hexdigest((single / BIN).read_bytes())
    assert_equal_tensors(tmp_path / "out", tmp_path / "out2")


# ---- What is refused --------------------------------------------------------------------------


class Call:
    """Pickles to a call of `function`."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.short_cases(6)
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("place", ["root", "value", "inside"])
@pytest.mark.parametrize(
    "call", [(os.system, "touch {}"), (builtins.eval, "open('{}', 'w')"),
             (builtins.exec, "open('{}', 'w')"), (builtins.getattr, "{}", "upper"),
             (subprocess.Popen, ["touch", "{}"]), (builtins.__import__, "os"),
             (torch.load, "{}"), (torch.nn.Linear, 3, 3), (torch.hub.load, "{}")],
    ids=lambda call: call[0].__name__)
def test_calls_are_named_and_never_made(llama, moebius, tmp_path, call, place, protocol):
    mark = tmp_path / "executed"
    function, *arguments = call
    fill = lambda a: [fill(x) for x in a] if isinstance(a, list) else str(a).format(mark)
    bomb = Call(function, *map(fill, arguments))
    state = weights_of(llama)
    value = {"root": bomb, "value": state | {"a": bomb}, "inside": state | {"a": [{"b": (bomb,)}]}}
    as_bin(llama, value[place], pickle_protocol=protocol)
    message = refused(moebius("info", llama), llama / BIN, "pickle asks for", function.__name__)
    assert "only tensors are read" in message
    assert not mark.exists()


class Thing:
    pass


def test_objects_are_refused(llama, moebius, hf):
    state = weights_of(llama)
    as_bin(llama, state | {"a": Thing()})
    refused(moebius("info", llama), BIN, "Thing", "only tensors")
    torch.save(tiny.make_model(hf, "llama"), llama / BIN)
    refused(moebius("info", llama), BIN, "LlamaForCausalLM")
    torch.save(state | {"a": collections.Counter()}, llama / BIN)
    refused(moebius("info", llama), BIN, "collections.Counter")


@pytest.mark.short_cases(5)
@pytest.mark.parametrize(
    "value, named", [([torch.ones(2)], "is no tensor"), ({"b": torch.ones(2)}, "is no tensor"),
                     (torch.ones(2, dtype=torch.complex64), "ComplexFloatStorage"),
                     (torch.ones(2, dtype=torch.uint16), "uint16"),
                     (torch.ones(2).to(torch.float8_e4m3fn), "float8_e4m3fn"),
                     (torch.ones(2, 3).to_sparse(), "_rebuild_sparse_tensor"),
                     (torch.empty(3, device="meta"), "_rebuild_meta_tensor_no_storage"),
                     (torch.ones(1).expand(5), "expanded"),
                     ({1, 2}, "opcode"), (bytearray(3), "builtins.bytearray"), (b"x", None), (2**80, None),
                     (1.5, None), ("text", None), (None, None)])
def test_other_values(llama, moebius, value, named):
    as_bin(llama, weights_of(llama) | {"odd.one": value}, pickle_protocol=4)
    done = moebius("info", llama)
    if named is None:
        assert done.returncode == 0, done.stderr
    else:
        refused(done, llama / BIN, named)


@pytest.mark.parametrize("value", [3, [1], "x", torch.ones(3), None, ({},)], ids=str)
def test_files_that_hold_no_state_dict(llama, moebius, value):
    as_bin(llama)
    torch.save(value, llama / BIN)
    refused(moebius("info", llama), llama / BIN, "state dict")


def test_tensors_are_checked_against_the_configuration(llama, moebius):
    state = weights_of(llama)
    name = next(n for n in state if n.endswith("q_proj.weight"))
    as_bin(llama, {n: t for n, t in state.items() if n != name})
    refused(moebius("info", llama), name, "missing")
    as_bin(llama, state | {name: state[name][:-1]})
    refused(moebius("info", llama), name, "shape", BIN)
    as_bin(llama, state | {name: state[name].double()})
    refused(moebius("info", llama), name, "F64")
    as_bin(llama, state | {"stranger": state[name]})
    refused(moebius("info", llama), "stranger", BIN)
    as_bin(llama, state | {name: state[name] * float("nan")})
    tiny.add_char_tokenizer(llama, 131)
    refused(moebius("convert", llama, "-o", llama.parent / "out"), name, "non-finite")


def test_other_formats_are_named(llama, moebius):
    state = weights_of(llama)
    as_bin(llama, state, _use_new_zipfile_serialization=False)
    refused(moebius("info", llama), llama / BIN, "before 1.6", "torch.save(torch.load(")
    module = torch.jit.script(torch.nn.Linear(2, 2))
    torch.jit.save(module, llama / BIN)
    refused(moebius("info", llama), llama / BIN, "TorchScript")
    with zipfile.ZipFile(llama / BIN, "w") as out:
        out.writestr("anything", "else")
    refused(moebius("info", llama), llama / BIN, "data.pkl")
    (llama / BIN).write_bytes(pickle.dumps(state))
    refused(moebius("info", llama), llama / BIN)


def rewrite(file, change, compression=zipfile.ZIP_STORED):
    """The archive again, each entry through `change(name, bytes)`; None drops it."""
    with zipfile.ZipFile(file) as source:
        entries = [(i.filename, source.read(i)) for i in source.infolist()]
    with zipfile.ZipFile(file, "w", compression) as out:
        for name, bits in entries:
            bits = change(name.split("/", 1)[1], bits)
            if bits is not None:
                out.writestr(name, bits)


def test_archives_that_are_not_as_torch_writes_them(llama, moebius):
    as_bin(llama)
    good = (llama / BIN).read_bytes()

    def changed(change, *named, **kw):
        (llama / BIN).write_bytes(good)
        rewrite(llama / BIN, change, **kw)
        refused(moebius("info", llama), llama / BIN, *named)

    changed(lambda n, b: b, "compressed", compression=zipfile.ZIP_DEFLATED)
    changed(lambda n, b: b[::-1] and b"big" if n == "byteorder" else b, "byte order is big")
    changed(lambda n, b: None if n == "data/3" else b, "data/3")
    changed(lambda n, b: b[:-4] if n == "data/3" else b, "storage has")
    changed(lambda n, b: b + b"1234" if n == "data/3" else b, "storage has")
    changed(lambda n, b: None if n == "data.pkl" else b, "data.pkl")
    changed(lambda n, b: b[: len(b) // 2] if n == "data.pkl" else b, "ends too early")
    changed(lambda n, b: b"" if n == "data.pkl" else b, "ends too early")
    changed(lambda n, b: b"\x80\x02" + b"(" * (6 << 20) if n == "data.pkl" else b, "stack")
    changed(lambda n, b: b"\x80\x02}r\xff\xff\xff\xff." if n == "data.pkl" else b, "memo")
    changed(lambda n, b: b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s." if n == "data.pkl" else b,
            "tensor a")


def test_a_file_cut_off_anywhere_is_refused(llama, moebius):
    """Every prefix is tried in the C++ tests; here a few of a real file."""
    as_bin(llama)
    whole = (llama / BIN).read_bytes()
    for size in [0, 1, 3, 4, 100, len(whole) // 2, len(whole) - 200, len(whole) - 22, len(whole) - 1]:
        (llama / BIN).write_bytes(whole[:size])
        refused(moebius("info", llama), llama / BIN)


def test_lfs_pointers_are_no_weights(llama, moebius):
    as_bin(llama)
    (llama / BIN).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n")
    refused(moebius("info", llama), llama / BIN, "not a file of torch.save")
