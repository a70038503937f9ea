"""One MoE layer, forward and backward in bf16, at the shapes of Mixtral and Qwen3-30B-A3B: moebius beside products of all
experts at once (at::_grouped_mm) and a loop over experts, each in a process of its own after a check that all compute
the same. TFLOP/s are medians (least - most), shares are of the bf16 dot product measured between the stretches. Options go
to the program: moe_layer.py --device cuda --tokens 8192."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from common import ENVIRONMENT, MOEBIUS
from shapes import MIXTRAL, QWEN3, header

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        for name, config in (("Mixtral", MIXTRAL), ("Qwen3-30B-A3B", QWEN3)):
            header(name, "forward TFLOP/s", "of the peak", "backward TFLOP/s", "of the peak")
            (Path(folder) / "config.json").write_text(json.dumps(config))
            for way in ("moebius", "grouped_mm", "loop"):
                # Threads of OpenMP wait as each likes it best: moebius has others of its own.
                env = {**ENVIRONMENT, **({"OMP_WAIT_POLICY": "passive"} if way == "moebius" else {})}
                subprocess.run([MOEBIUS.parent / "moe_layer", folder, "--way", way, *sys.argv[1:]], check=True, env=env)
