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


def linear_parts(ffn):
    """Names of the modules that hold a network's matrices; the last one leads down."""
    return [n for n, m in ffn.named_modules() if getattr(m, "weight", None) is not None and m.weight.dim() == 2]


def of_width(dense, width):
    """A copy of a dense network with `width` neurons, whatever its linear modules are called. In
    GPT-2's Conv1D the weight stands transposed."""
    ffn = copy.deepcopy(dense)
    parts = [ffn.get_submodule(n) for n in linear_parts(ffn)]
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


class Unbiased(nn.Module):
    """The way down of a network whose bias is added elsewhere."""

    def __init__(self, part):
        super().__init__()
        self.weight = part.weight
        self.transposed = not isinstance(part, nn.Linear)

    def forward(self, x):
        return x @ (self.weight if self.transposed else self.weight.T)


def without_down_bias(ffn):
    name = linear_parts(ffn)[-1]
    parent, _, child = name.rpartition(".")
    setattr(ffn.get_submodule(parent), child, Unbiased(ffn.get_submodule(name)))
    return ffn


class MoebiusRouter(nn.Linear):
    """Scores of all experts, in f32: linear, or what a neuron of each expert answers."""

    def __init__(self, hidden_size, spec, dense):
        parts = [dense.get_submodule(n) for n in linear_parts(dense)]
        neurons = spec.get("router_scores", "linear") == "neurons"
        biased = neurons and parts[0].bias is not None
        super().__init__(hidden_size, spec["experts"], bias=biased or spec.get("router_bias", False))
        self.activation = None
        if neurons:  # the network's own, which holds no weight
            self.activation = getattr(dense, "act_fn", None) or getattr(dense, "act", None) or dense.activation_fn
            gated = len(parts) == 3
            self.up = nn.Linear(hidden_size, spec["experts"], bias=biased) if gated else None
        if spec.get("router_weights") == "one_plus":
            self.scale = nn.Parameter(torch.zeros(spec["experts"]))

    def forward(self, x):
        def affine(part):
            return nn.functional.linear(x, part.weight.float(), None if part.bias is None else part.bias.float())

        if self.activation is None:
            return affine(self)
        answer = self.activation(affine(self))
        return (answer if self.up is None else answer * affine(self.up)).abs()


class MoebiusMoe(nn.Module):
    """Scores in f32, the K best experts (whole groups), their weighted sum."""

    def __init__(self, dense, hidden_size, spec):
        super().__init__()
        if spec.get("router_scores", "linear") not in ("linear", "neurons"):
            raise ValueError(f"this modeling_moebius.py does not know all of {spec}")
        self.top_k = spec["top_k"]
        self.kind = spec.get("router_weights", "softmax_renorm")
        self.group = spec["experts"] // spec.get("router_groups", spec["experts"])
        self.router = MoebiusRouter(hidden_size, spec, dense)
        once = spec.get("bias_once", False) and dense.get_submodule(linear_parts(dense)[-1]).bias is not None
        self.bias = nn.Parameter(torch.zeros(hidden_size)) if once else None
        finish = without_down_bias if once else lambda ffn: ffn
        expert = finish(of_width(dense, spec["width"]))
        self.experts = nn.ModuleList(copy.deepcopy(expert) for _ in range(spec["experts"]))
        shared = spec.get("shared_width", 0)
        self.shared = finish(of_width(dense, shared)) if shared else None
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
        if self.kind == "sigmoid_renorm":
            shares = torch.sigmoid(logits.gather(1, ids))
            return shares / (shares.sum(-1, keepdim=True) + 1e-20)
        if self.kind == "one":
            return torch.ones_like(ids, dtype=logits.dtype)
        if self.kind == "one_plus":
            return 1 + (torch.softmax(logits, -1) * self.router.scale.float()).gather(1, ids)
        raise ValueError(f"router_weights {self.kind} is not known")

    def forward(self, hidden_states):
        x = hidden_states.reshape(-1, hidden_states.shape[-1])
        logits = self.router(x.float())
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
        if self.bias is not None:
            y = y + self.bias
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
