"""The main job from beginning to end on a small real data set, as a user types it (``make demo``).

scikit-learn's 1,797 handwritten digits at 32 pixels, MobileNetV1 from scratch: train, prune by the
paper's procedure, export, measure, report. Offline, a few minutes on two cores. The runs lie in
``.demo/runs``.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(".demo")
COMMANDS = (
    "prune --model mobilenetv1-0.5 --data digits --epochs 12 --retrain-epochs 2 --step 0.25 --max-steps 12",
    "export",
    "bench --device cpu",
    "plot --figure all",
    "report",
)


def main() -> int:
    started = time.perf_counter()
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    for words in COMMANDS:
        print(f"\n$ edgeprune {words}", flush=True)
        done = subprocess.run([sys.executable, "-m", "edgeprune", *words.split()], cwd=FOLDER)
        if done.returncode:
            return done.returncode
    run = next((FOLDER / "runs").iterdir())
    print(f"\nDone in {time.perf_counter() - started:.0f} s.")
    print(f"report: {run / 'report.html'}\nnetworks: {run / 'dense.onnx'}, {run / 'pruned.onnx'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
