"""What quantising costs: perplexity and mean KL against f32 on held-out text, of a mixture trained here (D 256, F 256,
16 experts, top-4, 4 layers), by moebius and by llama.cpp's types, each in its own program and against its own f32.
Calibration text, where it is used, is other text than what is measured. usage: quant_quality.py [TRAINING_STEPS]"""

import ctypes
import json
import os
import struct
import sys

import numpy as np
from common import DATA, ROOT, WORK, moebius, stories, tokens

sys.path.insert(0, str(ROOT / "tests/python"))
import llama_cpp

sys.path.insert(0, str(llama_cpp.PACKAGES))
import gguf

STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 800
WINDOW, WINDOWS = 256, 24
CONFIG = {
    "architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "vocab_size": 512, "hidden_size": 256,
    "intermediate_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 4,
    "num_local_experts": 16, "num_experts_per_tok": 4, "max_position_embeddings": 512, "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0, "hidden_act": "silu", "bos_token_id": 1, "eos_token_id": 2, "tie_word_embeddings": False,
    "router_aux_loss_coef": 0.01,
}  # fmt: skip
work = WORK / "quant"
held, calibration, training = stories(work, held=40_000, calibration=200_000)


def trained_here():
    run = work / f"run-{STEPS}"
    if not (run / "model").exists():
        config = work / "config.json"
        config.write_text(json.dumps(CONFIG))
        moebius("train", "--model-config", config, "--tokenizer", DATA / "models/stories260K", "--data", training,
                "--out", run, "--steps", STEPS, "--lr", 2e-3, "--warmup", 50, "--batch", 8, "--sequence", 256,
                "--overwrite")
    return run / "model"


def figures(model, *args):
    out = json.loads(moebius("eval", model, "--data", held, "--context", WINDOW, "--json", *args))
    return out["perplexity"], out.get("kl")


def type_of(scheme, name, layers):
    """Of a matrix, as llama.cpp mixes types."""
    types = gguf.GGMLQuantizationType
    if scheme != "q4_K_M":
        return {"q8_0": types.Q8_0, "q4_0": types.Q6_K if name == "output.weight" else types.Q4_0}[scheme]
    layer = int(name.split(".")[1]) if name.startswith("blk.") else 0
    more = layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2
    if name == "output.weight" or (more and ("attn_v" in name or "ffn_down" in name)):
        return types.Q6_K
    return types.Q4_K


def quantised_by_llama(source, scheme, library):
    """A GGUF file with the metadata of `source`; bits of a weight among those that moebius packs too."""
    reader = gguf.GGUFReader(source)
    infos, data, offset, bits, weights = b"", [], 0, 0, 0
    for tensor in reader.tensors:
        rows = np.ascontiguousarray(tensor.data, np.float32).reshape(-1, int(tensor.shape[0]))
        kept = len(tensor.shape) == 1 or "ffn_gate_inp" in tensor.name
        kind = gguf.GGMLQuantizationType.F32 if kept else type_of(scheme, tensor.name, CONFIG["num_hidden_layers"])
        out = rows.tobytes()
        if not kept:
            block, size = gguf.GGML_QUANT_SIZES[kind]
            buffer = ctypes.create_string_buffer(rows.size // block * size)
            library.ggml_quantize_chunk(int(kind), rows.ctypes.data, buffer, 0, rows.shape[0], rows.shape[1], None)
            out = buffer.raw
            if tensor.name != "token_embd.weight":
                bits, weights = bits + 8 * len(out), weights + rows.size
        name = tensor.name.encode()
        infos += struct.pack("<Q", len(name)) + name + struct.pack("<I", len(tensor.shape))
        infos += b"".join(struct.pack("<Q", int(n)) for n in tensor.shape) + struct.pack("<IQ", int(kind), offset)
        data.append(out + bytes(-len(out) % 32))
        offset += len(data[-1])
    target = source.with_name(f"{scheme}.gguf")
    head = source.read_bytes()[: reader.tensors[0].field.offset] + infos
    target.write_bytes(head + bytes(-len(head) % 32) + b"".join(data))
    return target, bits / weights


def scores_by_llama(path, windows, library):
    model = llama_cpp.Model(library, path)
    scores = np.array([model.logits(ids) for ids in windows], np.float64)
    return scores - np.log(np.exp(scores - scores.max(-1, keepdims=True)).sum(-1, keepdims=True)) - scores.max(
        -1, keepdims=True)


def main():
    model = trained_here()
    print("| | bits a weight | perplexity | mean KL |\n|---|---|---|---|")
    print(f"| f32 | 32 | {figures(model)[0]:.4f} | - |", flush=True)
    for weights in ("int8", "int4"):
        for calibrated in (False, True):
            out = work / f"{weights}{'-calibrated' if calibrated else ''}"
            more = ["--calibration", calibration] if calibrated else []
            report = json.loads(moebius("quantize", model, "-o", out, "--weights", weights, "--overwrite", "--json", *more))
            perplexity, kl = figures(out, "--reference", model)
            name = f"moebius {weights}{', calibrated' if calibrated else ''}"
            print(f"| {name} | {report['bits_per_weight']:.2f} | {perplexity:.4f} | {kl:.2e} |", flush=True)

    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 2)  # llama.cpp talks
    library = llama_cpp.open_library(llama_cpp.LIBRARY)
    library.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64,
                                            ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p]
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    source = work / "f32.gguf"
    moebius("export", model, "-o", source, "--dtype", "f32", "--overwrite")
    ids = tokens(model, held)
    windows = [ids[i * WINDOW:(i + 1) * WINDOW] for i in range(min(WINDOWS, len(ids) // WINDOW))]
    targets = np.array(windows)[:, 1:]
    exact = scores_by_llama(source, windows, library)

    def perplexity(scores):
        return np.exp(-np.take_along_axis(scores[:, :-1], targets[..., None], -1).mean())

    print(f"| llama.cpp f32 | 32 | {perplexity(exact):.4f} | - |", flush=True)
    for scheme in ("q8_0", "q4_0", "q4_K_M"):
        path, bits = quantised_by_llama(source, scheme, library)
        scores = scores_by_llama(path, windows, library)
        kl = (np.exp(exact) * (exact - scores)).sum(-1)[:, :-1].mean()
        print(f"| llama.cpp {scheme} | {bits:.2f} | {perplexity(scores):.4f} | {kl:.2e} |", flush=True)


if __name__ == "__main__":
    main()
