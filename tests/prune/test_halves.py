"""Parts of one split stay equally wide, and sizes in a module's attributes follow: the class comes back."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from edgeprune.graph import Graph, trace
from edgeprune.prices import Target
from edgeprune.prune import cut, l1, masked, narrow, plan
from edgeprune.prune.halves import equal
from tests.graphs import relative
from tests.nets import conv_bn, randomised


class Block(nn.Module):
    """YOLO's C2f: one half goes on, and what is made of it is concatenated."""

    def __init__(self, i: int, o: int, written: bool) -> None:
        super().__init__()
        self.c = o // 2
        self.written = written
        self.start, self.end = conv_bn(i, o), conv_bn(3 * self.c, o)
        self.inner = conv_bn(self.c, self.c)

    def forward(self, x: Tensor) -> Tensor:
        x = self.start(x)
        a, b = x.split((self.c, self.c), 1) if self.written else x.chunk(2, 1)
        return self.end(torch.cat([a, b, b + self.inner(b)], 1))


class Net(nn.Module):
    """``eight`` is as large as a part of the split, and no size of a channel axis."""

    def __init__(self, written: bool) -> None:
        super().__init__()
        self.stem, self.eight = conv_bn(3, 10), 8
        self.block = Block(10, 16, written)
        self.block.eight = 8  # type: ignore[assignment]
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(self.stem(x)).mean((2, 3)))


def traced(written: bool) -> Graph:
    torch.manual_seed(0)
    return trace(randomised(Net(written)), torch.randn(2, 3, 16, 16, dtype=torch.float64))


def uneven(graph: Graph) -> dict[str, Tensor]:
    """Scores by which the halves would come out unequal."""
    scores = {n: torch.rand(g.width) + 1 for n, g in graph.groups.items()}
    scores["block.start.0"] *= 0.1
    return scores


@pytest.mark.parametrize("written", [False, True])
@pytest.mark.parametrize("method", ["uniform", "global", "sensitivity"])
def test_the_class_comes_back(written: bool, method: str) -> None:
    graph = traced(written)
    assert equal(graph)["block.start.0"] == ("block.start.0", "block.start.0#2")
    curves = {n: [1.0 * (g.width - w) for w in range(g.width + 1)] for n, g in graph.groups.items()}
    curves["block.start.0"] = [0.0] * 9
    planned = plan.make(
        graph, uneven(graph), Target("flops", share=0.6), method=method, curves=curves
    )
    widths = planned.widths
    assert 0 < widths["block.start.0"] == widths["block.start.0#2"] < 8
    assert "as wide as block.start.0#2: parts of one split" in planned.reasons["block.start.0"]
    assert abs(planned.reached()["flops"] - 0.6) < 0.05
    small = cut(graph.model, graph, planned.keep)
    assert type(small) is Net
    assert small.edgeprune_reason == ""
    assert list(small.state_dict()) == list(graph.model.state_dict())
    assert small.block.c == widths["block.start.0"]
    assert small.eight == 8  # no size of its own forward
    x = torch.randn(3, 3, 16, 16, dtype=torch.float64)
    assert relative(small(x), masked(graph, planned.keep)(x)) < 1e-12
    small.train()(x).sum().backward()
    assert all(p.grad is not None and p.grad.shape == p.shape for p in small.parameters())


def test_without_it_the_halves_are_what_the_scores_say() -> None:
    graph = traced(False)
    limits = plan.Limits(equal=False)
    planned = plan.make(
        graph, uneven(graph), Target("flops", share=0.6), method="global", limits=limits
    )
    assert planned.widths["block.start.0"] != planned.widths["block.start.0#2"]
    small = cut(graph.model, graph, planned.keep)
    assert small.edgeprune_kind == "graph"
    assert "its forward raises in block" in str(small.edgeprune_reason)
    x = torch.randn(3, 3, 16, 16, dtype=torch.float64)
    assert relative(small(x), masked(graph, planned.keep)(x)) < 1e-12


def test_one_half_kept_whole_keeps_the_other_and_two_shares_are_heard() -> None:
    graph = traced(False)
    kept = plan.Limits(keep=["block.start.0#2"])
    found = plan.make(graph, uneven(graph), Target("flops", share=0.8), limits=kept)
    assert found.widths["block.start.0"] == found.widths["block.start.0#2"] == 8
    shares = plan.Limits(shares={"block.start.0": 0.5, "block.start.0#2": 0.25})
    found = plan.make(graph, uneven(graph), limits=shares)
    assert (found.widths["block.start.0"], found.widths["block.start.0#2"]) == (4, 2)


def test_the_average_and_a_copy_follow() -> None:
    graph = traced(True)
    planned = plan.make(graph, uneven(graph), Target("flops", share=0.6))
    average = copy.deepcopy(graph.model)
    small = cut(graph.model, graph, planned.keep, ema=average)
    assert average.block.c == small.block.c < 8  # type: ignore[union-attr]
    x = torch.randn(3, 3, 16, 16, dtype=torch.float64)
    assert torch.equal(average(x), small(x))


class Tied(nn.Module):
    """A gate ties the halves of its split already; a third part is of another size."""

    def __init__(self) -> None:
        super().__init__()
        self.start, self.end = nn.Conv2d(3, 20, 3), nn.Conv2d(12, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        a, b, c = self.start(x).split((8, 8, 4), 1)
        return self.end(torch.cat([a * b.sigmoid(), c], 1))


def test_what_is_tied_or_of_another_size_is_left_alone() -> None:
    graph = trace(Tied(), torch.randn(2, 3, 16, 16))
    assert all(len(names) == 1 for names in equal(graph).values())


def test_a_network_with_a_split_is_scored_and_cut_once_more() -> None:
    """A layer whose filters are of two groups loses those of both."""
    first = narrow(traced(False), {"block.start.0": [0, 2, 3], "block.start.0#2": [1, 2, 5]})
    assert all(len(l1(first, name)) == g.width for name, g in first.groups.items())
    weight = first.model.block.start[0].weight  # type: ignore[union-attr, index]
    sizes = weight.abs().flatten(1).sum(1)
    torch.testing.assert_close(l1(first, "block.start.0"), sizes[:3].detach())
    keep = {"block.start.0": [0, 1], "block.start.0#2": [0, 2]}
    x = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    small = narrow(first, keep).model
    assert type(small) is Net
    assert relative(small(x), masked(first, keep)(x)) < 1e-12
