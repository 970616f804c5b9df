"""A detector as ultralytics builds them stays its own class: its own training, its own export, its own sizes.

The small one is written here after DetectionModel (layers that name what they read, C2f, C3, SPPF, a head
with strides and anchors that it keeps for one size); the real one runs where ultralytics is installed.
"""

from __future__ import annotations

import copy
import importlib.util
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeprune import cut, plan, trace
from edgeprune.prune import masked
from tests.graphs import relative
from tests.nets import randomised


class Conv(nn.Module):
    def __init__(self, i: int, o: int, k: int = 1, s: int = 1) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(i, o, k, s, k // 2, bias=False), nn.BatchNorm2d(o)
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))


class Bottleneck(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        self.cv1, self.cv2, self.add = Conv(c, c, 3), Conv(c, c, 3), True

    def forward(self, x: Tensor) -> Tensor:
        return x + self.cv2(self.cv1(x)) if self.add else self.cv2(self.cv1(x))


class C2f(nn.Module):
    def __init__(self, i: int, o: int, split: bool) -> None:
        super().__init__()
        self.c, self.by_size = o // 2, split
        self.cv1, self.cv2 = Conv(i, 2 * self.c), Conv(3 * self.c, o)
        self.m = nn.ModuleList([Bottleneck(self.c)])

    def forward(self, x: Tensor) -> Tensor:
        y = self.cv1(x)
        parts = list(y.split((self.c, self.c), 1) if self.by_size else y.chunk(2, 1))
        parts.extend(m(parts[-1]) for m in self.m)
        return self.cv2(torch.cat(parts, 1))


class C3(nn.Module):
    def __init__(self, i: int, o: int) -> None:
        super().__init__()
        self.cv1, self.cv2, self.cv3 = Conv(i, o // 2), Conv(i, o // 2), Conv(o, o)
        self.m = nn.Sequential(Bottleneck(o // 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.cv3(torch.cat((self.m(self.cv1(x)), self.cv2(x)), 1))


class SPPF(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        self.cv1, self.cv2, self.m = Conv(c, c // 2), Conv(2 * c, c), nn.MaxPool2d(5, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = [self.cv1(x)]
        y.extend(self.m(y[-1]) for _ in range(3))
        return self.cv2(torch.cat(y, 1))


class Concat(nn.Module):
    def forward(self, x: list[Tensor]) -> Tensor:
        return torch.cat(x, 1)


class Detect(nn.Module):
    """Raw maps in training; decoded boxes too in eval, by anchors that it keeps until the size changes."""

    shape: torch.Size | None = None
    anchors = torch.empty(0)
    strides = torch.empty(0)

    def __init__(self, nc: int, widths: tuple[int, ...], stride: tuple[int, ...]) -> None:
        super().__init__()
        self.nc, self.reg_max = nc, 4
        self.no = nc + 4 * self.reg_max
        self.register_buffer("stride", torch.tensor([float(s) for s in stride]))
        box, classes = 4 * self.reg_max, max(widths[0], nc)
        self.cv2 = nn.ModuleList(
            nn.Sequential(Conv(c, 16, 3), nn.Conv2d(16, box, 1)) for c in widths
        )
        self.cv3 = nn.ModuleList(
            nn.Sequential(Conv(c, classes, 3), nn.Conv2d(classes, nc, 1)) for c in widths
        )
        self.dfl = nn.Conv2d(self.reg_max, 1, 1, bias=False).requires_grad_(False)
        self.dfl.weight.data[:] = torch.arange(self.reg_max).view(1, -1, 1, 1)

    def forward(self, x: list[Tensor]) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        x = list(x)
        for i in range(len(x)):
            x[i] = torch.cat((self.cv2[i](x[i]), self.cv3[i](x[i])), 1)
        if self.training:
            return x
        shape = x[0].shape
        if self.shape != shape:
            self.anchors, self.strides = self.places(x)
            self.shape = shape
        flat = torch.cat([m.view(shape[0], self.no, -1) for m in x], 2)
        box, classes = flat.split((4 * self.reg_max, self.nc), 1)
        n, _, a = box.shape
        far = self.dfl(box.view(n, 4, self.reg_max, a).transpose(2, 1).softmax(1)).view(n, 4, a)
        low, high = far.chunk(2, 1)
        low, high = self.anchors - low, self.anchors + high
        boxes = torch.cat(((low + high) / 2, high - low), 1) * self.strides
        return torch.cat((boxes, classes.sigmoid()), 1), x

    def places(self, maps: list[Tensor]) -> tuple[Tensor, Tensor]:
        points, strides = [], []
        for m, s in zip(maps, self.stride, strict=True):  # type: ignore[call-overload]
            h, w = m.shape[2:]
            sy = torch.arange(h, device=m.device, dtype=m.dtype) + 0.5
            sx = torch.arange(w, device=m.device, dtype=m.dtype) + 0.5
            gy, gx = torch.meshgrid(sy, sx, indexing="ij")
            points.append(torch.stack((gx, gy), -1).view(-1, 2))
            strides.append(torch.full((h * w, 1), 1.0, dtype=m.dtype, device=m.device) * s)
        return torch.cat(points).T.unsqueeze(0), torch.cat(strides).T


class Detector(nn.Module):
    """Layers one after another; ``f`` is what each reads, ``save`` what is read again."""

    def __init__(self, nc: int = 2) -> None:
        super().__init__()
        rows: list[tuple[int | list[int], nn.Module]] = [
            (-1, Conv(3, 8, 3, 2)), (-1, Conv(8, 16, 3, 2)), (-1, C2f(16, 16, False)),
            (-1, Conv(16, 24, 3, 2)), (-1, C3(24, 24)), (-1, SPPF(24)),
            (-1, nn.Upsample(None, 2, "nearest")), ([-1, 2], Concat()), (-1, C2f(40, 16, True)),
            ([8, 5], Detect(nc, (16, 24), (4, 8))),
        ]  # fmt: skip
        for i, (f, m) in enumerate(rows):
            m.i, m.f = i, f  # type: ignore[assignment]
        self.model, self.save = nn.Sequential(*(m for _, m in rows)), [2, 5, 8]
        self.names = {0: "disc", 1: "square"}
        self.stride = self.model[-1].stride

    def forward(self, x: Tensor) -> object:
        y: list[Tensor | None] = []
        for m in self.model:
            if m.f != -1:
                x = y[m.f] if isinstance(m.f, int) else [x if j == -1 else y[j] for j in m.f]  # type: ignore[assignment, index, union-attr]
            x = m(x)
            y.append(x if m.i in self.save else None)
        return x


def drawn(n: int, seed: int = 0, size: int = 32) -> tuple[Tensor, Tensor, Tensor]:
    """Images of a disc or a square each: pixels, the classes, the centres in pixels."""
    random = np.random.default_rng(seed)
    images, classes = np.full((n, 3, size, size), 0.1, np.float32), random.integers(0, 2, n)
    centres = random.integers(6, size - 6, (n, 2))
    y, x = np.mgrid[:size, :size]
    for image, kind, (cx, cy) in zip(images, classes, centres, strict=True):
        dx, dy = np.abs(x - cx), np.abs(y - cy)
        image[:, (np.maximum(dx, dy) < 4) if kind else (dx**2 + dy**2 < 16)] = 1
    return torch.from_numpy(images), torch.from_numpy(classes), torch.from_numpy(centres)


def loss_of(maps: list[Tensor], classes: Tensor, centres: Tensor, strides: Tensor) -> Tensor:
    """Which class is where: a cell of each map that holds the centre is of the class, all others of none."""
    total = torch.zeros(())
    for m, s in zip(maps, strides.tolist(), strict=True):
        goal = torch.zeros_like(m[:, -2:])
        cx, cy = (centres / s).long().T
        goal[torch.arange(len(m)), classes, cy, cx] = 1
        total = total + F.binary_cross_entropy_with_logits(m[:, -2:], goal) + 1e-3 * m.abs().mean()
    return total


@pytest.fixture(scope="module")
def pruned() -> tuple[Detector, Detector]:
    torch.manual_seed(0)
    whole = Detector().eval()
    graph = trace(whole, torch.randn(2, 3, 32, 32))
    small = cut(graph, plan(graph, keep_flops=0.6, own_class=True))
    assert isinstance(small, Detector), small.edgeprune_reason
    assert small.stride is small.model[-1].stride
    return whole, small


def test_it_is_cut_exactly_and_runs_at_other_sizes() -> None:
    torch.manual_seed(0)
    whole = randomised(Detector())
    graph = trace(whole, torch.randn(2, 3, 32, 32, dtype=torch.float64))
    planned = plan(graph, keep_flops=0.6, own_class=True)
    assert abs(planned.reached()["flops"] - 0.6) < 0.05
    small = cut(graph, planned)
    assert type(small) is Detector
    for name in ("model.2.cv1.conv", "model.8.cv1.conv"):
        assert small.get_submodule(name).out_channels % 2 == 0
    assert small.model[8].c < 8  # type: ignore[index, union-attr]
    assert small.model[8].i == 8  # type: ignore[index, union-attr]  # as large as c was, and no size
    for h, w in ((32, 32), (64, 32), (32, 32)):
        x = torch.randn(3, 3, h, w, dtype=torch.float64)
        decoded, maps = small(x)
        expected, wanted = masked(graph, planned.keep)(x)
        assert relative(decoded, expected) < 1e-12
        assert all(relative(a, b) < 1e-12 for a, b in zip(maps, wanted, strict=True))


def test_its_own_training_goes_on(pruned: tuple[Detector, Detector]) -> None:
    small = copy.deepcopy(pruned[1]).train()
    optimizer = torch.optim.AdamW([p for p in small.parameters() if p.requires_grad], lr=5e-3)
    assert not small.model[-1].dfl.weight.requires_grad  # type: ignore[union-attr, index]
    losses = []
    for step in range(30):
        images, classes, centres = drawn(8, seed=step % 5)
        loss = loss_of(small(images), classes, centres, small.stride)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-5:]) < 0.6 * sum(losses[:5])


def test_its_own_export_goes_on(pruned: tuple[Detector, Detector], tmp_path: Path) -> None:
    small = pruned[1]
    x = drawn(1)[0]
    files = [tmp_path / "whole.onnx", tmp_path / "small.onnx"]
    for model, file in zip(pruned, files, strict=True):
        torch.onnx.export(model.eval(), (x,), str(file), dynamo=False, verbose=False)
    session = onnxruntime.InferenceSession(str(files[1]))
    decoded = session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]
    with torch.no_grad():
        assert relative(torch.from_numpy(decoded), small(x)[0]) < 1e-5
    assert files[1].stat().st_size < 0.8 * files[0].stat().st_size


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("ultralytics") is None,
    reason="ultralytics is not installed: pip install ultralytics",
)
@pytest.mark.parametrize("name", ["yolov5n.yaml", "yolov8n.yaml", "yolo11n.yaml"])
def test_ultralytics_trains_and_exports_what_was_cut(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("YOLO_OFFLINE", "true")
    monkeypatch.chdir(tmp_path)
    from benchmarks import ultralytics_yolo

    data = ultralytics_yolo.drawn(tmp_path / "set")
    words = {"epochs": 1, "plots": False, "workers": 0, "amp": False}
    row = ultralytics_yolo.through(name, data, tmp_path / "runs", 0.6, 64, **words)
    assert row["class"] == "DetectionModel"
    assert row["trained"] == f"DetectionModel, {row['left']:,}"
    assert row["left"] < 0.7 * row["params"]
    assert row["exact"] < 1e-12
    assert row["onnx"] < 1e-5
