"""The first test of everything: cut == masked, on an input that was not traced."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from edgeprune.graph import Graph, cost, trace
from edgeprune.prune import compose, cut, masked, narrow
from tests.graphs import random_keep, relative, traced
from tests.nets import NETS, images

EXACT = 1e-9  # of the largest logit, float64


@pytest.fixture(scope="module", params=sorted(NETS))
def graph(request: pytest.FixtureRequest) -> Graph:
    return traced(request.param)


@pytest.mark.parametrize("share", [0.1, 0.6])
def test_cut_is_masked(graph: Graph, share: float) -> None:
    keep = random_keep(graph, 0, share)
    x = images(5, seed=7)
    small = cut(graph.model, graph, keep)
    with torch.no_grad():
        reference, whole = masked(graph, keep)(x), graph.model(x)
        assert relative(small(x), reference) < EXACT
        assert relative(whole, reference) > 1e-3  # the units that left did matter


@pytest.mark.parametrize("name", sorted(set(NETS) - {"Scaled"}))  # it computes with its weights
def test_zeroed_parameters_give_the_same(name: str) -> None:
    """Knows nothing of labels: whatever did not survive in a parameter is zero in the whole net."""
    graph = traced(name)
    small = cut(graph.model, graph, random_keep(graph, 8, 0.5))
    zeroed = copy.deepcopy(graph.model)
    for name, part in small.named_parameters():
        whole = zeroed.get_parameter(name).data
        assert len(whole.unique()) == whole.numel()
        whole[~torch.isin(whole, part)] = 0
    x = images(3, seed=11)
    with torch.no_grad():
        assert relative(small(x), zeroed(x)) < EXACT


@pytest.mark.parametrize("name", ["Residual", "Attention"])
def test_cut_in_float32(name: str) -> None:
    model = copy.deepcopy(traced(name).model).float()
    single = trace(model, images(2).float())
    keep = random_keep(single, 3, 0.5)
    x = images(4, seed=9).float()
    with torch.no_grad():
        assert relative(cut(model, single, keep)(x), masked(single, keep)(x)) < 1e-5


class Written(nn.Module):
    """Scales its input by what it computes from numbers that its forward writes out."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x * torch.tensor([[1.0, 2.0], [3.0, 4.0]]).sum()))


def test_what_is_computed_from_a_literal_is_cut() -> None:
    graph = trace(Written().double(), images(2))
    keep = random_keep(graph, 0, 0.5)
    small = cut(graph.model, graph, keep)
    with torch.no_grad():
        assert relative(small(images(3)), masked(graph, keep)(images(3))) < EXACT


def test_cut_twice_is_cut_once(graph: Graph) -> None:
    first = random_keep(graph, 1, 0.7)
    half = narrow(graph, first)
    second = random_keep(half, 2, 0.6)
    twice = narrow(half, second)
    once = narrow(graph, compose(first, second))
    assert list(twice.groups) == list(once.groups) == list(graph.groups)
    state, other = twice.model.state_dict(), once.model.state_dict()
    assert all(torch.equal(state[name], other[name]) for name in other)
    x = images(3, seed=5)
    with torch.no_grad():
        assert torch.equal(twice.model(x), once.model(x))


def test_cost_is_known_before_the_cut(graph: Graph) -> None:
    keep = random_keep(graph, 4, 0.1)
    assert cost(graph, {name: len(k) for name, k in keep.items()}) == cost(narrow(graph, keep))


def test_a_cut_network_keeps_names_and_leaves_the_model_alone(graph: Graph) -> None:
    before = copy.deepcopy(graph.model.state_dict())
    small = cut(graph.model, graph, random_keep(graph, 5, 0.5))
    after = graph.model.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)
    if small.edgeprune_kind == "module":
        assert list(small.state_dict()) == list(after)
        assert type(small) is type(graph.model)
    else:
        assert small.edgeprune_reason
    assert not {id(p) for p in small.parameters()} & {id(p) for p in graph.model.parameters()}


def test_a_cut_network_trains(graph: Graph) -> None:
    torch.manual_seed(0)  # of the dropout
    small = cut(graph.model, graph, random_keep(graph, 6, 0.5)).train()
    x, y = images(6), torch.arange(6) % 5
    optimizer = torch.optim.SGD(small.parameters(), lr=0.02)
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(small(x), y)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert min(losses[1:]) < losses[0]
    statistics = [m for m in small.modules() if isinstance(m, nn.BatchNorm2d)]
    assert bool(statistics) == any(isinstance(m, nn.BatchNorm2d) for m in graph.model.modules())
    assert all(int(m.num_batches_tracked) == 8 for m in statistics)


def test_a_cut_network_shares_no_memory_with_the_whole_one() -> None:
    graph = traced("Plain")
    small = narrow(graph, {"features.0": [0, 2, 5]}).model  # the last layers stay as they are
    places = {t.untyped_storage().data_ptr() for t in small.state_dict().values()}
    assert places.isdisjoint(
        t.untyped_storage().data_ptr() for t in graph.model.state_dict().values()
    )
