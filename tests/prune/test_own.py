"""A plan by which the user's own class comes back keeps whole what its Python wants whole, and says so."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, fx, nn

from edgeprune import cut, plan, trace
from edgeprune.errors import EdgepruneError
from edgeprune.prune import masked
from tests.graphs import relative
from tests.nets import conv_bn, randomised


class Mixer(nn.Module):
    """Its Python wants as many values as it has channels coming in, as YOLO11's attention does."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.values = nn.Conv2d(width, width, 1)
        self.out = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        return x + self.out(self.values(x).flatten(2).reshape(n, c, h, w))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.mixer, self.body = conv_bn(3, 12), Mixer(12), conv_bn(12, 16)
        self.head = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self.mixer(self.stem(x))).mean((2, 3)))


def test_the_class_comes_back_at_the_same_target() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    graph = trace(randomised(Net()), x)
    graph.model.mixer.values.weight.data[:9] *= 0.01  # type: ignore[union-attr, operator]
    words = {"keep_params": 0.75, "score": "l1", "method": "global"}
    lost = cut(graph, plan(graph, **words))  # type: ignore[arg-type]
    assert lost.edgeprune_kind == "graph"
    assert str(lost.edgeprune_reason).startswith("its forward raises in mixer: shape")
    assert lost.edgeprune_layer == "mixer"
    planned = plan(graph, own_class=True, **words)  # type: ignore[arg-type]
    small = cut(graph, planned)
    assert type(small) is Net
    assert "kept whole: the Python of mixer wants it" in planned.reasons.values()
    assert planned.widths["body.0"] < 16
    assert abs(planned.reached()["params"] - 0.75) < 0.05
    assert relative(small(x), masked(graph, planned.keep)(x)) < 1e-12


def test_a_network_without_a_class_of_its_own_is_refused() -> None:
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    net = nn.Sequential(conv_bn(3, 8), nn.Conv2d(8, 2, 1)).double().eval()
    graph = trace(fx.symbolic_trace(net), x)
    with pytest.raises(
        EdgepruneError, match="no plan keeps the class Sequential: the network is an fx"
    ):
        plan(graph, keep_params=0.5, own_class=True)
