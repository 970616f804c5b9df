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
    """Reads channels by number, some of them twice."""

    def __init__(self, *numbers: int) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 6, 1), nn.Conv2d(len(numbers), 2, 1)
        self.register_buffer("numbers", torch.tensor(numbers))

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.relu(self.a(x))[:, self.numbers])


def units(net: nn.Module) -> dict[str, list[int]]:
    """The filters of the first layer that each group holds."""
    graph = trace(net.eval(), torch.zeros(2, 3, 4, 4))
    return {
        name: [i for i, u in enumerate(g.producing_sites()[0].unit) if u >= 0]
        for name, g in graph.groups.items()
    }


def test_units_that_cost_twice_are_a_group_of_their_own() -> None:
    assert units(Again(0, 1, 2, 3, 4, 5)) == {"a": [0, 1, 2, 3, 4, 5]}
    assert units(Again(0, 1, 2, 3, 4, 5, 2, 1)) == {"a": [0, 3, 4, 5], "a#2": [1, 2]}


def test_one_unit_alone_is_no_group() -> None:
    """A group keeps one unit at least: this one could never leave."""
    assert units(Again(0, 1, 2, 3, 4, 5, 1)) == {"a": [0, 2, 3, 4, 5]}


class Sum(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(torch.relu(self.a(x) + self.b(x)))


def test_what_is_added_is_one_group_of_two_layers() -> None:
    assert groups(Sum()) == {"a": (4, ("a", "b"))}
