"""Time from the start of the process to the first token of a TinyLlama-1.1B-shaped bf16 checkpoint
in the page cache, and of `moebius info`, which opens and checks everything but computes nothing."""

import subprocess
import time

from common import MOEBIUS, median, spread, tinyllama

model = tinyllama()
size = (model / "model.safetensors").stat().st_size
with open(model / "model.safetensors", "rb") as f:  # into the page cache
    while f.read(1 << 24):
        pass


def seconds(*arguments):
    times = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run([MOEBIUS, *arguments], check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return times


print(f"checkpoint           {size / 1e9:.2f} GB, in the page cache")
for name, arguments in {
    "moebius --version": ["--version"],
    "moebius info": ["info", model],
    "first token": ["generate", model, "--prompt", "Once", "--max-tokens", "1"],
}.items():
    times = seconds(*arguments)
    print(f"{name:<20} {median(times):.3f} s ({spread(times)})")
