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
    return [MOEBIUS, "convert", source, "-o", out, "--every", "4", "--experts", "4", "--top-k", "2",
            "--log-level", "warn"]


def seconds_of(*command):
    start = time.perf_counter()
    subprocess.run([str(c) for c in command], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def cp(what):
    return seconds_of("cp", "-r", what, copy) + seconds_of("sync")


_, peak = run_with_peak(*convert())  # warms the page cache, and makes what cp copies
reference = WORK / "moe-reference"
shutil.rmtree(reference, ignore_errors=True)
out.rename(reference)
size = sum(f.stat().st_size for f in reference.iterdir())
exact = json.loads((reference / "conversion.json").read_text())["dense_exact"]
if exact > 1e-5:
    sys.exit(f"the result is not the dense model: {exact}")
ours, theirs = [], []
warm_up = 2  # a virtual machine's memory is slow at its first touch, for both
for turn in range(-warm_up, rounds):
    subprocess.run(["sync"], check=True)
    seconds = seconds_of(*convert())
    shutil.rmtree(out)
    subprocess.run(["sync"], check=True)
    copying = cp(reference)
    shutil.rmtree(copy)
    if turn >= 0:
        ours.append(seconds)
        theirs.append(copying)
shutil.rmtree(reference)
print(f"bytes written        {size / 1e9:.3f} GB, dense_exact {exact:.1e}")
print(f"moebius convert      {median(ours):.2f} s ({spread(ours)}), {size / 1e9 / median(ours):.2f} GB/s")
print(f"cp and sync          {median(theirs):.2f} s ({spread(theirs)}), {size / 1e9 / median(theirs):.2f} GB/s")
print(f"ratio of medians     {median(ours) / median(theirs):.2f}")
print(f"RssAnon + RssShmem   {peak / 1e9:.3f} GB at most")
