"""Plans: targets met as closely as the grid allows, exactly priced, refused where impossible."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch

from edgeprune import prune
from edgeprune.errors import EdgepruneError
from edgeprune.graph import Graph, cost, trace
from edgeprune.prices import PRICES, Price, Target, on, one, price_of
from edgeprune.prune import plan
from edgeprune.prune.plan import Limits
from edgeprune.runtime import Model, predict
from edgeprune.runtime.roofline import Peaks

from .. import nets


@pytest.fixture(scope="module", params=["Plain", "Depthwise", "Residual"])
def graph(request: pytest.FixtureRequest) -> Graph:
    torch.manual_seed(0)
    return trace(getattr(nets, request.param)(), torch.randn(2, 3, 16, 16))


def l1_scores(graph: Graph) -> dict[str, torch.Tensor]:
    return {name: prune.l1(graph, name) for name in graph.groups}


@pytest.mark.parametrize("what", list(PRICES))
def test_price_is_the_cost_model(graph: Graph, what: str) -> None:
    price = price_of(what).of(graph)
    rng = np.random.default_rng(0)
    for _ in range(25):
        widths = {n: int(rng.integers(1, g.width + 1)) for n, g in graph.groups.items()}
        assert price.at(widths) == pytest.approx(getattr(cost(graph, widths), what), rel=1e-9)


@pytest.mark.parametrize("method", plan.METHODS)
@pytest.mark.parametrize("share", [0.8, 0.5])
def test_target_is_met_and_promised(graph: Graph, method: str, share: float) -> None:
    curves = {n: np.linspace(1, 0, g.width + 1) ** 2 for n, g in graph.groups.items()}
    made = plan.make(
        graph, l1_scores(graph), method=method, target=Target("flops", share), curves=curves
    )
    reached = made.reached()["flops"]
    assert reached == pytest.approx(share, abs=0.05)
    small = prune.narrow(graph, made.keep)
    assert cost(small).flops == made.promised["flops"]
    assert made.promised["flops"] / cost(graph).flops == reached
    # No single step of one group comes nearer: nothing was overlooked.
    off = abs(reached - share)
    for name, group in graph.groups.items():
        for width in (made.widths[name] - 1, made.widths[name] + 1):
            if 1 <= width <= group.width:
                other = cost(graph, {**made.widths, name: width}).flops / cost(graph).flops
                assert abs(other - share) >= off - 1e-9


def test_nearest_not_floor() -> None:
    """A tenth off a 32-wide layer at multiple 16 must not take half of it."""
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 32, 3), torch.nn.ReLU(), torch.nn.Conv2d(32, 4, 3), torch.nn.Flatten()
    )
    graph = trace(net, torch.randn(2, 3, 8, 8))
    made = plan.make(
        graph, l1_scores(graph), target=Target("flops", 0.9), limits=Limits(multiple=16)
    )
    assert made.widths["0"] == 32
    made = plan.make(graph, l1_scores(graph), limits=Limits(shares={"0": 0.9}))
    assert made.widths["0"] == 29


def test_uniform_is_uniform(graph: Graph) -> None:
    made = plan.make(graph, l1_scores(graph), method="uniform", target=Target("params", 0.5))
    shares = [(w / graph.groups[n].width, graph.groups[n].width) for n, w in made.widths.items()]
    middle = np.median([s for s, _ in shares])
    assert all(abs(s - middle) <= 2.01 / width for s, width in shares)


def test_global_takes_the_lowest_wherever_they_are(graph: Graph) -> None:
    scores = {n: torch.full((g.width,), 1.0) for n, g in graph.groups.items()}
    low = next(iter(graph.groups))
    scores[low] = torch.linspace(0, 0.5, graph.groups[low].width)
    grids = {n: plan.grid(g.width, 1, 1) for n, g in graph.groups.items()}
    ranked = plan._ranked(scores, {n: (n,) for n in grids})
    steps = list(plan._ordered("global", grids, ranked, lambda: iter(())))
    first = graph.groups[low].width - 1
    assert [s.group for s in steps[:first]] == [low] * first
    assert [s.after for s in steps[:first]] == list(range(first, 0, -1))
    assert len(steps) == sum(g.width - 1 for g in graph.groups.values())


def test_multiples_and_ties(graph: Graph) -> None:
    same = {n: torch.ones(g.width) for n, g in graph.groups.items()}
    made = plan.make(graph, same, target=Target("flops", 0.6), limits=Limits(multiple=2))
    for name, units in made.keep.items():
        width = graph.groups[name].width
        assert len(units) == width or len(units) % 2 == 0
        assert units == list(range(len(units)))  # of equal scores the first stay


def test_the_floor_is_a_share_of_the_dense_width(graph: Graph) -> None:
    """Round after round, not of what the last one left."""
    dense = {n: 2 * g.width for n, g in graph.groups.items()}  # half of it is gone already
    made = plan.make(
        graph, l1_scores(graph), target=Target("flops", 0.8), limits=Limits(floor=0.3, whole=dense)
    )
    assert made.widths != {n: g.width for n, g in graph.groups.items()}
    assert all(width >= 0.3 * dense[n] for n, width in made.widths.items())
    with pytest.raises(EdgepruneError, match="floors"):
        plan.make(
            graph,
            l1_scores(graph),
            target=Target("flops", 0.8),
            limits=Limits(floor=0.5, whole=dense),
        )


def test_globs_keep_and_share(graph: Graph) -> None:
    name = list(graph.groups)[1]
    made = plan.make(
        graph, l1_scores(graph), target=Target("flops", 0.9), limits=Limits(keep=[name])
    )
    assert made.widths[name] == graph.groups[name].width
    assert name in made.reasons[name]
    with pytest.raises(EdgepruneError, match="matches no group"):
        plan.make(
            graph, l1_scores(graph), target=Target("flops", 0.9), limits=Limits(keep=["nothing*"])
        )


def test_impossible_targets_say_what_is_possible(graph: Graph) -> None:
    with pytest.raises(EdgepruneError, match="ask for --keep-flops") as error:
        plan.make(graph, l1_scores(graph), target=Target("flops", 1e-4))
    possible = float(error.value.next.split()[3])
    plan.make(graph, l1_scores(graph), target=Target("flops", possible))
    for share in (0.0, 1.5, float("nan")):
        with pytest.raises(EdgepruneError):
            plan.make(graph, l1_scores(graph), target=Target("flops", share))
    with pytest.raises(EdgepruneError, match="one target"):
        plan.make(graph, l1_scores(graph))


def test_scores_must_be_whole(graph: Graph) -> None:
    scores = l1_scores(graph)
    name = next(iter(scores))
    with pytest.raises(EdgepruneError, match="NaN"):
        plan.make(graph, {**scores, name: scores[name] * float("nan")}, target=Target("flops", 0.5))
    with pytest.raises(EdgepruneError, match="units"):
        plan.make(graph, {**scores, name: scores[name][1:]}, target=Target("flops", 0.5))


class Stairs:
    """A device whose time goes up in steps of 4 channels, and falls off its layout at odd widths."""

    def __init__(self, graph: Graph) -> None:
        self.full = {name: group.width for name, group in graph.groups.items()}
        self.dense = self.at({})

    def at(self, widths: Mapping[str, int]) -> float:
        def one(width: int) -> float:
            return -(-width // 4) * 4 * (1.3 if width % 2 else 1.0)

        return 2.0 + sum(one(widths.get(name, full)) for name, full in self.full.items())


STAIRS = Price("ms", "predicted time", lambda v: f"{v:.1f} ms", Stairs)


@pytest.mark.parametrize("method", plan.METHODS)
def test_a_plan_in_milliseconds_by_share_or_by_value(graph: Graph, method: str) -> None:
    curves = {n: np.linspace(1, 0, g.width + 1) ** 2 for n, g in graph.groups.items()}
    dense = Stairs(graph).dense
    by_share, by_value = (
        plan.make(graph, l1_scores(graph), target, method=method, curves=curves,
                  prices={"ms": STAIRS})
        for target in (Target("ms", share=0.8), Target("ms", value=0.8 * dense))
    )  # fmt: skip
    assert by_share.keep == by_value.keep
    assert by_share.promised["ms"] == Stairs(graph).at(by_share.widths)
    assert by_share.reached()["ms"] == pytest.approx(0.8, abs=0.1)
    assert "predicted time" in by_share.sentence()
    assert plan.Plan.from_json(json.loads(json.dumps(by_share.to_json()))) == by_share
    with pytest.raises(EdgepruneError, match="doctor --probe"):
        plan.make(graph, l1_scores(graph), Target("ms", 0.6))
    for target, said in (
        (Target("ms", value=1e-3), "--target-ms"),
        (Target("ms", 0.01), "--speedup"),
    ):
        with pytest.raises(EdgepruneError, match=f"predicted time stay .* ask for {said}") as e:
            plan.make(graph, l1_scores(graph), target, prices={"ms": STAIRS})
        possible = float(str(e.value).partition(f"ask for {said} ")[2].split()[0])
        own = {"value": possible} if said == "--target-ms" else {"share": 1 / possible}
        plan.make(graph, l1_scores(graph), Target("ms", **own), prices={"ms": STAIRS})
    with pytest.raises(EdgepruneError, match="predicted time as it is"):
        plan.make(graph, l1_scores(graph), Target("ms", value=1.1 * dense), prices={"ms": STAIRS})


def test_predicted_times_are_those_of_the_predictor(graph: Graph) -> None:
    """The row of a real device: what the predictor says of the network at these widths."""
    peaks = Peaks(1e9, None, ((1e3, 1e9),), ((1e3, 1e9),), 1e-6)
    device = Model(4, peaks, {}, (0.0, 0.0), (0.0, 0.0, 0.0))
    curve = on(device)["ms"].of(graph)
    half = {n: max(1, g.width // 2) for n, g in graph.groups.items()}
    for widths in ({}, half):
        assert curve.at(widths) == 1e3 * predict(device, cost(graph, widths).rows).seconds
    assert curve.at(half) < curve.dense
    made = plan.make(graph, l1_scores(graph), Target("ms", 0.7), prices=on(device))
    assert made.reached()["ms"] == pytest.approx(0.7, abs=0.15)


def test_a_target_is_one_number() -> None:
    for wrong in ({}, {"share": 0.5, "value": 1.0}, {"value": -1.0}, {"value": float("nan")}):
        with pytest.raises(EdgepruneError):
            Target("flops", **wrong)
    with pytest.raises(EdgepruneError, match="leave one out"):
        one({"flops": 0.5, "params": 0.5})
    assert one({"flops": None, "params": 0.5}) == Target("params", 0.5)
    with pytest.raises(EdgepruneError, match="did you mean flops"):
        price_of("flop")


def test_equal_scores_are_said(graph: Graph) -> None:
    same = {n: torch.ones(g.width) for n, g in graph.groups.items()}
    made = plan.make(graph, same, Target("flops", 0.5))
    cut = [n for n, w in made.widths.items() if w < graph.groups[n].width]
    assert cut
    assert all(made.reasons[n].endswith(plan.EVEN) for n in cut)
    made = plan.make(graph, l1_scores(graph), Target("flops", 0.5))
    assert not any(r.endswith(plan.EVEN) for r in made.reasons.values())


def test_json_and_back(graph: Graph) -> None:
    made = plan.make(graph, l1_scores(graph), target=Target("flops", 0.5))
    text = json.dumps(made.to_json())
    assert plan.Plan.from_json(json.loads(text)) == made
    made.check(graph)


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"keep": {"x": [-1, 2]}},
        {"keep": {"x": [2, 2]}},
        {"keep": {"x": [1, 0]}},
        {"keep": [1]},
        {"keep": {"x": [1.5]}},
        {"network": 3},
        {"extra": 1},
    ],
)
def test_foreign_files_are_refused(graph: Graph, change: dict[str, object]) -> None:
    value = plan.make(graph, l1_scores(graph), target=Target("flops", 0.5)).to_json()
    with pytest.raises(EdgepruneError):
        plan.Plan.from_json({**value, **change})


def test_another_network_is_refused(graph: Graph) -> None:
    made = plan.make(graph, l1_scores(graph), target=Target("flops", 0.5))
    other = trace(torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3), torch.nn.Conv2d(5, 4, 3)),
                  torch.randn(2, 3, 16, 16))  # fmt: skip
    with pytest.raises(EdgepruneError):
        made.check(other)


def test_what_a_prediction_may_be_wrong_about_is_not_refused(graph: Graph) -> None:
    """30 % off at worst: 1.2 times the dense network's time may be less than it, in truth."""
    stairs = Stairs(graph)
    narrow = stairs.at(dict.fromkeys(graph.groups, 1))
    for value, word in ((1.2 * stairs.dense, "as it is"), (0.8 * narrow, "stay at")):
        target, made = Target("ms", value=value), {}
        for off in (0.1, 0.3):
            row = {"ms": replace(STAIRS, off=off)}
            if off == 0.3:
                made = plan.make(graph, l1_scores(graph), target, prices=row).promised
                continue
            with pytest.raises(EdgepruneError, match=word):
                plan.make(graph, l1_scores(graph), target, prices=row)
        assert made["ms"] in (stairs.dense, min(narrow, made["ms"]))
