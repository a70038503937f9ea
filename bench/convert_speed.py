"""Conversion of a TinyLlama-1.1B-shaped bf16 checkpoint (every 4th layer, 4 experts, top-2, layer
tests and the final generation included) beside `cp` and `sync` of the same bytes, taking turns.
usage: convert_speed.py [ROUNDS]"""

import json
import shutil
import subprocess
import sys
import time

from common import MOEBIUS, WORK, median, run_with_peak, spread, tinyllama

rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
source = tinyllama()
out, copy = WORK / "moe", WORK / "moe-copy"
for folder in (out, copy):
    shutil.rmtree(folder, ignore_errors=True)


def convert():
    return run_with_peak(MOEBIUS, "convert", source, "-o", out, "--every", 4, "--experts", 4,
                         "--top-k", 2, "--log-level", "warn")


def cp(what):
    start = time.perf_counter()
    subprocess.run(["cp", "-r", what, copy], check=True)
    subprocess.run(["sync"], check=True)
    return time.perf_counter() - start


convert()  # warms the page cache, and makes what cp copies
reference = WORK / "moe-reference"
shutil.rmtree(reference, ignore_errors=True)
out.rename(reference)
size = sum(f.stat().st_size for f in reference.iterdir())
exact = json.loads((reference / "conversion.json").read_text())["dense_exact"]
if exact > 1e-5:
    sys.exit(f"the result is not the dense model: {exact}")
ours, theirs, peaks = [], [], []
for _ in range(rounds):
    subprocess.run(["sync"], check=True)
    seconds, peak = convert()
    ours.append(seconds)
    peaks.append(peak)
    shutil.rmtree(out)
    subprocess.run(["sync"], check=True)
    theirs.append(cp(reference))
    shutil.rmtree(copy)
shutil.rmtree(reference)
print(f"bytes written        {size / 1e9:.3f} GB, dense_exact {exact:.1e}")
print(f"moebius convert      {median(ours):.2f} s ({spread(ours)}), {size / 1e9 / median(ours):.2f} GB/s")
print(f"cp and sync          {median(theirs):.2f} s ({spread(theirs)}), {size / 1e9 / median(theirs):.2f} GB/s")
print(f"ratio of medians     {median(ours) / median(theirs):.2f}")
print(f"RssAnon + RssShmem   {max(peaks) / 1e9:.3f} GB at most")
