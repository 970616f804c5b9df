"""Groups of which no channel is left: where that is exact, and what is then left of the network."""

from __future__ import annotations

import copy
from itertools import combinations
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import edgeprune
from edgeprune import export
from edgeprune.errors import EdgepruneError
from edgeprune.graph import Graph, can_vanish, cost
from edgeprune.models import Convention
from edgeprune.prices import PRICES, Target, counts
from edgeprune.prune import compose, l1, masked, narrow, plan
from edgeprune.prune.plan import Limits
from tests.branches import (
    NETS,
    Blocks,
    Concatenated,
    Identity,
    Inverted,
    Parallel,
    Projection,
    traced,
)
from tests.graphs import relative
from tests.nets import images


@pytest.fixture(scope="module", params=NETS, ids=lambda net: net.__name__)
def net(request: pytest.FixtureRequest) -> tuple[Graph, dict[str, set[str]]]:
    return traced(request.param), NETS[request.param]


def test_which_may_vanish(net: tuple[Graph, dict[str, set[str]]]) -> None:
    graph, expected = net
    assert {name for name in graph.groups if can_vanish(graph, [name])} == set(expected)


def test_cut_is_masked_and_the_branch_is_gone(net: tuple[Graph, dict[str, set[str]]]) -> None:
    graph, expected = net
    for name, gone in expected.items():
        keep: dict[str, list[int]] = {name: []}
        small = narrow(graph, keep)
        assert set(graph.groups) - set(small.groups) == gone
        for batch, size in ((1, 16), (3, 16), (2, 20)):
            x = images(batch, seed=5, size=size)
            expected_maps = masked(graph, keep)(x)
            assert relative(small.model(x), expected_maps) < 1e-12
            assert relative(graph.model(x), expected_maps) > 1e-6  # the branch was worth something
        left = {str(n.target).rpartition(".")[0] for n in small.module.graph.nodes}
        assert not {layer for g in gone for layer in graph.groups[g].producers} & left
        assert small.model.edgeprune_kind == "graph"


def test_the_readers_weights_as_zeros_give_the_same(
    net: tuple[Graph, dict[str, set[str]]],
) -> None:
    """Without labels: what reads the group alone gets weights of zero."""
    graph, expected = net
    x = images(3, seed=7)
    for name in expected:
        roots = set(graph.groups[name].roots.tolist())
        model = copy.deepcopy(graph.model)
        for (tensor, axis), labels in graph.sites.items():
            weight = dict(model.named_parameters()).get(tensor)
            if weight is not None and weight.ndim > 1 and axis == 1:
                read = torch.tensor([int(r) in roots for r in graph.roots[labels]])
                weight.data[:, read] = 0
        assert relative(narrow(graph, {name: []}).model(x), model(x)) < 1e-12


def test_what_it_costs_is_known_before(net: tuple[Graph, dict[str, set[str]]]) -> None:
    graph, expected = net
    for name in expected:
        widths = {name: 0}
        small = narrow(graph, {name: []})
        before, after = cost(graph, widths), cost(small)
        for what in ("params", "flops", "macs", "bytes", "activation_bytes"):
            assert getattr(before, what) == getattr(after, what), what
        stored = sum(t.numel() for t in small.model.state_dict().values() if t.is_floating_point())
        assert after.params == stored
        for price in PRICES.values():
            curve = price.of(graph)
            assert curve.at(widths) == getattr(after, price.name) < curve.dense


def test_others_are_refused(net: tuple[Graph, dict[str, set[str]]]) -> None:
    graph, expected = net
    for name in set(graph.groups) - set(expected):
        with pytest.raises(EdgepruneError, match="cannot vanish"):
            narrow(graph, {name: []})
        with pytest.raises(EdgepruneError, match="width 0"):
            cost(graph, {name: 0})


