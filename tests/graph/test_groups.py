"""Which units are one group: those that every tensor bears equally often; one alone is none."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgeprune.graph import Graph, trace


def groups(net: nn.Module) -> dict[str, tuple[int, tuple[str, ...]]]:
    """(width, producers) of each group of a network of 3 input channels."""
    graph: Graph = trace(net.eval(), torch.zeros(2, 3, 4, 4))
    return {name: (g.width, g.producers) for name, g in graph.groups.items()}


def test_the_only_filter_of_a_layer_cannot_leave() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 1, 1), nn.ReLU(), nn.Conv2d(1, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1)
    )
    assert groups(net) == {"2": (4, ("2",))}


class Again(nn.Module):
    """Two of six channels are read twice."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 6, 1), nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.a(x))
        return self.b(torch.cat([x, x[:, 1:3]], 1))


def test_units_that_cost_twice_are_a_group_of_their_own() -> None:
    """In the order of their first filter: 0, 3, 4 and 5 lie once in the sum's input, 1 and 2 twice."""
    graph = trace(Again().eval(), torch.zeros(2, 3, 4, 4))
    units = {
        name: [i for i, u in enumerate(g.producing_sites()[0].unit) if u >= 0]
        for name, g in graph.groups.items()
    }
    assert units == {"a": [0, 3, 4, 5], "a#2": [1, 2]}


class Sum(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(torch.relu(self.a(x) + self.b(x)))


def test_what_is_added_is_one_group_of_two_layers() -> None:
    assert groups(Sum()) == {"a": (4, ("a", "b"))}
