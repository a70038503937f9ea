"""Training steps (batch 4 x 256, AdamW) of a Mixtral shape and of a dense one of its active size: `moebius bench
--train` beside transformers' best setting, in turns, each in a process of its own. Tokens/s are medians over steps
and rounds, memory is the most that a process ever had resident."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from common import ENVIRONMENT, MOEBIUS, median

SHAPE = {
    "vocab_size": 8192, "hidden_size": 512, "num_hidden_layers": 6, "num_attention_heads": 8, "num_key_value_heads": 8,
    "max_position_embeddings": 512,
}  # fmt: skip
MODELS = {
    "MoE": {**SHAPE, "model_type": "mixtral", "architectures": ["MixtralForCausalLM"], "intermediate_size": 1024,
            "num_local_experts": 8, "num_experts_per_tok": 2, "router_aux_loss_coef": 0.01,
            "output_router_logits": True},
    "dense": {**SHAPE, "model_type": "llama", "architectures": ["LlamaForCausalLM"], "intermediate_size": 2048},
}  # fmt: skip
ROUNDS, STEPS = 3, 6

PEER = """
import json, resource, statistics, sys, time, torch
from transformers import AutoConfig, AutoModelForCausalLM
folder, dtype, steps = sys.argv[1], sys.argv[2], int(sys.argv[3])
torch.manual_seed(0)
torch.set_num_threads(int(sys.argv[4]))
model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder), dtype=torch.float32)
if "Mixtral" in type(model).__name__:
    model.set_experts_implementation("grouped_mm")
if dtype == "bf16":
    model = model.bfloat16()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
ids = torch.randint(0, 8192, (4, 256))
rates = []
for _ in range(steps + 1):
    start = time.time()
    model(input_ids=ids, labels=ids).loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    rates.append(1024 / (time.time() - start))
print(json.dumps([statistics.median(rates[1:]), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
"""


def moebius(folder, precision, threads):
    out = json.loads(subprocess.run(
        [MOEBIUS, "bench", folder, "--random-weights", "--train", "--precision", precision, "--batch", "4", "--prompt",
         "256", "--repeat", str(STEPS), "--threads", threads, "--json"],
        check=True, capture_output=True, env=ENVIRONMENT).stdout)
    return out["train_tokens_per_s"], out["resident_bytes"] / 2**20, out["train_share"]


def peer(folder, precision, threads):
    done = subprocess.run([sys.executable, "-c", PEER, folder, precision, str(STEPS), threads], check=True,
                          capture_output=True, env=ENVIRONMENT)
    return json.loads(done.stdout)


def main():
    threads = str(len(os.sched_getaffinity(0)))
    print("| model | precision | moebius tok/s | of the limit | transformers tok/s | ratio | MiB | MiB of transformers |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name, config in MODELS.items():
            (Path(folder) / "config.json").write_text(json.dumps({**config, "torch_dtype": "float32"}))
            rows = {}
            for _ in range(ROUNDS):
                for precision in ("f32", "bf16", "mixed"):
                    rows.setdefault(("moebius", precision), []).append(moebius(folder, precision, threads))
                    if precision != "mixed":
                        rows.setdefault(("peer", precision), []).append(peer(folder, precision, threads))
            for precision in ("f32", "bf16", "mixed"):
                ours = [median(column) for column in zip(*rows["moebius", precision], strict=True)]
                line = f"| {name} | {precision} | {ours[0]:.0f} | {100 * ours[2]:.0f} % "
                if precision != "mixed":
                    theirs = [median(column) for column in zip(*rows["peer", precision], strict=True)]
                    line += f"| {theirs[0]:.0f} | {ours[0] / theirs[0]:.2f} | {ours[1]:.0f} | {theirs[1]:.0f} |"
                else:
                    line += f"| - | - | {ours[1]:.0f} | - |"
                print(line, flush=True)


if __name__ == "__main__":
    main()
