"""Converted models open in the generation of transformers before the pinned one too."""

import json
import os
import subprocess
import sys

import pytest
from conftest import ROOT
from tiny import edit_json, make_model, random_ids, save

OLD = ROOT / ".venv/transformers-4"

COMPARE = """
import json, sys, torch, transformers
assert transformers.__version__.startswith("4.5"), transformers.__version__
ids = torch.tensor(json.loads(sys.argv[3]))
logits, texts, names = [], [], []
for folder in sys.argv[1:3]:
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True, torch_dtype=torch.float32)
    with torch.no_grad():
        logits.append(model(ids).logits)
    texts.append(model.generate(ids[:1], max_new_tokens=5, do_sample=False, use_cache=True).tolist())
    names.append(type(model).__name__)
print(json.dumps({"names": names, "difference": (logits[0] - logits[1]).abs().max().item(), "equal": texts[0] == texts[1]}))
"""


@pytest.mark.short_cases(3)
@pytest.mark.parametrize(
    ("family", "layers", "wanted"),
    [("llama", "all", "MixtralForCausalLM"), ("llama", "1", "MoebiusForCausalLM"), ("gpt2", "all", "MoebiusForCausalLM"),
     ("opt", "all", "MoebiusForCausalLM"), ("qwen2", "1", "MoebiusForCausalLM"), ("granite", "all", "GraniteMoeForCausalLM"), ("qwen3", "1", "Qwen3MoeForCausalLM"),
     ("deepseek_v3", "1", "MoebiusForCausalLM")],
)
def test_opens_in_transformers_4(moebius, hf, tmp_path, family, layers, wanted):
    if not (OLD / "transformers").is_dir():
        pytest.fail(f"{OLD} is not there: run scripts/setup.sh --tests")
    dense = {"first_k_dense_replace": 3} if family == "deepseek_v3" else {}
    save(make_model(hf, family, **dense), tmp_path / "dense")
    config = json.loads((tmp_path / "dense/config.json").read_text())
    if "rope_parameters" in config:  # as the older generation spells it
        edit_json(tmp_path / "dense/config.json", rope_theta=config["rope_parameters"]["rope_theta"], rope_parameters=None)
    moebius("convert", tmp_path / "dense", "-o", tmp_path / "moe", "--layers", layers, check=True)
    vocab = config["vocab_size"]
    done = subprocess.run(
        [sys.executable, "-c", COMPARE, tmp_path / "dense", tmp_path / "moe", json.dumps(random_ids(vocab).tolist())],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(OLD), "HF_MODULES_CACHE": str(tmp_path / "modules")},
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["names"][1] == wanted
    assert result["difference"] <= 1e-4
    assert result["equal"]
