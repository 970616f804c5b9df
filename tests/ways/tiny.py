"""A network and a data set that train in a second, and a process that dies where it is told to."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgeprune import files, prune, report, train, ways  # noqa: F401  preloaded for every child
from edgeprune.cli import app, errors

NETWORK = """
from torch import nn

def tiny(classes):
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 12, 3, stride=2, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.1), nn.Linear(12, classes),
    )
"""
WORDS = (
    "prune --model {here}/net.py:tiny --data {here}/tiny.npz --size 16 --epochs 3 --batch-size 16 --lr 0.01 "
    "--retrain-epochs 2 --step 0.25 --max-steps 3 --max-drop 60 --round-to 1 --precision fp32 --name r"
)


def weights(path: Path) -> None:
    """The network's weights, fresh, as a file."""
    made: dict[str, Any] = {}
    exec(NETWORK, made)
    torch.manual_seed(0)
    files.write_tensors(path, made["tiny"](3).state_dict())


def prepare(folder: Path) -> str:
    """Write network and data into ``folder``; the command's words."""
    (folder / "net.py").write_text(NETWORK)
    rng = np.random.default_rng(0)
    parts: dict[str, Any] = {}
    for part, n in (("train", 96), ("val", 48), ("test", 48)):
        labels = np.arange(n) % 3
        images = rng.integers(0, 120, (n, 16, 16, 3)).astype(np.uint8)
        images[np.arange(n), :, :, labels] += 100  # the class is the colour
        parts |= {f"{part}_images": images, f"{part}_labels": labels[:, None]}
    np.savez(folder / "tiny.npz", **parts)
    return WORDS.format(here=folder)


def run(folder: str, words: str, die_at: int, counted: str = "") -> None:
    """Run a command in ``folder``; die of SIGKILL at the ``die_at``-th write that is being made safe."""
    os.chdir(folder)
    calls = 0

    def dying(function: Any) -> Any:
        def wrapped(*args: Any, **more: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == die_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **more)

        return wrapped

    os.fsync, os.replace = dying(os.fsync), dying(os.replace)
    with open(os.devnull, "w") as quiet, contextlib.redirect_stdout(quiet), open("log", "a") as log:
        sys.stderr = log
        code = errors.run(app.app, words.split())
    if counted:
        Path(counted).write_text(str(calls))
    os._exit(code)
