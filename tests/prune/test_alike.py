"""A module is a graph operator by operator, or it is not: no stride, number or weight may differ."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeprune.graph import trace
from edgeprune.prune import module, narrow
from edgeprune.prune.alike import alike
from tests.graphs import random_keep, traced
from tests.nets import images


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 8, 3, 1, 1)
        self.b, self.c = nn.Conv2d(8, 8, 3, 1, 1), nn.Conv2d(8, 8, 3, 1, 1)
        self.norm, self.head = nn.BatchNorm2d(8), nn.Linear(8, 5)
        self.order, self.slope, self.parts, self.fold, self.more = (True, 0.1, 2, True, False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.leaky_relu(self.a(x), self.slope)
        y, z = (self.b(x), self.c(x)) if self.order else (self.c(x), self.b(x))
        x = self.norm(y - z)
        if self.fold:
            n, c, h, w = x.shape
            x = x.view(n, self.parts, c // self.parts, h * w).transpose(1, 2).reshape(n, c, h, w)
        if self.more:
            x = x.relu()
        return self.head(x.mean((2, 3)))


def has(**values: object) -> Callable[[Net], None]:
    return lambda net: [setattr(net, name, value) for name, value in values.items()] and None


CHANGES: dict[str, Callable[[Net], object]] = {
    "stride": lambda net: setattr(net.b, "stride", (2, 2)) or setattr(net.c, "stride", (2, 2)),
    "padding": lambda net: setattr(net.b, "padding", (0, 0)) or setattr(net.c, "padding", (0, 0)),
    "dilation and padding": lambda net: [
        (setattr(m, "dilation", (2, 2)), setattr(m, "padding", (2, 2))) for m in (net.b,)
    ],
    "no bias": lambda net: setattr(net.b, "bias", None),
    "eps": lambda net: setattr(net.norm, "eps", 1e-3),
    "slope": has(slope=0.2),
    "which is taken away": has(order=False),
    "halves and quarters": has(parts=4),
    "nothing folded": has(fold=False),
    "one operator more": has(more=True),
    "another weight": lambda net: setattr(net.b, "weight", nn.Parameter(net.b.weight.clone())),
    "one weight twice": lambda net: setattr(net.b, "weight", net.c.weight),
    "raises": lambda net: setattr(net.head, "weight", nn.Parameter(torch.rand(5, 7))),
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_is_changed_is_seen(change: str) -> None:
    net, x = Net().eval(), images(2).float()
    graph = trace(net, x).module
    other = copy.deepcopy(net, {id(t): t for t in (*net.parameters(), *net.buffers())})
    assert alike(other, graph, x)
    CHANGES[change](other)
    assert not alike(other, graph, x)


def test_sizes_of_the_graph_are_what_they_are_at_the_size() -> None:
    """Written as formulas in the graph, as numbers in the recording."""
    net = Net().eval()
    graph = trace(net, images(2).float()).module
    assert any(isinstance(n.meta.get("val"), int) for n in graph.graph.nodes)
    for size in (8, 13):
        assert alike(net, graph, torch.rand(3, 3, size, size + 2))


@pytest.mark.parametrize("name", ["Plain", "Residual", "Grouped"])
def test_a_cut_network_that_is_alike_is_asked_no_numbers(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_probe", None)
    graph = traced(name)
    assert narrow(graph, random_keep(graph, 0, 0.5)).kind == "module"


class Cached(Net):
    """A table of its weights, kept for the next call."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: dict[str, Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        if "slopes" not in self.tables:
            self.tables["slopes"] = self.norm.weight.abs().mean()
        return super().forward(x) * self.tables["slopes"]


def test_a_comparison_by_numbers_leaves_no_table_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "alike", lambda *_: None)
    graph = trace(Cached().eval(), images(2).float())
    small = narrow(graph, {name: list(range(g.width)) for name, g in graph.groups.items()})
    assert small.kind == "module"
    assert not small.model.tables


class Attends(nn.Module):
    """Attention over positions, added to the input by a scale that hides it from the output."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.qkv = nn.Conv2d(3, 8, 3, 2, 1), nn.Linear(8, 24, bias=False)
        self.proj, self.head = nn.Linear(8, 8), nn.Linear(8, 5)
        self.gamma = nn.Parameter(torch.full((8,), 1e-12))

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x).flatten(2).transpose(1, 2)
        q, k, v = self.qkv(y).chunk(3, -1)
        heads = [t.unflatten(-1, (2, t.shape[-1] // 2)).transpose(1, 2) for t in (q, k, v)]
        z = F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)
        return self.head((y + self.gamma * self.proj(z)).mean(1))


def test_an_operator_that_is_called_otherwise_is_asked_here() -> None:
    """Its class scales by the channels that are left, and no number at the end says it."""
    torch.manual_seed(0)
    net, x = Attends().double().eval(), images(2)
    graph = trace(net, x).module
    assert alike(net, graph, x) is True
    (node,) = (n for n in graph.graph.nodes if "scaled_dot_product" in str(n.target))
    node.kwargs = {**node.kwargs, "scale": 4**-0.5}  # the same, said
    assert alike(net, graph, x) is True
    node.kwargs = {**node.kwargs, "scale": 8**-0.5}
    assert alike(net, graph, x) is False


def test_other_operators_cannot_be_told() -> None:
    net, x = Net().eval(), images(2).float()
    graph = trace(net, x).module
    net.more = True
    assert alike(net, graph, x) is None


def test_a_narrower_head_takes_the_class_away() -> None:
    torch.manual_seed(0)
    net, x = Attends().double().eval(), images(2)
    graph = trace(net, x)
    keep = {name: list(range(0, group.width, 2)) for name, group in graph.groups.items()}
    small = narrow(graph, keep)
    assert small.kind == "graph"


class Apart(nn.Module):
    """How far two maps are apart, of which either may be taken from the other."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.turned = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3), False

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.a(x), self.b(x)
        return (b - a if self.turned else a - b).square()


def test_an_operator_on_other_tensors_says_nothing_yet() -> None:
    """What follows may make it the same: then the whole is asked, and the class stays."""
    net, x = Apart().eval(), images(2).float()
    graph = trace(net, x)
    net.turned = True
    assert alike(net, graph.module, x) is None
    assert not module.Judge(graph.module, graph).disagrees(net)


def test_the_cut_graph_is_asked_once_for_all_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def probe(*given: object) -> object:
        asked.append(given)
        return real(*given)  # type: ignore[arg-type]

    real = module._probe
    monkeypatch.setattr(module, "_probe", probe)
    net, x = Apart().eval(), images(2).float()
    graph = trace(net, x)
    net.turned = True  # so that the operators alone cannot tell
    judge = module.Judge(graph.module, graph)
    for _ in range(3):
        assert not judge.disagrees(net)
    assert len(asked) == 1
