"""What a reader loses: by the scale of the norm behind it, and about its mean where a bias takes it up."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgeprune.graph import trace
from edgeprune.prune import scores
from edgeprune.prune.elimination import Problem, eliminate
from edgeprune.prune.evidence import gather
from edgeprune.prune.images import Images
from tests.nets import images


class Two(nn.Module):
    """Two filters, each the copy of one channel of the image; a reader; a norm; a head."""

    def __init__(self, bias: bool, norm: bool) -> None:
        super().__init__()
        self.a, self.r = nn.Conv2d(3, 2, 1), nn.Conv2d(2, 2, 1, bias=bias)
        self.bn = nn.BatchNorm2d(2) if norm else nn.Identity()
        self.head = nn.Linear(2, 3)
        with torch.no_grad():
            self.a.weight.zero_()
            self.a.weight[0, 0], self.a.weight[1, 1] = 1.0, 1.0
            self.a.bias.fill_(0.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.bn(self.r(torch.relu(self.a(x))))).mean((2, 3)))


def first_to_leave(net: nn.Module) -> int:
    graph = trace(net.double().eval(), images(2))
    seen = gather(graph, Images([images(16, seed) for seed in range(4)]), parts=("readers",))
    return int(scores.elimination_of(graph, "a", seen).order[0])


@pytest.mark.parametrize(("scale", "out"), [((1.0, 1.0), 0), ((10.0, 0.1), 1)])
def test_an_output_counts_as_the_norm_scales_it(scale: tuple[float, float], out: int) -> None:
    """Each output reads one channel, with weights 1 and 2; scaled they are 10 and 0.2."""
    torch.manual_seed(0)
    net = Two(bias=False, norm=True)
    with torch.no_grad():
        net.r.weight.copy_(torch.tensor([[1.0, 0], [0, 2.0]])[:, :, None, None])
        net.bn.weight.copy_(torch.tensor(scale))
    assert first_to_leave(net) == out


@pytest.mark.parametrize(("bias", "out"), [(True, 0), (False, 1)])
def test_a_constant_is_free_where_a_bias_takes_it_up(bias: bool, out: int) -> None:
    """Filter 0 says 5 to everything: large, but all of it can go into the reader's bias."""
    torch.manual_seed(0)
    net = Two(bias=bias, norm=False)
    with torch.no_grad():
        net.a.weight[0], net.a.bias[0] = 0.0, 5.0
        net.r.weight.fill_(1.0)
    assert first_to_leave(net) == out


def test_all_readers_of_a_group_decide_together() -> None:
    """Independent inputs of variance 1; the outputs lose 1, 2, 10 here and 10, 1, 2 there, of 13."""
    one, other = (
        Problem(torch.eye(3).double(), torch.diag(torch.tensor(lost)).double(), np.arange(3))
        for lost in ([1.0, 2, 10], [10.0, 1, 2])
    )
    found = eliminate([one, other], 3)
    assert found.order.tolist() == [1, 0, 2]  # 3, 11 and 12 together
    assert found.error[2] == pytest.approx(3 / 26, rel=2e-3)
    assert eliminate([one], 3).order.tolist() == [0, 1, 2]
    assert eliminate([other], 3).order.tolist() == [1, 2, 0]


def test_further_views_of_an_image_are_no_further_images() -> None:
    """What is chosen is the same with one view and with many: else few images would look like many."""
    graph = trace(Two(bias=True, norm=True).double().eval(), images(2))
    once, again = (
        [images(16, seed) for seed in range(3)],
        [images(16, seed + 3) for seed in range(3)],
    )
    one = gather(graph, Images(once), parts=("readers",)).problems
    two = gather(graph, Images([*once, *again], sources=[0, 1, 2, 0, 1, 2]), parts=("readers",))
    other = gather(graph, Images([*once, *again]), parts=("readers",)).problems
    for name, problems in one.items():
        for mine, theirs, more in zip(problems, two.problems[name], other[name], strict=True):
            assert torch.equal(mine.S, theirs.S)
            assert not torch.equal(mine.S, more.S)
