"""A tiny data set that can be learned, networks, and a training to kill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch._dynamo  # the first optimizer imports it: before the fork, not after each
from torch import nn

from edgeprune import files
from edgeprune.data import Dataset, Split
from edgeprune.models import Convention
from edgeprune.train import Recipe, fit, loop

CONVENTION = Convention(size=8, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
RECIPE = Recipe(
    epochs=4,
    batch_size=16,
    optimizer="adamw",
    lr=3e-3,
    warmup_epochs=1,
    precision="fp32",
    label_smoothing=0.05,
    augment="none",
)


class Images(Split):
    """A split in memory: uint8 [n, 8, 8, 3]; the class is which quarter is bright."""

    canvas = 8

    def __init__(self, n: int, seed: int, classes: int = 4) -> None:
        rng = np.random.default_rng(seed)
        self.labels = rng.integers(0, classes, n).astype(np.int64)
        self.pixels = rng.integers(0, 120, (n, 8, 8, 3)).astype(np.uint8)
        for image, label in zip(self.pixels, self.labels, strict=True):
            row, column = 4 * (label // 2), 4 * (label % 2)
            image[row : row + 4, column : column + 4] += 60

    def images(self, indices: Any) -> np.ndarray:
        return self.pixels[indices]


def dataset(n: int = 160) -> Dataset:
    parts = {"train": Images(n, 1), "validation": Images(64, 2), "test": Images(64, 3)}
    return Dataset("quarters", ("a", "b", "c", "d"), **parts, source={"n": n})


def network(seed: int = 0, norm: bool = True) -> nn.Sequential:
    """Convolution, batch norm, dropout: everything that has a state or draws random numbers."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=not norm),
        nn.BatchNorm2d(8) if norm else nn.Identity(),
        nn.ReLU(inplace=True),
        nn.Conv2d(8, 16, 3, stride=2, padding=1),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(64, 4),
    )


def train_to_file(out: str, state: str) -> None:
    """In a process of its own, to be killed: one thread, the state written at every batch."""
    torch.set_num_threads(1)
    loop.SAVE_EVERY = 0.0
    model = network()
    fit(model, dataset(), CONVENTION, RECIPE, state=Path(state))
    files.write_tensors(out, model.state_dict())
