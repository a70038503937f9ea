"""Another revision beside this one: `make bench-compare BASE=v0.1` builds BASE in build/base and runs both programs in
turns on the same shapes. A ratio above 1 means that this one is faster; medians over rounds, of ratios too, since a
round's two see the same hour. --rounds N (5)."""

import argparse
import json
import os
import subprocess
import tempfile
from pathlib import Path

from common import MOEBIUS, ROOT, median
from generation_speed import CONFIG
from train_speed import MODELS

FIGURES = ("prefill_tokens_per_s", "decode_tokens_per_s", "train_tokens_per_s")
CASES = {
    **{f"generation {weights}": ["--weights", weights, "--prompt", "256", "--new", "32", "--repeat", "1"]
       for weights in ("bf16", "int8", "int4")},
    **{f"training {precision}": ["--train", "--precision", precision, "--batch", "4", "--prompt", "256", "--repeat",
                                 "3"] for precision in ("f32", "bf16")},
}  # fmt: skip


def build(base):
    tree = ROOT / "build/base"
    if tree.exists():
        subprocess.run(["git", "-C", tree, "checkout", "-q", "--detach", base], check=True)
    else:
        subprocess.run(["git", "-C", ROOT, "worktree", "prune"], check=True)
        subprocess.run(["git", "-C", ROOT, "worktree", "add", "-q", "--detach", tree, base], check=True)
        os.symlink(ROOT / ".venv", tree / ".venv")
    subprocess.run(["make", "-C", tree, "build"], check=True)
    return tree / "build/release/moebius"


options = argparse.ArgumentParser()
options.add_argument("base", help="a commit, branch or tag")
options.add_argument("--rounds", type=int, default=5)
arguments = options.parse_args()
programs = {"base": build(arguments.base), "this": MOEBIUS}
rates = {}
with tempfile.TemporaryDirectory() as folder:
    shapes = {"generation": Path(folder) / "generation", "training": Path(folder) / "training"}
    for (name, path), config in zip(shapes.items(), (CONFIG, MODELS["MoE"]), strict=True):
        path.mkdir()
        (path / "config.json").write_text(json.dumps({"torch_dtype": "float32", **config}))
    for _ in range(arguments.rounds):
        for case, more in CASES.items():
            for program, path in programs.items():
                done = subprocess.run([path, "bench", shapes[case.split()[0]], "--random-weights", "--json", *more],
                                      capture_output=True, check=False)
                if done.returncode != 0:  # an older program may not know the option
                    continue
                out = json.loads(done.stdout)
                for figure in FIGURES:
                    if figure in out:
                        rates.setdefault((case, figure), {}).setdefault(program, []).append(out[figure])
print("| | base tok/s | this tok/s | ratio |\n|---|---|---|---|")
for (case, figure), by_program in rates.items():
    if len(by_program) < 2:
        continue
    base, this = by_program["base"], by_program["this"]
    ratio = median(new / old for new, old in zip(this, base, strict=True))
    print(f"| {case}, {figure.split('_')[0]} | {median(base):.1f} | {median(this):.1f} | {ratio:.3f} |")
