"""Where the binaries and the data are, and how the tests start them."""

import json
import os
import subprocess
import tempfile
from pathlib import Path

import pytest

# Before transformers is imported anywhere: no network, and remote code in a folder of our own.
_modules = tempfile.TemporaryDirectory(prefix="moebius-modules-")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_MODULES_CACHE"] = _modules.name
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["OMP_WAIT_POLICY"] = "passive"

ROOT = Path(__file__).resolve().parents[2]
MOEBIUS = os.environ.get("MOEBIUS_BIN", str(ROOT / "build/release/moebius"))
PROBE = os.environ.get("MOEBIUS_PROBE", str(ROOT / "build/release/tests/probe"))
TEXT_PROBE = os.environ.get("MOEBIUS_TEXT_PROBE", str(ROOT / "build/release/tests/text_probe"))
GGML_PROBE = os.environ.get("MOEBIUS_GGML_PROBE", str(ROOT / "build/release/tests/ggml_probe"))
DATA = Path(os.environ.get("MOEBIUS_TEST_DATA", ROOT / "../shared/data")).resolve()


def pytest_collection_modifyitems(items):
    """Marks as long what `short_cases` leaves out."""
    cases = {}
    for item in items:
        if item.get_closest_marker("short_cases"):
            cases.setdefault((item.path, item.originalname), []).append(item)
    for several in cases.values():
        (count,) = several[0].get_closest_marker("short_cases").args
        chosen = {i * len(several) // count for i in range(count)}
        for number, item in enumerate(several):
            if number not in chosen:
                item.add_marker(pytest.mark.long)


def start(binary, *args, input=b"", check=False, env=None, timeout=120, **kw):
    """Runs a binary to its end; bytes in, bytes out."""
    done = subprocess.run(
        [binary, *map(str, args)],
        input=input,
        capture_output=True,
        env={**os.environ, **(env or {})},
        timeout=timeout,
        **kw,
    )
    if check:
        assert done.returncode == 0, f"{args}: exit {done.returncode}: {done.stderr.decode()}"
    return done


@pytest.fixture(scope="session")
def moebius():
    if not os.access(MOEBIUS, os.X_OK):
        pytest.fail(f"{MOEBIUS} is not there: run make, or set MOEBIUS_BIN")

    def call(*args, **kw):
        return start(MOEBIUS, *args, **kw)

    call.path = MOEBIUS
    return call


@pytest.fixture(scope="session")
def probe():
    if not os.access(PROBE, os.X_OK):
        pytest.fail(f"{PROBE} is not there: build the tests, or set MOEBIUS_PROBE")

    def call(*args, **kw):
        return start(PROBE, *args, **{"check": True, **kw})

    return call


@pytest.fixture(scope="session")
def text_probe():
    """Answers of the library to requests as tests/text_probe/text_probe.cpp takes them."""
    if not os.access(TEXT_PROBE, os.X_OK):
        pytest.fail(f"{TEXT_PROBE} is not there: build the tests, or set MOEBIUS_TEXT_PROBE")

    def call(requests, **kw):
        lines = "".join(json.dumps(r) + "\n" for r in requests)
        done = start(TEXT_PROBE, input=lines.encode(), check=True, **kw)
        answers = [json.loads(line) for line in done.stdout.decode().split("\n") if line]
        assert len(answers) == len(requests)
        return answers

    return call


@pytest.fixture(scope="session")
def ggml_probe():
    """Blocks of a quantised type of ggml as the library dequantises them: bytes in, bytes of f32 out."""
    if not os.access(GGML_PROBE, os.X_OK):
        pytest.fail(f"{GGML_PROBE} is not there: build the tests, or set MOEBIUS_GGML_PROBE")
    return lambda type, blocks: start(GGML_PROBE, int(type), input=blocks, check=True).stdout


@pytest.fixture(scope="session")
def data():
    if not DATA.is_dir():
        pytest.skip(f"no test data at {DATA}; set MOEBIUS_TEST_DATA")
    return DATA


@pytest.fixture(scope="session")
def stories(data):
    """The real model: 260 thousand parameters that tell stories."""
    return data / "models/stories260K"


@pytest.fixture(scope="session")
def hf():
    """transformers, imported once."""
    import torch

    torch.set_num_threads(2)
    transformers = pytest.importorskip("transformers")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers
