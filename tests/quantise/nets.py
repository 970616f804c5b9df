"""Small networks with what int8 has trouble with, as float .onnx files, and examples for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from edgeprune import export, quantise
from edgeprune.export import parity


def examples(n: int = 4, seed: int = 0, size: int = 12) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(8, 3, size, size, generator=generator) for _ in range(n)]


class Narrow(nn.Module):
    """A stem, an inverted residual block of MobileNetV2's kind, a head: made as PyTorch makes them.

    ``spread``: channels whose maps are up to so many times smaller than others', while the network gives
    the same (what makes them small is made up for where they are read).
    """

    def __init__(self, clip: float | None = None, spread: float = 1.0, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.clip = clip
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.widen = nn.Conv2d(8, 24, 1)
        self.deep = nn.Conv2d(24, 24, 3, padding=1, groups=24)
        self.narrow = nn.Conv2d(24, 8, 1)
        self.last = nn.Conv2d(8, 16, 3, stride=2)
        self.head = nn.Linear(16, 5)
        for made, read in ((self.widen, self.deep), (self.deep, self.narrow)):
            s = spread ** -torch.rand(24)
            made.weight.data *= s.view(-1, 1, 1, 1)
            made.bias.data *= s
            read.weight.data /= s.view(-1, 1, 1, 1) if read.groups > 1 else s.view(1, -1, 1, 1)
        s = spread ** -torch.rand(8)  # of the sum's maps: both that make it, both that read it
        for made in (self.stem, self.narrow):
            made.weight.data *= s.view(-1, 1, 1, 1)
            made.bias.data *= s
        for read in (self.widen, self.last):
            read.weight.data /= s.view(1, -1, 1, 1)

    def act(self, x: Tensor) -> Tensor:
        return torch.relu(x) if self.clip is None else x.clamp(0.0, self.clip)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.narrow(self.act(self.deep(self.act(self.widen(x)))))
        return self.head(self.act(self.last(x)).flatten(2)[:, :, ::5].mean(2))


def file(model: nn.Module, path: Path) -> Path:
    export(model.eval(), path, [examples(1)[0]])
    return path


def answers(path: Path, x: Tensor) -> np.ndarray:
    return parity.run_on(parity.session(path, 1), x)[0]


def kept(source: Path, path: Path) -> float:
    """Share of the float outputs' variance, on examples that did not calibrate."""
    x = torch.cat(examples(8, seed=99))
    a, b = answers(source, x), answers(path, x)
    return 1 - float(np.square(a - b).sum() / np.square(a - a.mean(0)).sum())


def quantised(source: Path, path: Path, method: str) -> Path:
    quantise.save(quantise.of_file(source, examples(), method).proto, path)
    return path
