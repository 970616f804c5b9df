"""Norms over channels written out: what they count can leave, and the cut stays exact."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeprune.graph import Graph, cost, trace
from edgeprune.prune import compose, cut, masked, narrow
from tests.graphs import random_keep, relative
from tests.nets import images


class Normed(nn.Module):
    """ConvNeXt V2 and PoolFormer in small: each norm counts channels that other layers share."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.stem_norm = nn.Conv2d(3, 8, 4, stride=4), nn.GroupNorm(1, 8)
        self.dw, self.norm = nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.LayerNorm(8)
        self.up, self.down = nn.Linear(8, 12), nn.Linear(12, 8)
        self.gamma, self.beta = nn.Parameter(torch.rand(12)), nn.Parameter(torch.rand(12))
        self.last, self.head = nn.LayerNorm(8, elementwise_affine=False), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem_norm(self.stem(x))
        y = F.gelu(self.up(self.norm(self.dw(x).permute(0, 2, 3, 1))))
        size = y.norm(p=2, dim=(1, 2), keepdim=True)
        size = size / (size.mean(-1, keepdim=True) + 1e-6)
        y = self.down(y + self.gamma * (y * size) + self.beta)
        return self.head(self.last((x + y.permute(0, 3, 1, 2)).mean((2, 3))))


def build(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    net = Normed().double().eval()
    for parameter in net.parameters():
        if parameter.ndim == 1:
            parameter.data += torch.randn_like(parameter) * 0.5
    return net


@pytest.fixture(scope="module")
def graph() -> Graph:
    return trace(build(), images(2), exact_norms=True)


def test_nothing_but_the_writing_changes(graph: Graph) -> None:
    with torch.no_grad():
        assert relative(graph.module(images(5, seed=2)), graph.model(images(5, seed=2))) < 1e-12


def test_what_norms_count_can_leave(graph: Graph) -> None:
    assert {name: g.width for name, g in graph.groups.items()} == {"stem": 8, "up": 12}
    whole = trace(graph.model, images(2))
    assert whole.groups == {}
    assert "normalises over channels" in {r.reason for r in whole.refusals}


@pytest.mark.parametrize("share", [0.1, 0.6])
def test_cut_is_masked_and_zeroed(graph: Graph, share: float) -> None:
    keep = random_keep(graph, 0, share)
    x = images(5, seed=7)
    small = cut(graph.model, graph, keep)
    zeroed = copy.deepcopy(graph.model)
    for name, part in small.named_parameters():
        whole = zeroed.get_parameter(name).data
        whole[~torch.isin(whole, part)] = 0
    with torch.no_grad():
        assert relative(small(x), masked(graph, keep)(x)) < 1e-9
        assert relative(small(x), zeroed(x)) < 1e-9
        assert relative(graph.model(x), small(x)) > 1e-3
    assert small.edgeprune_kind == "graph"


def test_a_second_cut_counts_from_the_dense_network(graph: Graph) -> None:
    first = random_keep(graph, 1, 0.7)
    half = narrow(graph, first)
    second = random_keep(half, 2, 0.6)
    x = images(3, seed=5)
    with torch.no_grad():
        once = masked(graph, compose(first, second))(x)
        assert relative(narrow(half, second).model(x), once) < 1e-9
    assert cost(graph, {name: len(k) for name, k in first.items()}) == cost(half)


def test_the_counts_are_no_part_of_the_file(graph: Graph) -> None:
    keep = random_keep(graph, 3, 0.5)
    small = cut(graph.model, graph, keep)
    assert set(small.state_dict()) == set(graph.model.state_dict())
    fresh = cut(build(1), trace(build(1), images(2), exact_norms=True), keep)
    fresh.load_state_dict(small.state_dict())
    with torch.no_grad():
        assert torch.equal(fresh(images(3)), small(images(3)))


def test_it_trains(graph: Graph) -> None:
    small = cut(graph.model, graph, random_keep(graph, 4, 0.5)).train()
    small(images(4)).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in small.parameters())
