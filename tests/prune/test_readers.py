"""Readers: which layers lose something, what they read, and whose error they take over."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeprune.graph import trace
from edgeprune.prune import compensate, narrow
from edgeprune.prune.images import Images
from edgeprune.prune.readers import (
    as_weight,
    find_readers,
    inputs_at,
    outputs_at,
    sample,
    weight_matrix,
)
from edgeprune.prune.walk import Walk
from tests.nets import images


@pytest.mark.parametrize(
    "words",
    [
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": 3, "stride": 2},
        {"kernel_size": 3, "dilation": 2, "padding": 2},
        {"kernel_size": 3, "dilation": (1, 3), "padding": (0, 3)},
        {"kernel_size": (1, 3), "stride": (2, 1), "padding": (0, 1)},
        {"kernel_size": 3, "stride": 2, "dilation": 2, "padding": 1, "groups": 2},
        {"kernel_size": 3, "padding": "same"},
        {"kernel_size": (4, 2), "padding": "same", "dilation": (1, 3)},  # more behind than before
        {"kernel_size": 3, "padding": "valid", "stride": 2},
        {"kernel_size": 3, "padding": 1, "padding_mode": "circular"},
        {"kernel_size": 3, "padding": (2, 1), "padding_mode": "reflect", "stride": 2},
        {"kernel_size": 3, "transposed": True},
        {"kernel_size": 2, "stride": 2, "transposed": True},
        {"kernel_size": 4, "stride": 2, "padding": 1, "transposed": True},
        {"kernel_size": 3, "stride": (3, 2), "padding": 1, "output_padding": (2, 1),
         "dilation": (1, 2), "groups": 2, "transposed": True},
    ],
)  # fmt: skip
def test_rows_are_the_convolution(words: dict[str, Any]) -> None:
    """X W' + b at every place is the layer's output there, whatever its window."""
    torch.manual_seed(0)
    kind = nn.ConvTranspose2d if words.get("transposed") else nn.Conv2d
    layer = kind(4, 6, **{k: v for k, v in words.items() if k != "transposed"})
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), layer).double().eval()
    graph = trace(net, images(2))
    reader = next(r for r in find_readers(graph) if r.layer == "2")
    walk = Walk(graph.module, [images(3)])
    walk.reach(walk.index[reader.node])
    x = walk.values[0][walk.node(reader.node).args[0]]  # type: ignore[index]  # padded, if circular
    y = net[2](net[:2](images(3))).detach()
    at = sample(reader, len(y), y.shape, 10**6, torch.Generator())
    W = weight_matrix(reader, net[2].weight.detach())
    got = torch.einsum("rgd,god->rgo", inputs_at(reader, x, at), W).flatten(1) + net[2].bias
    torch.testing.assert_close(got, outputs_at(reader, y, at))
    assert len(got) == y.shape[0] * y.shape[2] * y.shape[3]
    assert torch.equal(as_weight(reader, W, net[2].weight.shape), net[2].weight)


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.twice, self.last = (nn.Conv2d(i, 4, 1) for i in (3, 4, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.twice(F.relu(self.twice(F.relu(self.stem(x))))))


def test_a_weight_that_serves_twice_is_nobodys() -> None:
    graph = trace(Shared().double().eval(), images(2))
    assert [r.layer for r in find_readers(graph)] == ["stem", "last"]


class Two(nn.Module):
    """A sum of two branches. ``a`` and ``b`` are the same layer twice; only ``a`` will be cut."""

    def __init__(self, norm: bool) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 1), nn.Conv2d(3, 8, 1)
        self.u, self.v = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 4, 1, bias=not norm)
        self.bn = nn.BatchNorm2d(4) if norm else nn.Identity()
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        skip = self.u(F.relu(self.a(x)))
        return self.head(F.relu(skip + self.bn(self.v(F.relu(self.b(x))))).mean((2, 3)))


def two(norm: bool) -> Two:
    torch.manual_seed(3)
    net = Two(norm).double().eval()
    net.b.load_state_dict(net.a.state_dict())
    if norm:
        with torch.no_grad():
            net.bn.weight.copy_(torch.tensor([3.0, -2.0, 0.5, 1.0]))
            net.bn.running_var.copy_(torch.tensor([0.2, 4.0, 1.0, 9.0]))
            net.bn.running_mean.copy_(torch.tensor([1.0, 0.0, -1.0, 2.0]))
    return net


def test_beside_is_what_is_known_before() -> None:
    graph = trace(two(False), images(2))
    beside = {r.layer: r.beside for r in find_readers(graph)}
    assert beside["v"] is not None  # u's output is there when v runs
    assert beside["u"] is None  # v's is not
    assert beside["head"] is None


@pytest.mark.parametrize("norm", [False, True])
def test_the_error_of_the_map_beside_is_taken_over(
    norm: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """u cannot do without a's units, but v reads their copies: the sum can be what it was, exactly.

    Behind a norm the error has to be divided by what the norm multiplies with.
    """
    monkeypatch.setattr(compensate, "RIDGES", (1e-10,))
    dense = trace(two(norm), images(2))
    keep = {"a": [0, 3]}
    pruned = narrow(dense, keep)
    x = images(16, 5)

    def gap() -> float:
        with torch.no_grad():
            a, b = dense.model(x), pruned.model(x)
        return float((a - b).square().sum() / (a - a.mean(0)).square().sum())

    assert gap() > 1e-2
    compensate.lstsq(dense, pruned, keep, Images([images(16, s) for s in range(6)]))
    assert gap() < 1e-10


def im2col(x: Tensor, layer: nn.Module) -> Tensor:
    """[N*places, groups, I*k*k] by hand: what each output of the convolution ``layer`` reads of ``x``."""
    assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
    k, d, s = layer.kernel_size, layer.dilation, layer.stride
    if isinstance(layer, nn.ConvTranspose2d):  # zeros between the places, then an ordinary one
        n, c, h, w = x.shape
        wide = x.new_zeros(n, c, (h - 1) * s[0] + 1, (w - 1) * s[1] + 1)
        wide[:, :, :: s[0], :: s[1]] = x
        reach = [d[i] * (k[i] - 1) - int(layer.padding[i]) for i in (0, 1)]
        more = [reach[i] + layer.output_padding[i] for i in (0, 1)]
        x, s = F.pad(wide, (reach[1], more[1], reach[0], more[0])), (1, 1)
    elif layer.padding == "same":
        reach = [d[i] * (k[i] - 1) for i in (0, 1)]
        x = F.pad(x, (reach[1] // 2, -(-reach[1] // 2), reach[0] // 2, -(-reach[0] // 2)))
    else:
        ph, pw = (int(p) for p in layer.padding)
        mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        x = F.pad(x, (pw, pw, ph, ph), mode=mode)
    rows = F.unfold(x, k, d, 0, s).transpose(1, 2).flatten(0, 1)  # type: ignore[arg-type]
    return rows.reshape(len(rows), layer.groups, -1)


class Sum(nn.Module):
    """A layer that reads ``a`` and is added to another that does, or not."""

    def __init__(self, layer: nn.Module, residual: bool) -> None:
        super().__init__()
        self.a, self.layer = nn.Conv2d(3, 8, 1), layer
        self.beside = nn.Conv2d(8, 6, 1) if residual else None
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.a(x))
        y = self.layer(x) if self.beside is None else self.beside(x) + self.layer(x)
        return self.head(F.relu(y).mean((2, 3)))


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize(
    "words",
    [
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": 3, "padding": 2, "dilation": 2, "groups": 2},
        {"kernel_size": (2, 4), "padding": "same", "dilation": (3, 1)},
        {"kernel_size": 3, "padding": 1, "padding_mode": "circular"},
        {"kernel_size": 3, "stride": (2, 3), "padding": (0, 1), "bias": False},
        {"kernel_size": 3, "stride": 2, "padding": 1, "output_padding": 1, "transposed": True},
        {"kernel_size": (2, 3), "stride": (2, 1), "dilation": (1, 2), "groups": 2, "transposed": True},
    ],
)  # fmt: skip
def test_repair_is_least_squares_by_hand(
    words: dict[str, Any], residual: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over all places, without a ridge: the weights of a regression on columns unfolded by hand."""
    monkeypatch.setattr(compensate, "RIDGES", (1e-13,))
    monkeypatch.setattr(compensate, "ROWS", (10**9, 10**9))
    torch.manual_seed(2)
    kind = nn.ConvTranspose2d if words.get("transposed") else nn.Conv2d
    layer = kind(8, 6, **{k: v for k, v in words.items() if k != "transposed"})
    xs = [images(12, seed, 7) for seed in range(6)]
    net = Sum(layer, residual).double().eval()
    if residual and layer(net.a(xs[0])).shape[2:] != xs[0].shape[2:]:
        pytest.skip("no sum of maps of two sizes")
    dense = trace(net, xs[0][:2])
    keep = {"a": [0, 1, 3, 4, 6, 7]}  # of both groups as many
    if words.get("groups") == 2:
        keep = {name: [0, 1, 3] for name in dense.groups if name == "a"}  # coupled across groups
    pruned = narrow(dense, keep)
    small = pruned.model
    compensate.lstsq(dense, pruned, keep, Images(xs))
    with torch.no_grad():
        x = torch.cat(xs)
        whole, left = F.relu(net.a(x)), F.relu(small.a(x))
        Y = net.layer(whole)
        if residual:
            assert net.beside is not None
            Y = Y + net.beside(whole) - small.beside(left)
        X = im2col(left, small.layer)
        Y = Y.permute(0, 2, 3, 1).reshape(len(X), small.layer.groups, -1)
        got = small.layer(left).permute(0, 2, 3, 1).reshape(Y.shape)
        for g in range(small.layer.groups):
            columns = X[:, g]
            if small.layer.bias is not None:
                columns = torch.cat([columns, torch.ones(len(X), 1).double()], 1)
            # a tap that never meets an input is a column of zeros: the answers are unique, it is not
            answer = columns @ (torch.linalg.pinv(columns) @ Y[:, g])
            torch.testing.assert_close(got[:, g], answer, rtol=1e-6, atol=1e-7)


