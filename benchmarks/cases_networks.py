"""Sixteen small networks that are no classifiers of images, and what they are fed with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv(i: int, o: int, k: int = 3, s: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(i, o, k, s, k // 2, bias=False), nn.BatchNorm2d(o), nn.ReLU())


class UNet(nn.Module):
    """A mask [N, 1, H, W]."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = conv(3, 16), conv(16, 32), conv(32, 64)
        self.up2, self.up1 = nn.ConvTranspose2d(64, 32, 2, 2), nn.ConvTranspose2d(32, 16, 2, 2)
        self.d, self.e, self.last = conv(64, 32), conv(32, 16), nn.Conv2d(16, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.a(x)
        b = self.b(F.max_pool2d(a, 2))
        c = self.c(F.max_pool2d(b, 2))
        d = self.d(torch.cat([self.up2(c), b], 1))
        y: Tensor = self.last(self.e(torch.cat([self.up1(d), a], 1)))
        return y


class C2f(nn.Module):
    """YOLOv8's block: halves, bottlenecks, all of them beside each other."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.one, self.two = conv(c, c, 1), conv(3 * c // 2, c, 1)
        self.m = nn.Sequential(conv(c // 2, c // 2), conv(c // 2, c // 2))

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.one(x).chunk(2, 1)
        y: Tensor = self.two(torch.cat([a, b, b + self.m(b)], 1))
        return y


class YOLOv8(nn.Module):
    """Decoded boxes [N, 4 + 6, A], and the maps that they come from."""

    def __init__(self, classes: int = 6, bins: int = 8) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(3, 16, s=2), conv(16, 32, s=2), C2f(32))
        self.down = nn.ModuleList([nn.Sequential(conv(32, 32, s=2), C2f(32)) for _ in range(2)])
        self.box = nn.ModuleList([nn.Conv2d(32, 4 * bins, 1) for _ in range(2)])
        self.cls = nn.ModuleList([nn.Conv2d(32, classes, 1) for _ in range(2)])
        self.bins = bins

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        x, maps = self.stem(x), []
        for down, box, cls in zip(self.down, self.box, self.cls, strict=True):
            x = down(x)
            maps.append(torch.cat([box(x), cls(x)], 1))
        return torch.cat([self.decoded(m, 8 * 2**i) for i, m in enumerate(maps)], 2), maps

    def decoded(self, m: Tensor, stride: int) -> Tensor:
        n, _, h, w = m.shape
        edges, scores = m.flatten(2).split([4 * self.bins, m.shape[1] - 4 * self.bins], 1)
        steps = torch.arange(self.bins, dtype=m.dtype)
        far = (edges.view(n, 4, self.bins, h * w).softmax(2) * steps[:, None]).sum(2)
        ys, xs = torch.meshgrid(torch.arange(h) + 0.5, torch.arange(w) + 0.5, indexing="ij")
        at = torch.stack([xs.flatten(), ys.flatten()])
        low, high = at - far[:, :2], at + far[:, 2:]
        return torch.cat([(low + high) / 2 * stride, (high - low) * stride, scores.sigmoid()], 1)


class YOLOv5(nn.Module):
    """The raw heads alone, [N, 3 anchors, H, W, 5 + 6]."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Sequential(conv(3, 16, s=2), conv(16, 32, s=2)), conv(32, 48, s=2)
        self.heads = nn.ModuleList([nn.Conv2d(32, 33, 1), nn.Conv2d(48, 33, 1)])

    def forward(self, x: Tensor) -> list[Tensor]:
        a = self.a(x)
        maps = [head(y) for head, y in zip(self.heads, (a, self.b(a)), strict=True)]
        return [m.view(m.shape[0], 3, 11, *m.shape[2:]).permute(0, 1, 3, 4, 2) for m in maps]


class Pooled(nn.Module):
    """A small backbone, [N, 64]."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(3, 16, s=2), conv(16, 32, s=2), conv(32, 64, s=2))

    def forward(self, x: Tensor) -> Any:
        return self.body(x).mean((2, 3))


class MultiTask(Pooled):
    def __init__(self) -> None:
        super().__init__()
        self.kind, self.age = nn.Linear(64, 7), nn.Linear(64, 1)

    def forward(self, x: Tensor) -> Any:
        y = super().forward(x)
        return {"kind": self.kind(y), "age": self.age(y)[:, 0]}


class Age(Pooled):
    def __init__(self) -> None:
        super().__init__()
        self.age = nn.Linear(64, 1)

    def forward(self, x: Tensor) -> Any:
        return 40 + 10 * self.age(super().forward(x))


class Labels(Pooled):
    def __init__(self) -> None:
        super().__init__()
        self.labels = nn.Linear(64, 14)

    def forward(self, x: Tensor) -> Any:
        return self.labels(super().forward(x)).sigmoid()


class Embedding(Pooled):
    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(64, 32)

    def forward(self, x: Tensor) -> Any:
        return F.normalize(self.last(super().forward(x)), dim=1)


class Siamese(Embedding):
    """Two images; how far they are apart, and both embeddings."""

    def forward(self, left: Tensor, right: Tensor) -> Any:  # type: ignore[override]
        a, b = super().forward(left), super().forward(right)
        return {"distance": (a - b).square().sum(1), "left": a, "right": b}


class Features(nn.Module):
    """Three maps of a ResNet-18 by their names."""

    def __init__(self) -> None:
        super().__init__()
        from torchvision import models
        from torchvision.models.feature_extraction import create_feature_extractor

        nodes = {"layer1": "low", "layer2": "middle", "layer3": "high"}
        self.body = create_feature_extractor(models.resnet18(), return_nodes=nodes)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        found: dict[str, Tensor] = self.body(x)
        return found


class ONet(nn.Module):
    """MTCNN's last network: box, landmarks, probability of a face."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 32, 3), nn.PReLU(32), nn.MaxPool2d(3, 2), nn.Conv2d(32, 48, 3), nn.PReLU(48),
            nn.MaxPool2d(3, 2), nn.Conv2d(48, 48, 3), nn.PReLU(48), nn.Flatten(), nn.Linear(2352, 96),
            nn.PReLU(96),
        )  # fmt: skip
        self.box, self.marks, self.face = nn.Linear(96, 4), nn.Linear(96, 10), nn.Linear(96, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y = self.body(x)
        return self.box(y), self.marks(y), self.face(y).softmax(1)


def autoencoder() -> nn.Module:
    return nn.Sequential(
        conv(1, 16, s=2), conv(16, 32, s=2), nn.ConvTranspose2d(32, 16, 2, 2), nn.ReLU(),
        nn.ConvTranspose2d(16, 1, 2, 2), nn.Sigmoid(),
    )  # fmt: skip


def espcn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 32, 5, padding=2), nn.ReLU(), nn.Conv2d(32, 16, 3, padding=1), nn.ReLU(),
        nn.Conv2d(16, 4, 3, padding=1), nn.PixelShuffle(2),
    )  # fmt: skip


