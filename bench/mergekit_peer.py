"""`mergekit-moe` 0.1.5 and `moebius convert` on the same job: a dense model becomes a Mixtral of four
copies of its FFNs in every layer, top-2, routers drawn at random, in the dtype of the source. Time
and peak memory on TinyLlama-1.1B's shape in bf16, taking turns; whether the result is the dense
model on stories260K in f32, as transformers computes it. The peer gets a virtual environment of its
own, which sees the project's packages.
usage: mergekit_peer.py [ROUNDS]"""

import shutil
import subprocess
import sys
import sysconfig
import venv

from common import DATA, MOEBIUS, WORK, median, run_with_peak, spread, tinyllama

rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
EXPERTS, TOP_K = 4, 2


def installed_peer():
    folder = WORK / "mergekit-venv"
    if not (folder / "bin/mergekit-moe").exists():
        WORK.mkdir(parents=True, exist_ok=True)
        venv.create(folder, clear=True, with_pip=True)
        ours = sysconfig.get_path("purelib")
        theirs = sysconfig.get_path("purelib", vars={"base": folder, "platbase": folder})
        with open(f"{theirs}/moebius.pth", "w") as f:
            f.write(ours + "\n")
        subprocess.run([folder / "bin/pip", "install", "-q", "--disable-pip-version-check", "mergekit==0.1.5"],
                       check=True)
    return folder / "bin/mergekit-moe"


def theirs(peer, source, dtype, out):
    plan = WORK / "mergekit.yml"
    copies = f"  - source_model: {source}\n    positive_prompts: ['']\n" * EXPERTS
    plan.write_text(f"base_model: {source}\ngate_mode: random\ndtype: {dtype}\nexperts_per_token: {TOP_K}\n"
                    f"experts:\n{copies}")
    return [peer, plan, out, "--i-understand-this-is-not-useful-without-training", "--quiet", "--random-seed", "0"]


def ours(source, out):
    return [MOEBIUS, "convert", source, "-o", out, "--layers", "all", "--experts", EXPERTS, "--top-k", TOP_K,
            "--log-level", "warn"]


def distance(dense, moe):
    """max |logit difference| / max |logit| over a text, f32."""
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    text = (DATA / "text/tinystories_sample_2M.txt").read_text()[:2000]
    ids = transformers.AutoTokenizer.from_pretrained(dense)(text, return_tensors="pt").input_ids[:, :256]
    with torch.inference_mode():
        a, b = (transformers.AutoModelForCausalLM.from_pretrained(m, dtype=torch.float32)(ids).logits
                for m in (dense, moe))
    return float((a - b).abs().max() / a.abs().max())


peer = installed_peer()
out = WORK / "mergekit-out"
jobs = {"mergekit-moe": lambda source, dtype: theirs(peer, source, dtype, out),
        "moebius convert": lambda source, dtype: ours(source, out)}
small, large = DATA / "models/stories260K", tinyllama()
for name, job in jobs.items():
    shutil.rmtree(out, ignore_errors=True)
    run_with_peak(*job(small, "float32"))
    print(f"{name:16} on stories260K: max |logit difference| / max |logit| to the dense model {distance(small, out):.1e}",
          flush=True)
seconds, peaks = {name: [] for name in jobs}, dict.fromkeys(jobs, 0)
for turn in range(-1, rounds):  # the first one warms up
    for name, job in jobs.items():
        shutil.rmtree(out, ignore_errors=True)
        subprocess.run(["sync"], check=True)
        took, peak = run_with_peak(*job(large, "bfloat16"))
        peaks[name] = max(peaks[name], peak)
        if turn >= 0:
            seconds[name].append(took)
size = sum(f.stat().st_size for f in out.glob("*.safetensors"))
shutil.rmtree(out)
print(f"TinyLlama's shape, bf16, {size / 1e9:.2f} GB written, median of {rounds}:")
for name in jobs:
    print(f"{name:16} {median(seconds[name]):7.2f} s ({spread(seconds[name])}), "
          f"RssAnon + RssShmem at most {peaks[name] / 1e9:.2f} GB")
print(f"ratio of medians {median(seconds['mergekit-moe']) / median(seconds['moebius convert']):.1f}")
