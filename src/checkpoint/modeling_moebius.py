"""Mixture-of-experts layers over a dense model of transformers, as moebius writes them.

The model is the source's own class; the feed-forward networks of the layers that config.moebius
lists are replaced. Every expert is a network of the source's own kind, so a checkpoint's names are
the source's with `experts.N.` put in. Opens with trust_remote_code=True.
"""

import copy

import torch
from torch import nn
from transformers import LlamaConfig as BaseConfig
from transformers import LlamaForCausalLM as BaseModel

LAYERS = "model.layers"
FFN = "mlp"
FFN_IN_LAYER = False


class MoebiusConfig(BaseConfig):
    model_type = "moebius"

    def __init__(self, moebius=None, **kwargs):
        super().__init__(**kwargs)
        self.moebius = moebius or {"format": 1, "layers": []}


def of_width(dense, width):
    """A copy of a dense network with `width` neurons, whatever its linear modules are called. In
    GPT-2's Conv1D the weight stands transposed."""
    ffn = copy.deepcopy(dense)
    parts = [m for m in ffn.modules() if getattr(m, "weight", None) is not None and m.weight.dim() == 2]
    transposed = not isinstance(parts[0], nn.Linear)
    neurons = parts[0].weight.shape[1 if transposed else 0]
    for part in parts if width != neurons else []:
        into = part is not parts[-1]  # into the neurons, or down from them
        shape = list(part.weight.shape)
        shape[0 if into != transposed else 1] = width
        part.weight = nn.Parameter(part.weight.new_empty(shape))
        if into and part.bias is not None:
            part.bias = nn.Parameter(part.bias.new_empty(width))
        for name in ("out_features", "nf") if into else ("in_features", "nx"):
            if hasattr(part, name):
                setattr(part, name, width)
    return ffn


class MoebiusMoe(nn.Module):
    """Scores in f32, the K best experts (whole groups), their weighted sum."""

    def __init__(self, dense, hidden_size, spec):
        super().__init__()
        if spec.get("router_scores", "linear") != "linear":
            raise ValueError(f"this modeling_moebius.py does not know all of {spec}")
        self.top_k = spec["top_k"]
        self.kind = spec.get("router_weights", "softmax_renorm")
        self.group = spec["experts"] // spec.get("router_groups", spec["experts"])
        self.router = nn.Linear(hidden_size, spec["experts"], bias=False)
        expert = of_width(dense, spec["width"])
        self.experts = nn.ModuleList(copy.deepcopy(expert) for _ in range(spec["experts"]))
        self.shared = of_width(dense, spec["shared_width"]) if spec.get("shared_width", 0) else None
        gated = spec.get("shared_gate", False)
        self.shared_gate = nn.Linear(hidden_size, 1, bias=False) if gated else None

    def choose(self, logits):
        if self.group == 1:
            return torch.sort(logits, dim=-1, descending=True, stable=True)[1][:, : self.top_k]
        scores = logits.unflatten(-1, (-1, self.group)).sum(-1)
        groups = torch.sort(scores, dim=-1, descending=True, stable=True)[1]
        groups = groups[:, : self.top_k // self.group]
        members = torch.arange(self.group, device=logits.device)
        return (groups.unsqueeze(-1) * self.group + members).flatten(1)

    def weigh(self, logits, ids):
        if self.kind == "softmax_renorm":
            return torch.softmax(logits.gather(1, ids), -1)
        if self.kind == "softmax":
            return torch.softmax(logits, -1).gather(1, ids)
        if self.kind == "sigmoid":
            return torch.sigmoid(logits.gather(1, ids))
        if self.kind == "one":
            return torch.ones_like(ids, dtype=logits.dtype)
        raise ValueError(f"router_weights {self.kind} is not known")

    def forward(self, hidden_states):
        x = hidden_states.reshape(-1, hidden_states.shape[-1])
        logits = nn.functional.linear(x.float(), self.router.weight.float())
        ids = self.choose(logits)
        weights = self.weigh(logits, ids).to(x.dtype)
        y = torch.zeros_like(x)
        for e, expert in enumerate(self.experts):
            tokens, place = torch.where(ids == e)
            if tokens.numel():
                y = y.index_add(0, tokens, expert(x[tokens]) * weights[tokens, place, None])
        if self.shared is not None:
            shared = self.shared(x)
            y = y + (shared if self.shared_gate is None else torch.sigmoid(self.shared_gate(x)) * shared)
        return y.reshape(hidden_states.shape)


def take_dense(layer):
    """The layer's dense network as one module. OPT has its parts in the layer itself: there the
    first part's place is taken, and the others do nothing any more."""
    if not FFN_IN_LAYER:
        return getattr(layer, FFN)
    dense = nn.Sequential()
    for name in ("fc1", "activation_fn", "fc2"):
        dense.add_module(name, getattr(layer, name))
        setattr(layer, name, nn.Identity())
    return dense


class MoebiusForCausalLM(BaseModel):
    config_class = MoebiusConfig

    def __init__(self, config):
        super().__init__(config)
        layers = self.get_submodule(LAYERS)
        for spec in config.moebius["layers"]:
            layer = layers[spec["layer"]]
            setattr(layer, FFN, MoebiusMoe(take_dense(layer), config.hidden_size, spec))
