"""How long ``edgeprune --help`` takes, against a bare Typer program, interleaved (benchmark b).

    python benchmarks/startup.py [--rounds 20]

Writes ``benchmarks/results/startup.md``. The aim: at most twice the bare program, without torch.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
BARE = """
import typer
app = typer.Typer()

@app.command()
def one(name: str = "x") -> None:
    "One command."

@app.command()
def two(name: str = "x") -> None:
    "Another command."

app()
"""
PROGRAMS = {
    "bare Typer program --help": [sys.executable, "-c", BARE, "--help"],
    "edgeprune --help": [sys.executable, "-m", "edgeprune", "--help"],
    "edgeprune bench --help": [sys.executable, "-m", "edgeprune", "bench", "--help"],
}


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--rounds", type=int, default=20)
    rounds = words.parse_args().rounds
    seconds: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for _ in range(rounds + 1):
        for name, command in PROGRAMS.items():
            started = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=HERE.parent)
            seconds[name].append(time.perf_counter() - started)
    taken = {name: np.array(values[1:]) for name, values in seconds.items()}  # the first warms up
    bare = taken["bare Typer program --help"]
    rng = np.random.default_rng(0)
    draws = rng.integers(0, rounds, (2000, rounds))
    lines = [
        "| program | median | against bare Typer | 95 % interval |",
        "| :-- | --: | --: | --: |",
    ]
    for name, values in taken.items():
        ratios = np.median(values[draws], axis=1) / np.median(bare[draws], axis=1)
        low, high = np.quantile(ratios, (0.025, 0.975))
        ratio = np.median(values) / np.median(bare)
        lines.append(
            f"| `{name}` | {np.median(values):.3f} s | {ratio:.2f} | {low:.2f} to {high:.2f} |"
        )
    text = (
        "# Start-up\n\nMade by `python benchmarks/startup.py`; do not edit. "
        f"{rounds} interleaved rounds, wall time of a fresh process.\n\n" + "\n".join(lines) + "\n"
    )
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "startup.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
