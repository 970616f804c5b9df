"""In which order units leave, against a slow reading of the same sentences; floors and shares by hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pytest
import torch
from torch import nn

from edgeprune import prune
from edgeprune.errors import EdgepruneError
from edgeprune.graph import Graph, cost, trace
from edgeprune.prices import Price, Target, price_of
from edgeprune.prune import plan


def traced(*widths: int) -> Graph:
    """Convolutions of these widths, each at half the side of the one before; the last stays."""
    layers: list[nn.Module] = []
    for a, b in zip((3, *widths), (*widths, 4), strict=True):
        layers += [nn.Conv2d(a, b, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    torch.manual_seed(0)
    return trace(nn.Sequential(*layers).eval(), torch.zeros(2, 3, 32, 32))


def always(widths: Mapping[str, int]) -> bool:
    return True


def taken(widths: dict[str, int], steps: Iterator[plan.Step]) -> Iterator[plan.Step]:
    """Each step, as the walk takes it."""
    for step in steps:
        widths[step.group] = step.after
        yield step


def scores(graph: Graph) -> dict[str, torch.Tensor]:
    return {name: prune.l1(graph, name) for name in graph.groups}


@pytest.mark.parametrize(
    ("width", "multiple", "floor", "least"),
    [
        (16, 1, 0.3, 5),  # 4.8 units are five
        (16, 1, 0.25, 4),  # exactly four are four
        (10, 1, 0.1, 1),  # 0.1 x 10, which is no exact number in binary
        (16, 1, 0.0, 1),
        (16, 4, 0.3, 8),  # on the grid
    ],
)
def test_a_floor_is_rounded_up(width: int, multiple: int, floor: float, least: int) -> None:
    graph = traced(width)
    (name,) = graph.groups
    widths = [width, *(w for w in range(width - 1, 0, -1) if w % multiple == 0 and w >= least)]
    smallest = cost(graph, {name: widths[-1]}).flops / cost(graph).flops
    limits = plan.Limits(floor, multiple)
    made = plan.make(graph, scores(graph), Target("flops", smallest), limits=limits)
    assert made.widths == {name: least}
    with pytest.raises(EdgepruneError, match="floors and multiples"):
        plan.make(graph, scores(graph), Target("flops", smallest - 1e-3), limits=limits)


def test_the_units_of_highest_score_stay() -> None:
    graph = traced(6)
    made = plan.make(
        graph, {"0": torch.tensor([5.0, 1, 4, 2, 6, 3])}, limits=plan.Limits(shares={"0": 0.5})
    )
    assert made.keep == {"0": [0, 2, 4]}
    assert prune.largest(torch.tensor([2.0, 1, 2, 2]), 2) == [0, 2]  # of equals the first


class Told:
    """A price of one group that is written down: 10 at width 3, 7 at 2, 3 at 1."""

    def at(self, widths: Mapping[str, int]) -> float:
        return {3: 10.0, 2: 7.0, 1: 3.0}[widths["a"]]


@pytest.mark.parametrize(
    ("goal", "width"), [(10, 3), (9, 3), (8, 2), (6, 2), (4, 1), (3, 1), (5, 1)]
)
def test_the_walk_stops_on_the_nearer_side(goal: float, width: int) -> None:
    """Of 10 and 7 nine is nearer to 10; five lies in the middle of 7 and 3, and is kept."""
    widths = {"a": 3}
    steps = iter([plan.Step("a", 3, 2), plan.Step("a", 2, 1)])
    plan._walk(widths, steps, Told(), goal, always)  # type: ignore[arg-type]
    assert widths == {"a": width}


@pytest.mark.parametrize(("goal", "width"), [(10, 3), (9, 2), (7, 2), (6, 1), (3, 1)])
def test_what_must_not_be_passed_is_not(goal: float, width: int) -> None:
    widths = {"a": 3}
    steps = iter([plan.Step("a", 3, 2), plan.Step("a", 2, 1)])
    plan._walk(widths, steps, Told(), goal, always, most=True)  # type: ignore[arg-type]
    row = Price("n", "n", str, lambda graph: Told())  # type: ignore[arg-type, return-value]
    plan._settle(widths, {"a": [3, 2, 1]}, Told(), goal, always, row, most=True)  # type: ignore[arg-type]
    assert widths == {"a": width}


@pytest.mark.parametrize("method", ["uniform", "global"])
@pytest.mark.parametrize("share", [0.2, 0.45, 0.7])
def test_megabytes_are_at_most_as_many_as_asked(method: str, share: float) -> None:
    """On a coarse grid the nearest plan is larger as often as not: --target-mb is a bound."""
    graph = traced(16, 24, 32)
    size = cost(graph).bytes
    limits = plan.Limits(multiple=8)
    target = Target("bytes", value=share * size)
    made = plan.make(graph, scores(graph), target, method=method, limits=limits)
    assert made.promised["bytes"] <= share * size


def test_uniform_is_the_same_share_of_wide_and_narrow() -> None:
    """4 and 32 filters: half of each, not the wide layer first."""
    graph = traced(4, 32)
    made = plan.make(graph, scores(graph), Target("params", 0.3), method="uniform")
    a, b = (made.widths[n] / g.width for n, g in graph.groups.items())
    assert a < 1
    assert abs(a - b) <= 1 / 4


def slowly(
    graph: Graph, curves: Mapping[str, Sequence[float]], grids: Mapping[str, list[int]]
) -> list[tuple[str, int]]:
    """Always the step whose loss rises least for each FLOP that it saves now; of equals the first.

    A loss never falls as a group gets narrower: it is the worst of all wider ones.
    """
    widths = {n: g[0] for n, g in grids.items()}
    loss = {n: [max(c[w:]) for w in range(len(c))] for n, c in curves.items()}
    taken = []
    while any(widths[n] != g[-1] for n, g in grids.items()):
        best = None
        for name, g in grids.items():
            if widths[name] == g[-1]:
                continue
            after = g[g.index(widths[name]) + 1]
            now, then = (cost(graph, w).flops for w in (widths, {**widths, name: after}))
            price = (loss[name][after] - loss[name][widths[name]]) / (now - then)
            if best is None or price < best[0] * (1 - 1e-9):
                best = (price, name, after)
        assert best is not None
        taken.append(best[1:])
        widths[best[1]] = best[2]
    return taken


class Alike:
    """Each unit of each group costs the same."""

    def at(self, widths: Mapping[str, int]) -> float:
        return float(sum(widths.values()))


def test_a_loss_that_seems_to_fall_is_that_of_before() -> None:
    """a loses 3, then (by noise) only 1, then 6: rises of 3, 0 and 3, all below b's first of 4."""
    curves = {"a": [9.0, 6, 1, 3, 0], "b": [30.0, 20, 12, 4, 0]}  # at widths 0 to 4
    grids = {"a": [4, 3, 2, 1], "b": [4, 3, 2, 1]}
    widths = {"a": 4, "b": 4}
    found = plan._greedy(grids, curves, Alike(), widths, always)  # type: ignore[arg-type]
    order = " ".join(f"{s.group}{s.after}" for s in taken(widths, found))
    assert order == "a3 a2 a1 b3 b2 b1"


