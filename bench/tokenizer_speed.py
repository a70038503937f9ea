"""Encoding of WikiText-2's test set, one thread: moebius beside Hugging Face's tokenizers, whose ids
must be the same. Times exclude loading: both encode the text once and sixteen times over."""

import os
import subprocess
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
from common import DATA, MOEBIUS, median  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402

text = (DATA / "text/wiki.test.raw").read_bytes()
times_over = 16


def moebius(folder, data):
    start = time.perf_counter()
    done = subprocess.run([MOEBIUS, "tokenize", folder, "--lines"], input=data, check=True, capture_output=True)
    return time.perf_counter() - start, done.stdout


for name in ("gpt2", "llama2"):
    folder = DATA / "tokenizers" / name
    peer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    lines = text.decode().split("\n")[:-1]
    ours, theirs = [], []
    for _ in range(5):
        once, out = moebius(folder, text)
        many, _ = moebius(folder, text * times_over)
        ours.append((many - once) / (times_over - 1))
        start = time.perf_counter()
        ids = [peer.encode(line).ids for line in lines]
        theirs.append(time.perf_counter() - start)
    if out.decode().split("\n")[:-1] != [" ".join(map(str, row)) for row in ids]:
        raise SystemExit(f"{name}: ids differ")
    mb = len(text) / 1e6
    print(f"{name:<8} moebius {mb / median(ours):6.1f} MB/s   tokenizers {mb / median(theirs):6.1f} MB/s   "
          f"ratio {median(theirs) / median(ours):.1f}")
