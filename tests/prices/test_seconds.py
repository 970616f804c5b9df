"""Times at any widths: the layers are the cost model's, whatever leaves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from edgeprune.graph import Graph, can_vanish, cost, trace
from edgeprune.prices.seconds import Milliseconds, _counted
from edgeprune.runtime import Model, predict
from edgeprune.runtime.roofline import Peaks
from tests import nets

PEAKS = Peaks(1e9, None, ((1e3, 1e9),), ((1e3, 1e9),), 1e-6)
DEVICE = Model(4, PEAKS, {}, (1e-6, 1e-9), (0.0, 1e-6, 1e-10))


@pytest.fixture(params=[nets.Plain, nets.Depthwise, nets.Residual], ids=lambda n: n.__name__)
def graph(request: pytest.FixtureRequest) -> Graph:
    torch.manual_seed(0)
    return trace(request.param().eval(), torch.randn(2, 3, 16, 16))


def test_layers_at_any_widths_are_those_of_the_cost_model(graph: Graph) -> None:
    curve, random = Milliseconds(graph, DEVICE), np.random.default_rng(0)
    for _ in range(20):
        widths = {n: int(random.integers(1, g.width + 1)) for n, g in graph.groups.items()}
        expected = _counted(cost(graph, widths))
        found = curve.layers.at([widths[n] for n in graph.groups])
        for one, other in zip(found, expected, strict=True):
            for what in (
                "kind",
                "width_in",
                "width_out",
                "groups",
                "out_shape",
                "kernel",
                "stride",
            ):
                assert getattr(one, what) == getattr(other, what), what
        assert curve.at(widths) == 1e3 * predict(DEVICE, expected).seconds


def test_layers_of_whole_groups_that_leave(graph: Graph) -> None:
    gone = [name for name in graph.groups if can_vanish(graph, [name])]
    curve = Milliseconds(graph, DEVICE)
    for name in gone:
        assert curve.at({name: 0}) == 1e3 * predict(DEVICE, cost(graph, {name: 0}).rows).seconds
        assert curve.at({name: 0}) < curve.dense


def test_grouped_convolutions_follow_their_groups() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3, groups=4), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5),
    )  # fmt: skip
    graph = trace(net.eval(), torch.randn(2, 3, 16, 16))
    curve = Milliseconds(graph, DEVICE)
    for name, group in graph.groups.items():
        for width in range(1, group.width + 1):
            expected = predict(DEVICE, cost(graph, {name: width}).rows).seconds
            assert curve.at({name: width}) == 1e3 * expected
