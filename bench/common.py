"""What the benchmarks share: the TinyLlama-shaped checkpoint, peak memory of a process, medians."""

import json
import os
import pathlib
import statistics
import struct
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
MOEBIUS = pathlib.Path(os.environ.get("MOEBIUS_BIN", ROOT / "build/release/moebius"))
WORK = pathlib.Path(os.environ.get("MOEBIUS_BENCH_DIR", ROOT / "build/bench"))
# Peers wait for work as they do by default; moebius chooses for itself.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
DATA = pathlib.Path(os.environ.get("MOEBIUS_TEST_DATA", ROOT / "../shared/data"))


def moebius(*args):
    """What it prints; ends the program where it fails."""
    done = subprocess.run([str(a) for a in (MOEBIUS, *args, "--log-level", "warn")], capture_output=True, text=True,
                          env=ENVIRONMENT)
    if done.returncode != 0:
        sys.exit(done.stderr)
    return done.stdout


def tokens(model, text):
    """Ids of a file's text by the tokenizer of a model."""
    done = subprocess.run([MOEBIUS, "tokenize", model], input=text.read_bytes(), capture_output=True, check=True)
    return [int(i) for i in done.stdout.split()]


def stories(work, held, calibration):
    """Files of the stories: their last `held` letters, text to calibrate with, text to train on."""
    work.mkdir(parents=True, exist_ok=True)
    text = (DATA / "text/tinystories_sample_2M.txt").read_text()
    parts = {"held": text[-held:], "calibration": text[:calibration], "training": text[:-100_000]}
    for name, part in parts.items():
        (work / f"{name}.txt").write_text(part)
    return [work / f"{name}.txt" for name in parts]


def write_random_checkpoint(folder, shapes):
    """bf16: vectors of ones, all else normal with deviation 0.02."""
    import numpy as np

    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in shapes.items():
        size = 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    rng = np.random.default_rng(0)
    with open(folder / "model.safetensors", "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for name, shape in shapes.items():
            if len(shape) == 1:
                values = np.ones(shape, np.float32)
            else:
                values = rng.standard_normal(shape, np.float32) * np.float32(0.02)
            f.write((values.view(np.uint32) >> 16).astype(np.uint16).tobytes())


def tinyllama():
    """A checkpoint of TinyLlama-1.1B's shape in bf16 with random weights (2.2 GB), made once."""
    folder = WORK / "tinyllama-shape"
    if (folder / "config.json").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    width, ffn, layers, vocab, kv = 2048, 5632, 22, 32000, 256
    shapes = {"model.embed_tokens.weight": [vocab, width], "lm_head.weight": [vocab, width],
              "model.norm.weight": [width]}
    for l in range(layers):
        p = f"model.layers.{l}."
        shapes |= {p + "input_layernorm.weight": [width], p + "post_attention_layernorm.weight": [width],
                   p + "self_attn.q_proj.weight": [width, width], p + "self_attn.o_proj.weight": [width, width],
                   p + "self_attn.k_proj.weight": [kv, width], p + "self_attn.v_proj.weight": [kv, width],
                   p + "mlp.gate_proj.weight": [ffn, width], p + "mlp.up_proj.weight": [ffn, width],
                   p + "mlp.down_proj.weight": [width, ffn]}
    write_random_checkpoint(folder, shapes)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        if (DATA / "tokenizers/llama2" / name).exists():
            (folder / name).write_bytes((DATA / "tokenizers/llama2" / name).read_bytes())
    (folder / "config.json").write_text(json.dumps({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": vocab,
        "hidden_size": width, "intermediate_size": ffn, "num_hidden_layers": layers,
        "num_attention_heads": 32, "num_key_value_heads": 4, "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu", "torch_dtype": "bfloat16",
        "bos_token_id": 1, "eos_token_id": 2, "tie_word_embeddings": False}, indent=1))
    return folder


def run_with_peak(*command):
    """Seconds and peak of RssAnon + RssShmem in bytes, sampled every 5 ms."""
    start = time.perf_counter()
    process = subprocess.Popen([str(c) for c in command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    peak = 0
    while process.poll() is None:
        try:
            with open(f"/proc/{process.pid}/status") as f:
                rows = dict(line.split(":", 1) for line in f)
            peak = max(peak, sum(int(rows[k].split()[0]) for k in ("RssAnon", "RssShmem")) * 1024)
        except (FileNotFoundError, KeyError, ProcessLookupError):
            pass
        time.sleep(0.005)
    seconds = time.perf_counter() - start
    if process.returncode != 0:
        sys.exit(process.stderr.read().decode())
    return seconds, peak


def median(values):
    return statistics.median(values)


def spread(values):
    return f"{min(values):.2f}-{max(values):.2f}"
