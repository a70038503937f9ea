"""Generation by a mixture of the shape of granite-3.0-1b-a400m with random weights: prompt of 512 tokens, then 64
new ones. moebius in each of its weights beside llama.cpp in the nearest of its types and transformers in bf16, in
turns, each in a process of its own; medians over rounds. What moebius reaches of the machine's limits is what its own
`bench` says. --rounds N (3)."""

import argparse
import ctypes
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from common import DATA, ENVIRONMENT, MOEBIUS, ROOT, WORK, median, write_random_checkpoint

CONFIG = {
    "architectures": ["GraniteMoeForCausalLM"], "model_type": "granitemoe", "vocab_size": 49155, "hidden_size": 1024,
    "intermediate_size": 512, "num_hidden_layers": 24, "num_attention_heads": 16, "num_key_value_heads": 8,
    "num_local_experts": 32, "num_experts_per_tok": 8, "max_position_embeddings": 4096, "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0, "tie_word_embeddings": True, "embedding_multiplier": 12.0, "residual_multiplier": 0.22,
    "attention_multiplier": 0.015625, "logits_scaling": 6.0, "hidden_act": "silu", "torch_dtype": "bfloat16",
    "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0, "initializer_range": 0.02, "attention_bias": False,
}  # fmt: skip
PROMPT, NEW = 512, 64
PEERS = {"bf16": ["bf16"], "int8": ["q8_0"], "int4": []}


def granite():
    """A checkpoint of that shape in bf16 (2.7 GB), made once."""
    folder = WORK / "granite-shape"
    if (folder / "config.json").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    d, f, experts = CONFIG["hidden_size"], CONFIG["intermediate_size"], CONFIG["num_local_experts"]
    kv = d * CONFIG["num_key_value_heads"] // CONFIG["num_attention_heads"]
    shapes = {"model.embed_tokens.weight": [CONFIG["vocab_size"], d], "model.norm.weight": [d]}
    for layer in range(CONFIG["num_hidden_layers"]):
        p = f"model.layers.{layer}."
        shapes |= {p + "input_layernorm.weight": [d], p + "post_attention_layernorm.weight": [d],
                   p + "self_attn.q_proj.weight": [d, d], p + "self_attn.o_proj.weight": [d, d],
                   p + "self_attn.k_proj.weight": [kv, d], p + "self_attn.v_proj.weight": [kv, d],
                   p + "block_sparse_moe.router.layer.weight": [experts, d],
                   p + "block_sparse_moe.input_linear.weight": [experts, 2 * f, d],
                   p + "block_sparse_moe.output_linear.weight": [experts, d, f]}
    write_random_checkpoint(folder, shapes)
    for file in (DATA / "tokenizers/starcoder1_granite").iterdir():
        shutil.copy(file, folder)
    (folder / "config.json").write_text(json.dumps(CONFIG, indent=1))
    return folder


def llama_library():
    sys.path.insert(0, str(ROOT / "tests/python"))
    import llama_cpp

    return llama_cpp, llama_cpp.open_library(llama_cpp.LIBRARY)


def gguf_files(folder):
    """By type; what is not there is made. The llama.cpp at hand has no quantiser, so none of its 4-bit types."""
    files = {name: folder / f"{name}.gguf" for name in ("bf16", "q8_0")}
    for name, file in files.items():
        if not file.exists():
            subprocess.run([MOEBIUS, "export", folder, "-o", file, "--dtype", name], check=True,
                           stdout=subprocess.DEVNULL)
    return files


def time_llama(file, threads):
    """In a process of its own: tokens/s of prompt and of what follows."""
    from time import perf_counter

    llama_cpp, library = llama_library()
    model = library.llama_model_load_from_file(str(file).encode(), library.llama_model_default_params())
    params = library.llama_context_default_params()
    params.n_ctx, params.n_batch, params.n_ubatch = PROMPT + NEW, PROMPT, PROMPT
    params.n_threads = params.n_threads_batch = threads
    context = library.llama_init_from_model(model, params)

    def run(ids):
        array = (ctypes.c_int32 * len(ids))(*ids)
        assert library.llama_decode(context, library.llama_batch_get_one(array, len(ids))) == 0
        library.llama_get_logits_ith(context, -1)

    ids = [(i * 7919) % CONFIG["vocab_size"] for i in range(PROMPT)]
    for _ in range(2):  # the first time warms up
        library.llama_memory_clear(library.llama_get_memory(context), True)
        start = perf_counter()
        run(ids)
        middle = perf_counter()
        for i in range(NEW):
            run([(i * 104729) % CONFIG["vocab_size"]])
        end = perf_counter()
    print(json.dumps([PROMPT / (middle - start), NEW / (end - middle)]))


def time_transformers(folder, threads):
    from time import perf_counter

    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(threads)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    ids = torch.tensor([[(i * 7919) % CONFIG["vocab_size"] for i in range(PROMPT)]])
    new = 16  # of which each takes long
    with torch.inference_mode():
        for _ in range(2):
            start = perf_counter()
            out = model(ids, logits_to_keep=1, use_cache=True)
            middle = perf_counter()
            for i in range(new):
                token = torch.tensor([[(i * 104729) % CONFIG["vocab_size"]]])
                out = model(token, past_key_values=out.past_key_values, use_cache=True)
            end = perf_counter()
    print(json.dumps([PROMPT / (middle - start), new / (end - middle)]))


def in_a_process(what, target, threads):
    done = subprocess.run([sys.executable, __file__, what, str(target), str(threads)], capture_output=True, check=True,
                          env=ENVIRONMENT)
    return json.loads(done.stdout.splitlines()[-1])


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--rounds", type=int, default=3)
    rounds = options.parse_args().rounds
    threads = len(os.sched_getaffinity(0))
    folder = granite()
    files = gguf_files(folder)
    rows = {}
    for _ in range(rounds):
        for weights, peers in PEERS.items():
            out = json.loads(subprocess.run(
                [MOEBIUS, "bench", folder, "--weights", weights, "--prompt", str(PROMPT), "--new", str(NEW), "--json"],
                check=True, capture_output=True, env=ENVIRONMENT).stdout)
            rows.setdefault(f"moebius {weights}", []).append(
                [out["prefill_tokens_per_s"], out["decode_tokens_per_s"], out["prefill_share"], out["decode_share"]])
            for peer in peers:
                rows.setdefault(f"llama.cpp {peer}", []).append(in_a_process("llama", files[peer], threads))
        rows.setdefault("transformers bf16", []).append(in_a_process("transformers", folder, threads))
    print("| | prefill tok/s | decode tok/s | of the limit |\n|---|---|---|---|")
    for name, values in rows.items():
        figures = [median(column) for column in zip(*values, strict=True)]
        share = f"{100 * figures[2]:.0f} %, {100 * figures[3]:.0f} %" if len(figures) > 2 else "-"
        print(f"| {name} | {figures[0]:.0f} | {figures[1]:.1f} | {share} |")


if __name__ == "__main__":
    if len(sys.argv) == 4 and sys.argv[1] == "llama":
        time_llama(Path(sys.argv[2]), int(sys.argv[3]))
    elif len(sys.argv) == 4 and sys.argv[1] == "transformers":
        time_transformers(sys.argv[2], int(sys.argv[3]))
    else:
        main()