@pytest.mark.parametrize("net", [Identity, Concatenated, Inverted])
def test_one_after_another_is_all_at_once(net: type[nn.Module]) -> None:
    graph = traced(net)
    names = list(NETS[net])
    other = next(n for n in graph.groups if n not in names)
    first = {names[0]: [], other: [0, 2, 3]}
    between = narrow(graph, first)
    second: dict[str, list[int]] = {names[1]: []} if names[1] in between.groups else {}
    twice, once = narrow(between, second), narrow(graph, compose(first, second))
    x = images(3, seed=9)
    assert torch.equal(twice.model(x), once.model(x))
    assert list(twice.model.state_dict()) == list(once.model.state_dict())
    assert relative(once.model(x), masked(graph, compose(first, second))(x)) < 1e-12


def test_both_of_two_branches_cannot_vanish() -> None:
    graph = traced(Parallel)
    assert can_vanish(graph, ["a"])
    assert can_vanish(graph, ["b"])
    assert not can_vanish(graph, ["a", "b"])


def test_a_bottleneck_vanishes_with_what_reads_it() -> None:
    graph = traced(Concatenated)
    assert not can_vanish(graph, ["a.0"])
    assert can_vanish(graph, ["a.0", "b", "c"])
    small = narrow(graph, {"a.0": [], "b": [], "c": []})
    x = images(1, seed=3)
    assert relative(small.model(x), masked(graph, {"b": [], "c": []})(x)) < 1e-12


@pytest.mark.parametrize("method", plan.METHODS)
def test_a_plan_lets_branches_vanish_only_where_it_is_asked(method: str) -> None:
    graph = traced(Identity)
    scores = {name: l1(graph, name) for name in graph.groups}
    curves = {
        n: [1e-3 * (g.width - w) for w in range(g.width + 1)] for n, g in graph.groups.items()
    }
    free = Limits(floor=0, keep=["stem*"])
    both = cost(graph, {"a.0": 0, "c.0": 0}).flops / cost(graph).flops
    target = Target("flops", both)
    made = plan.make(graph, scores, target, method=method, limits=free, curves=curves)
    assert {n: w for n, w in made.widths.items() if not w} == {"a.0": 0, "c.0": 0}
    assert made.promised["flops"] == cost(narrow(graph, made.keep)).flops
    assert plan.Plan.from_json(made.to_json()) == made
    made.check(graph)
    with pytest.raises(EdgepruneError, match="stay at these floors"):
        plan.make(
            graph, scores, target, method=method, limits=Limits(keep=["stem*"]), curves=curves
        )


@pytest.mark.parametrize("method", plan.METHODS)
def test_a_plan_never_empties_two_branches_of_which_one_must_stay(method: str) -> None:
    graph = traced(Parallel)
    scores = {name: l1(graph, name) for name in graph.groups}
    curves = {
        n: [1e-3 * (g.width - w) for w in range(g.width + 1)] for n, g in graph.groups.items()
    }
    least = {n: 0 if n == "a" else 1 for n in graph.groups}
    target = Target("flops", cost(graph, least).flops / cost(graph).flops)
    made = plan.make(graph, scores, target, method=method, limits=Limits(floor=0), curves=curves)
    made.check(graph)
    assert made.widths["a"] * made.widths["b"] == 0 < made.widths["a"] + made.widths["b"]


def test_plans_that_empty_too_much_are_refused() -> None:
    graph = traced(Identity)
    scores = {name: l1(graph, name) for name in graph.groups}
    value = plan.make(graph, scores, Target("flops", 0.9)).to_json()
    value["keep"]["stem.0"] = []
    with pytest.raises(EdgepruneError, match=r"stem\.0 cannot vanish"):
        plan.Plan.from_json(value).check(graph)