class Stairs:
    """a is computed in pairs of units, four a pair; each unit of b costs one."""

    def at(self, widths: Mapping[str, int]) -> float:
        return float(4 * -(-widths["a"] // 2) + widths["b"])


@pytest.mark.parametrize(("treads", "first"), [(1, "b3 b2 b1 a3 a2 a1"), (2, "a2 b3 b2 b1 a1")])
def test_a_staircase_is_looked_down(treads: int, first: str) -> None:
    """One unit of a saves nothing, two save four and lose two; a unit of b saves one and loses one."""
    curves = {"a": [9.0, 3, 2, 1, 0], "b": [9.0, 3, 2, 1, 0]}
    grids, widths = {"a": [4, 3, 2, 1], "b": [4, 3, 2, 1]}, {"a": 4, "b": 4}
    found = plan._greedy(grids, curves, Stairs(), widths, always, treads)  # type: ignore[arg-type]
    assert " ".join(f"{s.group}{s.after}" for s in taken(widths, found)) == first


@pytest.mark.parametrize(("near", "width"), [(0.0, 5), (0.19, 5), (0.21, 6)])
def test_near_enough_is_left_alone(near: float, width: int) -> None:
    widths, row = {"a": 6}, Price("n", "n", str, lambda graph: Alike(), near=near)  # type: ignore[arg-type, return-value]
    plan._settle(widths, {"a": [6, 5, 4]}, Alike(), 5.0, always, row)  # type: ignore[arg-type]
    assert widths == {"a": width}


@pytest.mark.parametrize("seed", range(4))
def test_the_search_is_the_slow_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    graph = traced(6, 8, 5)
    curves = {}
    for name, group in graph.groups.items():
        steps = rng.uniform(0.1, 2, group.width) ** 2 * rng.choice(
            [1, -0.3], group.width, p=[0.8, 0.2]
        )
        rising = np.concatenate([[0], np.cumsum(steps)])  # with dips, as noise makes them
        curves[name] = np.maximum(rising, 0)[::-1].tolist()  # at width 0, 1, ...: 0 at full
    grids = {n: plan.grid(g.width, 1, 1) for n, g in graph.groups.items()}
    price = price_of("flops").of(graph)
    widths = {n: g.width for n, g in graph.groups.items()}
    steps = plan._greedy(grids, curves, price, widths, always)
    found = plan._ordered("reconstruction", grids, scores(graph), lambda: steps)
    assert [(s.group, s.after) for s in taken(widths, found)] == slowly(graph, curves, grids)


def test_a_plan_for_a_network_of_the_same_widths_is_refused() -> None:
    """The groups have the same names and widths, but the operator between them is another one."""
    other, example = (
        nn.Sequential(nn.Conv2d(3, 6, 1), nn.Tanh(), nn.Conv2d(6, 4, 1)),
        torch.zeros(2, 3, 4, 4),
    )
    graph = trace(nn.Sequential(nn.Conv2d(3, 6, 1), nn.ReLU(), nn.Conv2d(6, 4, 1)).eval(), example)
    made = plan.make(graph, scores(graph), Target("flops", 0.5))
    made.check(graph)
    with pytest.raises(EdgepruneError, match="is for another network"):
        made.check(trace(other.eval(), example))
