"""A study that is done in seconds, a worker as a process, and what of a study no kill may change."""

from __future__ import annotations

import contextlib
import csv
import os
import sys
from pathlib import Path
from typing import Any

from edgeprune import files, records, runs, study  # noqa: F401  preloaded for every child
from edgeprune.cli import app, errors
from edgeprune.report import study as drawn  # noqa: F401
from tests.ways import tiny

FILE = """
name = "tiny"
seeds = {seeds}
[train]
epochs = [3, 5]
batch_size = 16
lr = 0.01
size = 16
[data."{here}/tiny.npz"]
[models."{here}/net.py:tiny".inits.B]
[models."{here}/net.py:tiny".inits.A]
of = "B"
[flat]
points = 20.0
[ways.paper]
way = "paper"
step = 0.25
max_steps = 2
max_drop = 60.0
retrain_epochs = 1
[ways.control]
way = "scratch"
of = "paper"
budget = "compute"
"""
CLOCK = ("seconds", "time")


def prepare(folder: Path, seeds: tuple[int, ...] = (0, 1)) -> None:
    tiny.prepare(folder)
    (folder / "s.toml").write_text(FILE.format(here=".", seeds=list(seeds)))


def work(folder: str, *words: str) -> None:
    """A worker that writes its tables; the process ends with the command's code."""
    os.chdir(folder)
    with open(os.devnull, "w") as quiet, contextlib.redirect_stdout(quiet), open("log", "a") as log:
        sys.stderr = log
        code = errors.run(app.app, ["study", "s.toml", *words])
    os._exit(code)


def outcome(folder: Path) -> dict[str, Any]:
    """Weights bit by bit, histories without the clock, and the table."""
    found: dict[str, Any] = {}
    for path in sorted((folder / "runs").iterdir()):
        run = runs.Run(path)
        lines = [records.line_of(record) for record in run.told()[0]]
        weights = {
            f"{p.name}/{k}": v.numpy().tobytes()
            for p in sorted(path.glob("*.safetensors"))
            for k, v in files.read_tensors(p)[0].items()
        }
        history = [{k: v for k, v in line.items() if k not in CLOCK} for line in lines]
        found[path.name] = (weights, history, run.state_folder.exists())
    return {"runs": found, "table": table(folder)}


def table(folder: Path) -> list[dict[str, str]]:
    """The table of runs without the clock."""
    with open(folder / "studies" / "tiny" / "runs.csv", newline="") as f:
        return [{k: v for k, v in row.items() if k not in CLOCK} for row in csv.DictReader(f)]