class Tower(nn.Module):
    """With a residual sum and a norm; its answer is a vector."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.norm, self.head = nn.BatchNorm2d(8), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.a(x))
        return self.head(F.relu(x + self.norm(self.b(x))).mean((2, 3)))


class Siamese(nn.Module):
    """One tower, twice."""

    def __init__(self) -> None:
        super().__init__()
        self.tower = Tower()

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return torch.stack([self.tower(left), self.tower(right)])


def test_the_repair_of_a_siamese_network_is_that_of_its_tower_with_both_images(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Least squares over all calls of a layer: as if one call had seen all images, front to back."""
    monkeypatch.setattr(compensate, "ROWS", (10**9, 10**9))
    torch.manual_seed(4)
    twin = Siamese().double().eval()
    with torch.no_grad():
        twin.tower.norm.running_mean.normal_()
        twin.tower.norm.running_var.uniform_(0.5, 2)
    left, right = ([images(8, seed, 9) for seed in some] for some in ((0, 1), (2, 3)))
    pairs = Images([list(pair) for pair in zip(left, right, strict=True)])
    both = Images([*left, *right], [0, 1, 0, 1])
    whole, alone = trace(twin, [images(2), images(2)]), trace(twin.tower, images(2))
    assert [r.layer.removeprefix("tower.") for r in find_readers(whole)] == [
        r.layer for r in find_readers(alone)
    ]
    (group,), (single,) = whole.groups, alone.groups
    units = [0, 2, 3, 7]
    small, one = narrow(whole, {group: units}), narrow(alone, {single: units})
    report = compensate.lstsq(whole, small, {group: units}, pairs)
    assert len(report) == len(compensate.lstsq(alone, one, {single: units}, both)) == 2
    mine, theirs = small.model.state_dict(), one.model.state_dict()
    assert any(
        not torch.equal(v, narrow(alone, {single: units}).model.state_dict()[k])
        for k, v in theirs.items()
    )
    for name, value in theirs.items():
        torch.testing.assert_close(mine[f"tower.{name}"], value, rtol=1e-8, atol=1e-10)


