"""A recording runs at other heights and widths, bit for bit; what cannot be open says why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeprune.graph import trace
from edgeprune.graph.record import record
from edgeprune.prune import cut, masked
from tests.graphs import random_keep, relative


def conv(i: int, o: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU(inplace=True)
    )


class UNet(nn.Module):
    """Skips, to whose size the maps from below are brought."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = conv(3, 6), conv(6, 8, 2), conv(8, 10, 2)
        self.up, self.top = conv(18, 8), conv(14, 6)
        self.out = nn.Conv2d(6, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.a(x)
        b = self.b(a)
        y = F.interpolate(self.c(b), size=b.shape[-2:], mode="bilinear")
        y = F.interpolate(self.up(torch.cat([y, b], 1)), size=a.shape[-2:], mode="nearest")
        return self.out(self.top(torch.cat([y, a], 1)))


class Anchored(nn.Module):
    """A detector's head: two levels, flattened, with anchors made of their sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.up = conv(3, 6, 2), conv(6, 8, 2), conv(14, 6)
        self.heads = nn.ModuleList([nn.Conv2d(6, 5, 1), nn.Conv2d(8, 5, 1)])

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        a = self.a(x)
        b = self.b(a)
        a = self.up(torch.cat([a, F.interpolate(b, scale_factor=2.0)], 1))
        maps = [head(level) for head, level in zip(self.heads, (a, b), strict=True)]
        grids, strides = [], []
        for level, stride in zip(maps, (2, 4), strict=True):
            h, w = level.shape[-2:]
            y, x_ = torch.meshgrid(torch.arange(h) + 0.5, torch.arange(w) + 0.5, indexing="ij")
            grids.append(torch.stack((x_, y), -1).view(-1, 2).to(x.dtype))
            strides.append(torch.full((h * w, 1), stride, dtype=x.dtype))
        anchors, stride_ = torch.cat(grids).t()[None], torch.cat(strides).t()
        flat = torch.cat([level.view(x.shape[0], 5, -1) for level in maps], 2)
        box, score = flat.split((4, 1), 1)
        lt, rb = box.chunk(2, 1)
        centres = (2 * anchors + rb - lt) / 2
        return torch.cat([centres * stride_, (lt + rb) * stride_, score.sigmoid()], 1), maps


class Pyramid(nn.Module):
    """FPN: lateral sums to the size of the larger map."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = conv(3, 6, 2), conv(6, 8, 2), conv(8, 9, 2)
        self.lateral = nn.ModuleList([nn.Conv2d(i, 7, 1) for i in (6, 8, 9)])
        self.out = nn.Conv2d(7, 3, 3, padding=1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        a = self.a(x)
        b = self.b(a)
        maps = [f(y) for f, y in zip(self.lateral, (a, b, self.c(b)), strict=True)]
        for i in (1, 0):
            maps[i] = maps[i] + F.interpolate(maps[i + 1], size=maps[i].shape[2:])
        return {str(i): self.out(y) for i, y in enumerate(maps)}


class Forward(nn.Module):
    """Two convolutions and one function behind them."""

    def __init__(self, f: Callable[[Forward, Tensor], Any]) -> None:
        super().__init__()
        self.f, self.a, self.b = f, conv(3, 8, 2), conv(8, 6)
        self.linear, self.head = nn.Linear(6 * 8 * 6, 5), nn.Linear(6, 5)
        self.last = nn.Conv2d(6, 4, 1)
        self.register_buffer("place", torch.rand(1, 6, 8, 6))

    def forward(self, x: Tensor) -> Any:
        return self.f(self, self.b(self.a(x)))


def same_padding(m: Forward, y: Tensor) -> Tensor:
    """TensorFlow's, of a window of 3 in steps of 2."""
    h, w = y.shape[-2:]
    more = [max((-(-n // 2) - 1) * 2 + 3 - n, 0) for n in (w, h)]
    y = F.pad(y, [more[0] // 2, more[0] - more[0] // 2, more[1] // 2, more[1] - more[1] // 2])
    return m.last(F.max_pool2d(y, 3, 2))


def windows(m: Forward, y: Tensor) -> Tensor:
    """Padded to windows of 4, which are mixed each alone."""
    n, c, h, w = y.shape
    y = F.pad(y, [0, -w % 4, 0, -h % 4])
    hp, wp = y.shape[-2:]
    y = y.view(n, c, hp // 4, 4, wp // 4, 4).permute(0, 2, 4, 3, 5, 1).reshape(-1, 16, c)
    y = torch.softmax(y @ y.transpose(1, 2), -1) @ y
    y = y.view(n, hp // 4, wp // 4, 4, 4, c).permute(0, 5, 1, 3, 2, 4).reshape(n, c, hp, wp)
    return m.last(y)


def pooled(m: Forward, y: Tensor) -> Tensor:
    return m.head(F.avg_pool2d(y, y.shape[2:]).flatten(1))


def attended(m: Forward, y: Tensor) -> Tensor:
    n, c, h, w = y.shape
    q = y.reshape(n, c, h * w).transpose(1, 2)
    return m.last(F.scaled_dot_product_attention(q, q, q).transpose(1, 2).reshape(n, c, h, w))


def _minus(a: Tensor, b: Tensor, turned: int) -> Tensor:
    return b - a if turned else a - b


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "unet": UNet, "anchors": Anchored, "pyramid": Pyramid,
    "espcn": lambda: Forward(lambda m, y: F.pixel_shuffle(m.last(y), 2)),
    "classifier": lambda: Forward(lambda m, y: m.head(F.adaptive_avg_pool2d(y, 1).flatten(1))),
    "pooled": lambda: Forward(pooled), "same padding": lambda: Forward(same_padding),
    "windows": lambda: Forward(windows), "attention": lambda: Forward(attended),
    "mean of places": lambda: Forward(
        lambda m, y: m.head(y.sum((2, 3)) / (y.shape[2] * y.shape[3]))),
}  # fmt: skip
STEPS = {"anchors"}  # only at even maps does the module itself work
FROZEN: dict[str, tuple[Callable[[Forward, Tensor], Any], str]] = {
    "flattened": (lambda m, y: m.linear(y.flatten(1)), "raises"),
    "table of places": (lambda m, y: m.last(y + m.place), "raises"),
    "another forward": (lambda m, y: m.last(y if y.shape[2] % 2 else y.relu()), "other things"),
    "other operands": (lambda m, y: m.last(_minus(y, y.relu(), y.shape[2] % 2)), "other things"),
    "cut back": (lambda m, y: m.last(F.pad(y, [0, 0, 0, -y.shape[2] % 4])[:, :, :y.shape[2]]),
                 "other things"),  # PyTorch tells nobody of a slice that takes all
    "a number": (lambda m, y: m.last(y * (1 / y.shape[3])), "depends on the size"),
    "a square": (lambda m, y: m.last(y) + torch.ones(y.shape[3] ** 2).sum(), "no known form"),
    "a literal": (lambda m, y: m.last(y) * torch.tensor(float(y.shape[2])), "depends on the size"),
}  # fmt: skip


def built(make: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    network = make().eval()
    for m in network.modules():
        if isinstance(m, nn.BatchNorm2d):
            nn.init.uniform_(m.running_mean, -1, 1)
            nn.init.uniform_(m.running_var, 0.5, 1.5)
    return network


def tensors(value: Any) -> list[Tensor]:
    return [v for v in torch.utils._pytree.tree_leaves(value) if isinstance(v, Tensor)]


def sizes(name: str) -> list[tuple[int, int]]:
    return [(24, 40), (16, 8)] + ([] if name in STEPS else [(17, 12), (31, 27), (9, 42)])


@pytest.mark.parametrize("name", NETWORKS)
def test_a_recording_is_the_forward_at_any_height_and_width(name: str) -> None:
    network = built(NETWORKS[name])
    recorded = record(network, torch.randn(2, 3, 16, 12))
    assert recorded.meta["frozen"] == {}
    for height, width in sizes(name):
        x = torch.randn(3, 3, height, width)
        with torch.no_grad():
            got, wanted = tensors(recorded(x)), tensors(network(x))
        assert len(got) == len(wanted) > 0
        assert all(torch.equal(a, b) for a, b in zip(got, wanted, strict=True)), (height, width)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("exact_norms", [False, True])
def test_a_cut_network_runs_at_another_size_and_is_the_masked_one(
    name: str, exact_norms: bool
) -> None:
    network = built(NETWORKS[name]).double()
    graph = trace(network, torch.randn(2, 3, 16, 12).double(), exact_norms=exact_norms)
    assert graph.groups
    assert set(graph.open["x"]) == {0, 2, 3}
    keep = random_keep(graph, 0, 0.5)
    small, whole = cut(network, graph, keep), masked(graph, keep)
    for height, width in sizes(name):
        x = torch.randn(3, 3, height, width).double()
        with torch.no_grad():
            pairs = list(zip(tensors(small(x)), tensors(whole(x)), strict=True))
        assert max(relative(a, b) for a, b in pairs) < 1e-12


@pytest.mark.parametrize("name", FROZEN)
def test_an_axis_that_cannot_be_open_is_frozen_with_the_reason(name: str) -> None:
    forward, reason = FROZEN[name]
    network = built(lambda: Forward(forward))
    graph = trace(network, torch.randn(2, 3, 16, 12))
    assert graph.frozen
    assert all(reason in why for why in graph.frozen.values())
    assert set(graph.open["x"]) == {0, 2, 3} - set(graph.frozen)
    x = torch.randn(5, 3, 16, 12)
    with torch.no_grad():
        assert torch.equal(graph.module(x), network(x))


def test_one_axis_alone_is_open() -> None:
    def read(m: Forward, y: Tensor) -> Tensor:  # a line of print: its height is given
        assert y.shape[2] == 8
        return m.head(F.max_pool2d(y, (8, 1)).squeeze(2).transpose(1, 2))

    network = built(lambda: Forward(read))
    recorded = record(network, torch.randn(2, 3, 16, 12))
    assert set(recorded.meta["frozen"]) == {2}
    x = torch.randn(3, 3, 16, 33)
    with torch.no_grad():
        assert torch.equal(recorded(x), network(x))


@pytest.mark.parametrize(
    ("strides", "size"),
    [(5, (63, 64)), (1, (52, 40))],  # 52: its half once grows as the batch does
)
def test_a_size_that_is_written_is_open_behind_strides(strides: int, size: tuple[int, int]) -> None:
    class Read(nn.Module):
        """A recogniser's neck, which writes how many lines its map has."""

        def __init__(self) -> None:
            super().__init__()
            self.stem, self.head = conv(3, 6), nn.Linear(6, 4)
            self.rest = nn.Sequential(*(conv(6, 6, 2) for _ in range(strides)))

        def forward(self, x: Tensor) -> Tensor:
            y = self.rest(self.stem(x))
            n, c, h, _ = y.shape
            return self.head(y.permute(0, 2, 3, 1).reshape(n, h, -1)[..., :c])

    network = built(Read)
    recorded = record(network, torch.randn(2, 3, *size))
    assert recorded.meta["frozen"] == {}
    for batch, height, width in ((3, *size), (2, 96, 70), (5, 33, 161)):
        x = torch.randn(batch, 3, height, width)
        with torch.no_grad():
            assert torch.equal(recorded(x), network(x))


def test_a_signal_and_a_clip_are_open() -> None:
    signal = nn.Sequential(nn.Conv1d(2, 4, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool1d(1)).eval()
    clip = nn.Sequential(nn.Conv3d(2, 4, 3, 2, 1), nn.AdaptiveAvgPool3d(1), nn.Flatten()).eval()
    assert set(trace(signal, torch.randn(2, 2, 20)).open["x"]) == {0, 2}
    assert set(trace(clip, torch.randn(2, 2, 4, 8, 8)).open["x"]) == {0, 2, 3, 4}


class Reshaped(nn.Module):
    """Sixteen channels at four places when it is traced, and what is done with their shape."""

    def __init__(self, f: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.f, self.a, self.last = f, conv(3, 16, 2), nn.Conv2d(16, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        return self.last(self.f(y).reshape(y.shape))


RESHAPED: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {  # and how many units may leave
    "places before channels": (lambda y: y.flatten(2).transpose(1, 2), 0),  # as MAnet does
    "by way of a row": (lambda y: y.permute(0, 2, 3, 1).flatten(1).relu(), 0),
    "a row and back": (lambda y: y.flatten(1).relu().view(y.shape), 16),
    "rows of four": (lambda y: y.reshape(len(y), 4, -1).cumsum(2), 4),
    "like another": (lambda y: y.flatten(2).transpose(1, 2).reshape_as(y).relu(), 0),
}


@pytest.mark.parametrize("how", RESHAPED)
def test_what_mixes_channels_with_places_does_so_at_every_size(how: str) -> None:
    """At the size recorded alone the cut would be exact: four channels become one, whatever four is."""
    f, width = RESHAPED[how]
    network = built(lambda: Reshaped(f)).double()
    graph = trace(network, torch.randn(2, 3, 4, 4).double())
    assert not graph.frozen
    assert sum(g.width for g in graph.groups.values()) == width
    keep = random_keep(graph, 0, 0.5)
    small = cut(network, graph, keep)
    for h, w in ((4, 4), (4, 8), (12, 10)):
        x = torch.randn(3, 3, h, w).double()
        with torch.no_grad():
            assert relative(small(x), masked(graph, keep)(x)) < 1e-12
