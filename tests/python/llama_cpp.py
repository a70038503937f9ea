"""llama.cpp itself, through its C interface, in a process of its own: it aborts where it disagrees.

As a program: LIBRARY MODEL, then a request of JSON on standard input, {"ids": [[...], ...], "texts": [...],
"greedy": [[ids], count]}, each part if wanted; the answer is JSON on standard output."""

import ctypes
import json
import os
import subprocess
import sys
from ctypes import POINTER, Structure, byref, c_bool, c_char_p, c_float, c_int32, c_uint32, c_void_p
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ROOT / ".venv/llama-cpp"
# A libllama.so of another build, such as llama-cpp-python's.
LIBRARY = os.environ.get("MOEBIUS_LLAMA_CPP", str(PACKAGES / "xllamacpp/xllamacpp.abi3.so"))

F32 = 0  # of ggml_type


class Params(Structure):
    """Passed by value and in memory, so that what lies behind the fields we know may have any length."""

    _fields_ = [("bytes", ctypes.c_uint8 * 1024)]


class ContextParams(Structure):
    _fields_ = [
        *[(name, c_uint32) for name in ("n_ctx", "n_batch", "n_ubatch", "n_seq_max", "n_rs_seq",
                                        "n_outputs_max", "n_outputs_max_per_seq")],
        *[(name, c_int32) for name in ("n_threads", "n_threads_batch", "ctx_type", "rope_scaling_type",
                                       "pooling_type", "attention_type", "flash_attn_type")],
        *[(name, c_float) for name in ("rope_freq_base", "rope_freq_scale", "yarn_ext_factor",
                                       "yarn_attn_factor", "yarn_beta_fast", "yarn_beta_slow")],
        ("yarn_orig_ctx", c_uint32), ("defrag_thold", c_float),
        ("cb_eval", c_void_p), ("cb_eval_user_data", c_void_p),
        ("type_k", c_int32), ("type_v", c_int32),
        ("rest", ctypes.c_uint8 * 1024),
    ]


class Batch(Structure):
    _fields_ = [("n_tokens", c_int32), ("token", POINTER(c_int32)), ("embd", c_void_p),
                ("pos", c_void_p), ("n_seq_id", c_void_p), ("seq_id", c_void_p), ("logits", c_void_p)]


def open_library(path):
    lib = ctypes.CDLL(path)
    lib.llama_model_default_params.restype = Params
    lib.llama_context_default_params.restype = ContextParams
    lib.llama_model_load_from_file.argtypes = [c_char_p, Params]
    lib.llama_init_from_model.argtypes = [c_void_p, ContextParams]
    lib.llama_get_memory.argtypes = [c_void_p]
    lib.llama_memory_clear.argtypes = [c_void_p, c_bool]
    lib.llama_batch_get_one.restype = Batch
    lib.llama_batch_get_one.argtypes = [POINTER(c_int32), c_int32]
    lib.llama_decode.argtypes = [c_void_p, Batch]
    lib.llama_get_logits_ith.argtypes = [c_void_p, c_int32]
    lib.llama_get_logits_ith.restype = POINTER(c_float)
    lib.llama_model_get_vocab.argtypes = [c_void_p]
    lib.llama_vocab_n_tokens.argtypes = [c_void_p]
    lib.llama_tokenize.argtypes = [c_void_p, c_char_p, c_int32, POINTER(c_int32), c_int32, c_bool, c_bool]
    lib.llama_detokenize.argtypes = [c_void_p, POINTER(c_int32), c_int32, c_char_p, c_int32, c_bool, c_bool]
    for name in ("llama_model_load_from_file", "llama_init_from_model", "llama_get_memory",
                 "llama_model_get_vocab"):
        getattr(lib, name).restype = c_void_p
    lib.llama_backend_init()
    return lib


class Model:
    def __init__(self, lib, path):
        self.lib = lib
        self.model = lib.llama_model_load_from_file(str(path).encode(), lib.llama_model_default_params())
        if not self.model:
            sys.exit("llama.cpp does not open the file")
        self.vocab = lib.llama_model_get_vocab(self.model)
        params = lib.llama_context_default_params()
        assert (params.type_k, params.type_v) == (1, 1), "the parameters lie elsewhere in this library"
        params.type_k = params.type_v = F32
        params.n_ctx = 512
        params.flash_attn_type = 0
        params.n_threads = params.n_threads_batch = 1
        self.context = lib.llama_init_from_model(self.model, params)

    def logits(self, ids):
        """[T, V], id after id, so that the cache takes part."""
        self.lib.llama_memory_clear(self.lib.llama_get_memory(self.context), True)
        return [self.step(i) for i in ids]

    def step(self, id):
        token = c_int32(id)
        assert self.lib.llama_decode(self.context, self.lib.llama_batch_get_one(byref(token), 1)) == 0
        return self.lib.llama_get_logits_ith(self.context, -1)[: self.lib.llama_vocab_n_tokens(self.vocab)]

    def tokenize(self, text):
        raw = text.encode()
        ids = (c_int32 * (len(raw) + 8))()
        count = self.lib.llama_tokenize(self.vocab, raw, len(raw), ids, len(ids), True, True)
        assert count >= 0
        return ids[:count]

    def detokenize(self, ids):
        text = ctypes.create_string_buffer(64 * len(ids) + 64)
        array = (c_int32 * len(ids))(*ids)
        size = self.lib.llama_detokenize(self.vocab, array, len(ids), text, len(text), True, False)
        return text.raw[:size].decode()

    def greedy(self, ids, count):
        scores = self.logits(ids)[-1]
        out = []
        for _ in range(count):
            out.append(max(range(len(scores)), key=scores.__getitem__))
            scores = self.step(out[-1])
        return out


def ask(model, **request):
    """What llama.cpp answers about a GGUF file."""
    if not os.path.exists(LIBRARY):
        pytest.fail(f"{LIBRARY} is not there: run scripts/setup.sh --tests")
    done = subprocess.run([sys.executable, __file__, LIBRARY, model], input=json.dumps(request),
                          capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def quantize(values, type, block_elements, block_bytes):
    """Rows of f32 in a type of ggml, as its llama-quantize does without an importance matrix: [rows, bytes]."""
    lib = ctypes.CDLL(LIBRARY)
    lib.ggml_quantize_chunk.restype = ctypes.c_size_t
    lib.ggml_quantize_chunk.argtypes = [c_int32, c_void_p, c_void_p, *[ctypes.c_int64] * 3, c_void_p]
    values = np.ascontiguousarray(values, dtype=np.float32)
    rows, columns = values.size // values.shape[-1], values.shape[-1]
    out = np.zeros((rows, columns // block_elements * block_bytes), dtype=np.uint8)
    size = lib.ggml_quantize_chunk(int(type), values.ctypes.data, out.ctypes.data, 0, rows, columns, None)
    assert size == out.size
    return out.reshape(*values.shape[:-1], -1)


if __name__ == "__main__":
    request = json.load(sys.stdin)
    opened = Model(open_library(sys.argv[1]), sys.argv[2])
    answer = {
        "logits": [opened.logits(ids) for ids in request.get("ids", [])],
        "tokens": [opened.tokenize(text) for text in request.get("texts", [])],
    }
    if "greedy" in request:
        answer["greedy"] = opened.greedy(*request["greedy"])
        answer["text"] = opened.detokenize(answer["greedy"])
    print(json.dumps(answer))
