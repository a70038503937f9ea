"""Tiny random models that transformers writes, tokenizers for them, and what is measured on them."""

import itertools
import json
import math
import shutil

import torch
from safetensors import safe_open
from safetensors.torch import load_file

ROPE = {"rope_type": "default", "rope_theta": 10000.0}
CHAR = 0x4E00  # a char tokenizer writes token i as the character CHAR + i

LLAMA = dict(
    vocab_size=131, hidden_size=48, intermediate_size=76, num_hidden_layers=2,
    num_attention_heads=6, num_key_value_heads=3, max_position_embeddings=64,
    rope_parameters=ROPE, bos_token_id=1, eos_token_id=2,
)
MIXTRAL = {
    **LLAMA, "intermediate_size": 37, "num_local_experts": 5, "num_experts_per_tok": 3,
}
GRANITE = dict(
    embedding_multiplier=2.5, attention_multiplier=0.21, residual_multiplier=0.4, logits_scaling=1.7,
)
QWEN_MOE = {
    **LLAMA, "num_hidden_layers": 3, "moe_intermediate_size": 37, "mlp_only_layers": [1],
    "num_experts": 5, "num_experts_per_tok": 3,
}
DEEPSEEK = {
    **LLAMA, "num_hidden_layers": 3, "num_key_value_heads": 6, "q_lora_rank": 19, "kv_lora_rank": 22,
    "qk_nope_head_dim": 10, "qk_rope_head_dim": 6, "v_head_dim": 7, "first_k_dense_replace": 1,
    "n_routed_experts": 9, "num_experts_per_tok": 4, "moe_intermediate_size": 37, "n_shared_experts": 2,
    "routed_scaling_factor": 1.7, "n_group": 3, "topk_group": 2,
}
# A row a family (a pad token's embedding would get no gradient in transformers): what its classes in transformers begin with, and a small configuration.
FAMILIES = {
    "llama": ("Llama", LLAMA),
    "mistral": ("Mistral", {**LLAMA, "sliding_window": None}),
    "granite": ("Granite", {**LLAMA, **GRANITE}),
    "qwen2": ("Qwen2", LLAMA),
    "qwen3": ("Qwen3", {**LLAMA, "head_dim": 10}),
    "mixtral": ("Mixtral", {**MIXTRAL, "sliding_window": None}),
    "granitemoe": (
        "GraniteMoe", {**MIXTRAL, **GRANITE, "attention_bias": True, "tie_word_embeddings": True}
    ),
    "qwen2_moe": ("Qwen2Moe", {**QWEN_MOE, "shared_expert_intermediate_size": 22}),
    "qwen3_moe": ("Qwen3Moe", {**QWEN_MOE, "head_dim": 10, "norm_topk_prob": True}),
    "olmoe": (
        "Olmoe", {**LLAMA, "intermediate_size": 37, "num_experts": 5, "num_experts_per_tok": 3,
                  "pad_token_id": None}
    ),
    "deepseek_v2": ("DeepseekV2", {**DEEPSEEK, "topk_method": "group_limited_greedy"}),
    "deepseek_v3": ("DeepseekV3", DEEPSEEK),
    "gpt2": (
        "GPT2",
        dict(vocab_size=131, n_embd=36, n_layer=2, n_head=3, n_positions=64, n_inner=None,
             bos_token_id=1, eos_token_id=2, attn_pdrop=0.0, embd_pdrop=0.0, resid_pdrop=0.0),
    ),
    "opt": (
        "OPT",
        dict(vocab_size=131, hidden_size=36, ffn_dim=50, num_hidden_layers=2, dropout=0.0,
             num_attention_heads=3, max_position_embeddings=64, bos_token_id=1, eos_token_id=2,
             pad_token_id=None),
    ),
}


def classes(hf, family):
    stem = FAMILIES[family][0]
    model = "GPT2LMHeadModel" if stem == "GPT2" else f"{stem}ForCausalLM"
    return getattr(hf, f"{stem}Config"), getattr(hf, model)


