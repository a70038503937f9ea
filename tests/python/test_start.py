"""What is loaded to answer a command line, and the library without the program."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import tiny
from conftest import start

TORCH = "libtorch_cpu.so"


@pytest.fixture
def loads(moebius):
    """Runs a command; says whether LibTorch was loaded, and gives what the command did."""

    def call(*args, **kw):
        done = moebius(*args, env={"LD_DEBUG": "files"}, **kw)
        return TORCH.encode() in done.stderr, done

    return call


@pytest.fixture(scope="module")
def llama(hf, tmp_path_factory):
    model = tiny.save(tiny.make_model(hf, "llama"), tmp_path_factory.mktemp("start") / "model")
    return tiny.add_char_tokenizer(model, 131)


@pytest.mark.parametrize("args, code, text", [
    (["--help"], 0, b"tokenizer train"),
    (["train", "--help"], 0, b"--lr"),
    (["generate", "--help"], 0, b"--max-tokens"),
    (["trian"], 2, b"did you mean train?"),
    (["train", "--lr", "fast"], 2, b"--lr fast"),
    (["train", "--data", "x"], 2, b"--out is missing"),
    (["train", "--data", "x", "--out", "y", "--batch", "0"], 2, b"--batch"),
    (["convert", "x", "-o", "y", "--metod", "split"], 2, b"--method"),
    (["bench", "x", "--new", "0"], 2, b"--new 0: must be at least 1"),
    (["bench", "x", "--train", "--weights", "int8"], 2, b"--weights"),
    (["eval", "x", "--data", "y", "--device", "tpu"], 2, b"--device tpu"),
])
def test_help_and_wrong_usage_need_no_torch(loads, args, code, text):
    loaded, done = loads(*args)
    assert not loaded
    assert done.returncode == code and text in done.stdout + done.stderr


def test_commands_without_tensors_need_no_torch(loads, llama, tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"text": "one two three " * 30}))
    for code, *args in [
            (0, "info", llama), (0, "tokenize", llama),
            (0, "tokenizer", "train", "--data", rows, "--vocab-size", 270, "-o", tmp_path / "t"),
            (0, "data", "synth", "--samples", 4, "-o", tmp_path / "s"),
            (1, "export", llama, "-o", tmp_path / "m.gguf")]:  # its tokenizer is none of GGUF's
        loaded, done = loads(*args)
        assert done.returncode == code, done.stderr[-500:]
        assert not loaded, args


def test_commands_with_tensors_load_torch(loads, llama):
    loaded, done = loads("generate", llama, "--prompt", tiny.to_text([5, 6]), "--max-tokens", 1)
    assert loaded and done.returncode == 0


def test_groups_and_required_options_in_the_help(moebius):
    text = moebius("bench", "--help", check=True).stdout.decode()
    places = [text.index(part) for part in ("Measurement:", "--prompt", "Training:", "--precision",
                                            "Common to all commands:", "--threads")]
    assert places == sorted(places)
    required = [line for line in moebius("train", "--help", check=True).stdout.decode().splitlines()
                if "(required)" in line]
    assert {line.split()[0] for line in required} == {"--data", "-o,--out"}


def test_a_program_without_its_library_says_so(moebius, tmp_path):
    alone = tmp_path / "moebius"
    alone.write_bytes(Path(moebius.path).read_bytes())
    alone.chmod(0o755)
    assert b"--lr" in start(alone, "train", "--help", check=True).stdout
    done = start(alone, "eval", "x", "--data", "y")
    assert done.returncode == 1 and b"libmoebius.so" in done.stderr
    assert len(done.stderr.splitlines()) == 1


IN_PROCESS = """
import ctypes, signal, sys
import torch
threads, handler = torch.get_num_threads(), signal.getsignal(signal.SIGINT)
library = ctypes.CDLL(sys.argv[1])
def run(*arguments):
    return library.moebius_run(len(arguments), (ctypes.c_char_p * len(arguments))(*map(str.encode, arguments)))
for _ in range(2):
    assert run("eval", sys.argv[2], "--data", sys.argv[3], "--threads", "3", "--json") == 0
assert run("train", "--init", sys.argv[2], "--data", sys.argv[3], "--out", sys.argv[4], "--steps", "2",
           "--sequence", "8", "--batch", "1", "--log-level", "off") == 0
assert run("eval", "nowhere", "--data", "x") == 1
assert run("eval") == 2
assert torch.get_num_threads() == threads
x = torch.ones(1 << 20, requires_grad=True)
(x * 2).sum().backward()
assert x.grad.eq(2).all() and signal.getsignal(signal.SIGINT) is handler
"""


def test_the_library_runs_commands_in_another_process(moebius, llama, tmp_path):
    """Beside PyTorch, which it shares LibTorch with: as the program does, and leaving no trace."""
    text = tmp_path / "text.txt"
    text.write_text(tiny.to_text(range(3, 120)))
    library = Path(moebius.path).parent / "libmoebius.so"
    done = subprocess.run([sys.executable, "-c", IN_PROCESS, library, llama, text, tmp_path / "run"],
                          capture_output=True, timeout=120, env=os.environ)
    assert done.returncode == 0, done.stderr.decode()
    first, second = done.stdout.decode().splitlines()[:2]
    alone = moebius("eval", llama, "--data", text, "--threads", 3, "--json", check=True).stdout
    nll = [json.loads(line)["nll"] for line in (first, second, alone)]
    assert nll[0] == nll[1] == nll[2]
    assert len(done.stderr.splitlines()) == 2  # the errors of the two that fail