class Levels(nn.Module):
    """One head on two maps, as detectors have it; its norms are its own, or one a map."""

    def __init__(self, norms: int) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 3, stride=2)
        self.head, self.last = nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(6, 2, 1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(6) for _ in range(norms))

    def forward(self, x: Tensor) -> list[Tensor]:
        low = F.relu(self.a(x))
        maps = [low, F.relu(self.b(low))]
        return [
            self.last(F.relu(self.norms[i % len(self.norms)](self.head(m))))
            for i, m in enumerate(maps)
        ]


@pytest.mark.parametrize(("norms", "repaired"), [(1, {"b", "head", "last"}), (2, {"b", "last"})])
def test_a_head_on_several_maps_is_one_reader(
    norms: int, repaired: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of six filters are copies of others: without them nothing is lost where all is repaired."""
    monkeypatch.setattr(compensate, "RIDGES", (1e-10,))
    torch.manual_seed(5)
    net = Levels(norms).double().eval()
    with torch.no_grad():
        for layer in (net.a, net.b, net.head):
            for tensor in (layer.weight, layer.bias):
                assert tensor is not None
                tensor[4:] = tensor[:2]
    graph = trace(net, images(2, 0, 16))
    assert {r.layer: len(r.uses) for r in find_readers(graph)}["last"] == 2
    keep = {name: list(range(4)) for name in graph.groups}
    small = narrow(graph, keep)
    found = compensate.lstsq(graph, small, keep, Images([images(8, s, 16) for s in range(6)]))
    assert {r.layer for r in found} == repaired
    with torch.no_grad():
        x = images(8, 9, 16)
        lost = [
            float((a - b).norm() / a.norm()) for a, b in zip(net(x), small.model(x), strict=True)
        ]
    assert (max(lost) < 1e-8) == (norms == 1)