class Block1d(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        self.a, self.b = nn.Conv1d(c, c, 5, padding=2), nn.Conv1d(c, c, 5, padding=2)
        self.n, self.m = nn.BatchNorm1d(c), nn.BatchNorm1d(c)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.m(self.b(F.relu(self.n(self.a(x))))))


def ecg() -> nn.Module:
    """Twelve leads, five rhythms."""
    return nn.Sequential(
        nn.Conv1d(12, 32, 7, 4, 3), nn.ReLU(), Block1d(32), nn.MaxPool1d(4), Block1d(32),
        nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(32, 5),
    )  # fmt: skip


def separable(c: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(c, c, 3, padding=1, groups=c, bias=False),
        nn.BatchNorm2d(c),
        nn.ReLU(),
        conv(c, c, 1),
    )


def dscnn() -> nn.Module:
    """Keyword spotting (Zhang et al. 2017): ten coefficients at 49 times, twelve words."""
    return nn.Sequential(
        nn.Conv2d(1, 32, (10, 4), 2, (5, 1)), nn.ReLU(), separable(32), separable(32),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 12),
    )  # fmt: skip


class CRNN(nn.Module):
    """Text in a line (Shi et al. 2015): [T, N, 26 letters and a blank]."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv(1, 16, s=2), conv(16, 32, s=2), conv(32, 48), nn.MaxPool2d((8, 1))
        )
        self.rnn = nn.LSTM(48, 24, bidirectional=True)
        self.last = nn.Linear(48, 27)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.rnn(self.body(x)[:, :, 0].permute(2, 0, 1))
        z: Tensor = self.last(y)
        return z


def lraspp() -> nn.Module:
    """Its norms' statistics follow at a tenth a step: torchvision's hundredth is for long training."""
    from torchvision import models

    model = models.segmentation.lraspp_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=8
    )
    for m in model.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.momentum = 0.1
    return model


# -- what they are fed with, where it is no image -------------------------------------------------------


def waves(n: int = 160, channels: int = 12, length: int = 400) -> Tensor:
    """Sums of a few sines of random pitch, and noise; [n, channels, length]."""
    g = torch.Generator().manual_seed(0)
    t = torch.linspace(0, 1, length)
    pitch = 2 + 20 * torch.rand(n, channels, 3, 1, generator=g)
    phase, loud = 6.3 * torch.rand(2, n, channels, 3, 1, generator=g)
    return (loud * torch.sin(6.3 * pitch * t + phase)).sum(2) / 6 + 0.1 * torch.randn(
        n, channels, length, generator=g
    )


def blobs(n: int, channels: int, h: int, w: int, seed: int = 0) -> Tensor:
    """Coarse noise made smooth, and fine noise."""
    g = torch.Generator().manual_seed(seed)
    coarse = torch.randn(n, channels, max(2, h // 8), max(2, w // 8), generator=g)
    smooth = F.interpolate(coarse, (h, w), mode="bilinear", align_corners=False)
    return smooth + 0.2 * torch.randn(n, channels, h, w, generator=g)


def labelled(name: str, n: int = 160) -> tuple[Tensor, Tensor]:
    """x and y of a small set that a network of this name can learn: those that average over places are
    asked what is there, never where."""
    if name == "ecg":  # which of five leads is loudest
        x = waves(n)
        x[torch.arange(n), torch.arange(n) % 5] *= 3
        return x, torch.arange(n) % 5
    if name == "dscnn":  # which of twelve sounds, at any time
        x, sounds = blobs(3 * n, 1, 49, 10), 2 * blobs(12, 1, 16, 10, seed=1)[:, 0]
        for i in range(3 * n):
            start = i * 7 % 33
            x[i, 0, start : start + 16] += sounds[i % 12]
        return x, torch.arange(3 * n) % 12
    if name == "espcn":
        fine = blobs(n, 1, 48, 80)
        return F.avg_pool2d(fine, 2), fine
    if name == "autoencoder":
        x = blobs(n, 1, 32, 32).sigmoid()
        return x, x
    x = blobs(n, 3, 48, 48)
    bright = x.mean((2, 3))
    if name == "Age":
        return x, 40 + 20 * bright.mean(1)
    hues = torch.randn(3, 14, generator=torch.Generator().manual_seed(2))
    return x, (bright @ hues > 0).long()  # Labels: which of fourteen hues are in it


def lines() -> Iterator[Tensor]:
    """Batches of lines of text, as a data loader gives them."""
    for i in range(5):
        yield blobs(32, 1, 32, 96, seed=i)


def pairs() -> Iterator[dict[str, Tensor]]:
    """Batches of two images each, by the names of the arguments."""
    for i in range(5):
        yield {"left": blobs(32, 3, 48, 48, seed=i), "right": blobs(32, 3, 48, 48, seed=9 + i)}