def make_model(hf, family, seed=0, **overrides):
    """A model whose every weight is random, norms and biases too, so that no term can be lost."""
    config_class, model_class = classes(hf, family)
    config = config_class(**{**FAMILIES[family][1], **overrides})
    # Grouped products on a processor want widths that divide by four; ours shall be odd.
    model = model_class._from_config(config, experts_implementation="eager").eval()
    randoms = torch.Generator().manual_seed(1000 + seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.empty(p.shape).normal_(0, 1, generator=randoms)
            if p.dim() >= 2:
                embedding = any(part in name for part in ("embed", "wte", "wpe"))
                p.copy_(noise * (0.3 if embedding else 1.2 / math.sqrt(max(1, p.shape[-1]))))
            elif name.endswith("bias"):
                p.copy_(0.3 * noise)
            else:
                p.copy_(1 + 0.2 * noise)
        for name, b in model.named_buffers():
            if name.endswith("e_score_correction_bias"):
                b.normal_(0, 0.1, generator=randoms)
    return model


def save(model, directory, dtype=None, **kw):
    if dtype is not None:
        model = model.to(dtype)
    model.save_pretrained(directory, **kw)
    return directory


def edit_json(file, **changes):
    """Sets keys of a JSON file; None removes one."""
    content = json.loads(file.read_text())
    for key, value in changes.items():
        content.pop(key, None)
        if value is not None:
            content[key] = value
    file.write_text(json.dumps(content))


# ---- Tokenizers -------------------------------------------------------------------------------


def bpe(vocab, **parts):
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [],
        "normalizer": None, "pre_tokenizer": None, "post_processor": None, "decoder": None,
        "model": {"type": "BPE", "dropout": None, "unk_token": None,
                  "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": False, "byte_fallback": False, "vocab": vocab, "merges": []},
        **parts,
    }


def add_char_tokenizer(directory, size):
    """One character a token: the text tells the ids."""
    vocab = {chr(CHAR + i): i for i in range(size)}
    content = bpe(vocab, decoder={"type": "Fuse"})
    (directory / "tokenizer.json").write_text(json.dumps(content))
    return directory


def to_text(ids):
    return "".join(chr(CHAR + i) for i in ids)


def to_ids(text):
    return [ord(c) - CHAR for c in text]


def byte_alphabet():
    """GPT-2's printable stand-ins for the 256 bytes."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in plain]
    return {b: chr(b) for b in plain} | {b: chr(256 + n) for n, b in enumerate(others)}


def add_byte_tokenizer(directory):
    """One byte a token, ids 0 to 255; 256 ends a text."""
    vocab = {c: b for b, c in byte_alphabet().items()}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    end = {"id": 256, "content": "<|endoftext|>", "single_word": False, "lstrip": False,
           "rstrip": False, "normalized": False, "special": True}
    content = bpe(vocab | {"<|endoftext|>": 256}, added_tokens=[end], pre_tokenizer=level,
                  decoder=level)
    (directory / "tokenizer.json").write_text(json.dumps(content))
    return directory


def add_stories_tokenizer(directory, stories):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(stories / name, directory / name)
    return directory


# ---- Measuring --------------------------------------------------------------------------------


def random_ids(vocab, rows=2, length=23, seed=0):
    randoms = torch.Generator().manual_seed(seed)
    return torch.randint(0, vocab, (rows, length), generator=randoms)


_numbers = itertools.count()


def _ids_file(folder, ids):
    file = folder / f"ids-{next(_numbers)}.json"
    file.write_text(json.dumps({"ids": torch.as_tensor(ids).tolist()}))
    return file


def probe_tensors(probe, what, model, ids, folder):
    out = folder / f"{what}-{next(_numbers)}.safetensors"
    probe(what, model, _ids_file(folder, ids), out)
    return load_file(out)


def probe_logits(probe, model, ids, folder):
    return probe_tensors(probe, "logits", model, ids, folder)["logits"]


def probe_balance(probe, model, ids, folder):
    return json.loads(probe("balance", model, _ids_file(folder, ids)).stdout)


def hf_logits(model, ids):
    with torch.no_grad():
        return model(torch.as_tensor(ids), use_cache=False).logits.float()


def open_in_transformers(hf, directory, **kw):
    model = hf.AutoModelForCausalLM.from_pretrained(
        directory, trust_remote_code=True, dtype=torch.float32, experts_implementation="eager", **kw
    )
    return model.eval()


def max_difference(a, b):
    assert a.shape == b.shape
    return (a.double() - b.double()).abs().max().item()


def tensors_of(directory):
    """Every stored tensor by name, shards joined, as stored."""
    found = {}
    for file in sorted(directory.glob("*.safetensors")):
        with safe_open(file, "pt") as opened:
            assert opened.metadata() == {"format": "pt"}
            for name in opened.keys():
                assert name not in found
                found[name] = opened.get_tensor(name)
    return found


def same_bits(a, b):
    """Equal as bytes, signed zeros and all."""
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(
        a.contiguous().view(torch.uint8), b.contiguous().view(torch.uint8)
    )


def files_of(directory, *but):
    return {p.name: p.read_bytes() for p in sorted(directory.iterdir()) if p.name not in but}
