"""What splitting costs: perplexity on held-out text at 75, 50 and 25 % of the neurons active, without
training, beside the oracle that picks the experts whose outputs are largest, and after a short
training of the routers alone and of everything. On stories260K and on a model trained here.
usage: split_quality.py [TRAINING_STEPS]"""

import functools
import json
import sys

from common import DATA, WORK, moebius, stories, tokens

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 100
work = WORK / "split"
held, calibration, training = stories(work, held=100_000, calibration=100_000)


def perplexity(model):
    return json.loads(moebius("eval", model, "--data", held, "--json"))["perplexity"]


def trained_here():
    """A Llama of 4 layers with 512 neurons each, on the stories less those that are held out."""
    run = work / "dense"
    if not (run / "model").exists():
        config = work / "config.json"
        config.write_text(json.dumps({
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 512, "hidden_size": 192,
            "intermediate_size": 512, "num_hidden_layers": 4, "num_attention_heads": 6, "num_key_value_heads": 6,
            "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu",
            "bos_token_id": 1, "eos_token_id": 2, "tie_word_embeddings": True}))
        moebius("train", "--model-config", config, "--tokenizer", DATA / "models/stories260K", "--data", training,
                "--out", run, "--steps", 600, "--lr", 4e-3, "--warmup", 50, "--overwrite")
    return run / "model"


@functools.cache
def split(source, experts, active, partition, router):
    out = work / "-".join(str(x) for x in (source.name, active, partition, router))
    moebius("convert", source, "-o", out, "--method", "split", "--layers", "all", "--experts", experts, "--top-k",
            active, "--partition", partition, "--router", router, "--calibration", calibration, "--overwrite")
    return out


def oracle(model):
    """In transformers, each token takes the experts that add most to it; once without, to see that
    this measures as `moebius eval` does."""
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    opened = transformers.AutoModelForCausalLM.from_pretrained(model, trust_remote_code=True).eval()
    ids = tokens(model, held)

    @torch.inference_mode()
    def measure():
        total = count = 0
        for at in range(0, len(ids), 512):
            window = torch.tensor([ids[at : at + 512]])
            if window.shape[1] < 2:
                continue
            total += float(opened(window, labels=window).loss) * (window.shape[1] - 1)
            count += window.shape[1] - 1
        return float(torch.tensor(total / count).exp())

    plain, expected = measure(), perplexity(model)
    if abs(plain / expected - 1) > 1e-3:
        sys.exit(f"transformers measures {plain}, moebius {expected}")
    for layer in opened.model.layers:
        def forward(hidden, moe=layer.mlp):
            x = hidden.reshape(-1, hidden.shape[-1])
            parts = torch.stack([expert(x) for expert in moe.experts], 1)
            best = parts.norm(dim=2).topk(moe.top_k, dim=1).indices
            return parts.gather(1, best.unsqueeze(2).expand(-1, -1, x.shape[1])).sum(1).reshape(hidden.shape)
        layer.mlp.forward = forward
    return measure()


def after_training(model, what):
    moebius("train", "--init", model, "--data", training, "--out", work / "run", "--steps", steps, "--train", what,
            "--lr", 1e-3, "--balance", 0, "--overwrite")
    return perplexity(work / "run/model")


for name, source, experts in (("stories260K", DATA / "models/stories260K", 4), ("trained here", trained_here(), 16)):
    print(f"\n{name}: {experts} experts in every layer, held-out perplexity; dense {perplexity(source):.2f}")
    print(f"{'':38}{'75 %':>9}{'50 %':>9}{'25 %':>9}")
    rows = {}

    def row(title, value):
        rows[title] = [value(experts * share // 4) for share in (3, 2, 1)]
        print(f"{title:38}" + "".join(f"{v:9.2f}" for v in rows[title]), flush=True)

    for partition, router in (("random", "random"), ("random", "linear"), ("weights", "linear"),
                              ("activations", "neurons"), ("activations", "linear")):
        row(f"{partition}, {router} router",
            lambda active: perplexity(split(source, experts, active, partition, router)))
    row("activations, oracle", lambda active: oracle(split(source, experts, active, "activations", "linear")))
    for router in ("random", "linear"):
        gap = zip(rows[f"random, {router} router"], rows["activations, linear router"], rows["activations, oracle"])
        print(f"{f'closed of the gap to random, {router}':38}" + "".join(f"{(r - a) / (r - o):9.0%}" for r, a, o in gap))
    for what in ("router", "all"):
        row(f"the same, {steps} steps of {what}", lambda active: after_training(
            split(source, experts, active, "activations", "linear"), what))