@pytest.mark.parametrize("asked", [0, 50])
@pytest.mark.parametrize("what", PRICES)
def test_price_is_the_cost_model_at_every_width(
    what: str, asked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked of the model itself, or of the polynomial without these groups."""
    monkeypatch.setattr(counts, "ASKED", asked)
    graph = traced(Projection)
    curve = PRICES[what].of(graph)
    for a, b in combinations(range(5), 2):
        for widths in ({"a.0": a, "b.0": b}, {"b.0": a, "stem.0": b}):
            assert curve.at(widths) == pytest.approx(getattr(cost(graph, widths), what))


class Small(Blocks):
    """Of this image a single place is left, where a pooled gate and a map look alike."""

    def __init__(self) -> None:
        super().__init__()
        self.shrink, self.a = nn.Conv2d(8, 8, 16), nn.Conv2d(8, 4, 1)
        self.b, self.gate = nn.Conv2d(4, 8, 1), nn.Conv2d(8, 8, 1)

    def middle(self, x: Tensor) -> Tensor:
        x = self.shrink(x)
        y = self.b(F.relu(self.a(x)))
        return x + y * torch.sigmoid(self.gate(F.adaptive_avg_pool2d(x, 1)))


def test_a_map_of_one_place_is_no_gate() -> None:
    """y is as large as the image makes it, so the gate cannot say how large it was."""
    assert not can_vanish(traced(Small), ["a"])


def test_what_stands_for_a_branch_is_trained_in_its_place() -> None:
    graph = traced(Identity)
    parameters = list(graph.model.parameters())
    optimizer = torch.optim.SGD(
        [{"params": parameters[:5]}, {"params": parameters[5:], "lr": 0.1}], lr=0.01, momentum=0.9
    )
    graph.model(images(4)).square().sum().backward()
    optimizer.step()
    small = narrow(graph, {"a.0": [], "c.0": []}, optimizer=optimizer).model
    named = dict(small.named_parameters())
    stand_ins = {name for name in named if name.startswith("vanished_")}
    assert len(stand_ins) == 2
    told = [p for group in optimizer.param_groups for p in group["params"]]
    assert {id(p) for p in told} == {id(p) for p in named.values()}
    assert len(told) == len(named)
    before = {name: named[name].detach().clone() for name in stand_ins}
    small.train()
    small(images(4)).square().sum().backward()
    optimizer.step()
    assert all(not torch.equal(before[name], named[name]) for name in stand_ins)


def test_saved_and_loaded(tmp_path: Path) -> None:
    graph = traced(Projection)
    keep: dict[str, list[int]] = {"a.0": [0, 1], "b.0": [], "stem.0": [0, 2, 3, 5]}
    smaller = edgeprune.cut(graph, keep)
    with torch.no_grad():
        for p in smaller.parameters():
            p.mul_(1.5)
    edgeprune.save(smaller, tmp_path / "s.safetensors")
    again = edgeprune.load(tmp_path / "s.safetensors", lambda: Projection().double())
    x = images(3, seed=4)
    assert torch.equal(again(x), smaller.eval()(x))


def test_the_branch_is_not_in_the_onnx_file_either(tmp_path: Path) -> None:
    import onnx

    graph = traced(Inverted)
    small = narrow(graph, {"a.0": []}).model.float().eval()
    real = export.Real(images(6).float())
    card = export.Card(Convention(size=16), list("abcde"))
    done = export.write(small, tmp_path / "s.onnx", real=real, card=card)
    kinds = [n.op_type for n in onnx.load(done.path).graph.node]
    assert kinds.count("Conv") == 3  # the stem, and the block without a sum
    assert done.parity.difference < 1e-5


def test_a_branch_that_ends_in_yes_or_no_vanishes() -> None:
    """What stands for it is no number, and is not trained."""
    torch.manual_seed(0)

    class Choice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Conv2d(3, 6, 1), nn.Conv2d(3, 5, 1), nn.Conv2d(5, 6, 1)
            self.o = nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            a = self.a(x)
            return self.o(torch.where(self.c(self.b(x).relu()) > 0, a, -a).mean((2, 3)))

    x = torch.randn(3, 3, 8, 8, dtype=torch.float64)
    graph = edgeprune.graph.trace(Choice().double().eval(), x[:2])
    assert can_vanish(graph, ["b"])
    small = narrow(graph, {"b": []}).model
    assert relative(small(x), masked(graph, {"b": []})(x)) < 1e-12
