"""In-place operators become their twins where nothing else shares the memory, and only there."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from edgeprune.graph.aten import evaluating, export, inline, quiet
from edgeprune.graph.functional import functional
from tests.graphs import relative
from tests.nets import images


class Net(nn.Module):
    """A stem, then whatever the test asks for."""

    def __init__(self, rest: object) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6)
        self.rest = rest

    def forward(self, x: Tensor) -> Tensor:
        return self.rest(self.norm(self.stem(x)))  # type: ignore[operator]


def written_twice(x: Tensor) -> Tensor:
    y = F.relu_(x).add_(1.0)
    return y.mul_(x)  # x is y


def harmless(x: Tensor) -> Tensor:
    return F.dropout(x.flatten(1), 0.2, training=False, inplace=True) * 2


def read_before(x: Tensor) -> Tensor:
    y = x * 2
    return y + x.relu_()


def through_a_view(x: Tensor) -> Tensor:
    x[:, :3].relu_()
    return x


def seen_through_a_view(x: Tensor) -> Tensor:
    y = x[:, 2:]
    x.relu_()
    return y * 1.0


def through_a_maybe_copy(x: Tensor) -> Tensor:
    y = x.contiguous()  # is x
    y.relu_()
    return x + 1


def copied_perhaps(x: Tensor) -> Tensor:
    return F.hardswish(x.flatten(1), inplace=True)


def filled(x: Tensor) -> Tensor:
    y = x.new_zeros(x.shape[0], 9, *x.shape[2:])
    y[:, :6] = x
    return y


def whole_batch(x: Tensor) -> Tensor:
    return F.batch_norm(x, None, None, training=True)


QUICK = (written_twice, harmless, read_before)
SLOW = (
    through_a_view,
    seen_through_a_view,
    copied_perhaps,
    filled,
    whole_batch,
)


# The exporter may leave a copy out that copies nothing: whether a second trace is needed depends on it.
@pytest.mark.parametrize("rest", [*QUICK, *SLOW, through_a_maybe_copy])
def test_the_functional_graph_is_the_network(rest: object) -> None:
    net = Net(rest).double().eval()
    with torch.no_grad():
        net.norm.weight.normal_()
        module = export(net, images(2))
        x = images(5, seed=3)
        assert relative(module(x), net(x)) < 1e-12
    targets = [n.target for n in module.graph.nodes if n.op == "call_function"]
    written = [t for t in targets if isinstance(t, torch._ops.OpOverload) and t._schema.is_mutable]
    assert not written


@pytest.mark.parametrize("rest", [*QUICK, *SLOW])
def test_which_networks_need_no_second_trace(rest: object) -> None:
    net = Net(rest).double()
    with evaluating(net), quiet(), torch.no_grad():
        shapes = ({0: torch.export.Dim.AUTO},)
        module = torch.export.export(net, (images(2),), dynamic_shapes=shapes).module()
    assert isinstance(module, fx.GraphModule)
    inline(module)
    assert functional(module) == (rest in QUICK)
