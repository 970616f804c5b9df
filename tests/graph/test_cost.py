"""Costs counted by hand, operator by operator."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeprune.graph import Row, cost, trace


def row(net: nn.Module, *shape: int) -> Row:
    """The one layer of ``net`` that is counted, for input (2, *shape)."""
    (found,) = cost(trace(net.eval(), torch.zeros(2, *shape))).rows
    return found


@pytest.mark.parametrize(
    ("layer", "shape", "kind", "macs", "biases", "params"),
    [
        # 6 filters of 4 x 3 x 3 on 8 x 8 places
        (nn.Conv2d(4, 6, 3, padding=1), (4, 8, 8), "conv", 6 * 4 * 9 * 64, 6 * 64, 6 * 4 * 9 + 6),
        # every second place: 4 x 4
        (nn.Conv2d(4, 6, 3, 2, 1), (4, 8, 8), "conv", 6 * 4 * 9 * 16, 6 * 16, 6 * 4 * 9 + 6),
        # 4 groups of 2 inputs each
        (nn.Conv2d(8, 8, 3, padding=1, groups=4), (8, 6, 6), "conv", 8 * 2 * 9 * 36, 8 * 36, 152),
        # one input a filter
        (nn.Conv2d(4, 4, 3, 2, 1, groups=4), (4, 8, 8), "depthwise", 4 * 9 * 16, 4 * 16, 40),
        # each of 4 x 5 x 5 input values is spread over 6 x 2 x 2; biases at the 10 x 10 outputs
        (nn.ConvTranspose2d(4, 6, 2, 2), (4, 5, 5), "conv", 4 * 25 * 6 * 4, 6 * 100, 102),
        # overlapping: kernel 4 at stride 2, 5 -> 10
        (nn.ConvTranspose2d(4, 6, 4, 2, 1), (4, 5, 5), "conv", 4 * 25 * 6 * 16, 6 * 100, 390),
        (nn.Linear(7, 3), (7,), "linear", 21, 3, 24),
        # at each of 5 tokens
        (nn.Linear(7, 3), (5, 7), "linear", 5 * 21, 5 * 3, 24),
        # batch norm: 4 values a channel, and nothing that the paper counts
        (nn.BatchNorm2d(6), (6, 4, 4), "norm", 0, 0, 24),
    ],
)
def test_a_layer(
    layer: nn.Module, shape: tuple[int, ...], kind: str, macs: int, biases: int, params: int
) -> None:
    found = row(layer, *shape)
    assert (found.kind, found.macs, found.params) == (kind, macs, params)
    assert found.flops == 2 * (macs + biases)
    assert found.bytes == 4 * params


def test_kernel_and_stride_are_their_longer_sides() -> None:
    found = row(nn.Conv2d(3, 4, (3, 5), (1, 2), padding=(1, 2)), 3, 8, 8)
    assert (found.kernel, found.stride, found.out_shape) == (5, 2, (4, 8, 4))
    assert (found.width_in, found.width_out) == (3, 4)
    assert found.activation_bytes == 4 * 4 * 8 * 4


class Attention(nn.Module):
    """2 heads, 5 tokens; 3 channels a head in q and k, 4 in v."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 8)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (f(x).unflatten(2, (2, -1)).transpose(1, 2) for f in (self.q, self.k, self.v))
        return F.scaled_dot_product_attention(q, k, v)


def products(net: nn.Module, *shape: int) -> list[tuple[int, int]]:
    rows = cost(trace(net.eval(), torch.randn(2, *shape))).rows
    return [(r.macs, r.flops) for r in rows if r.kind == "matmul"]


def test_attention_is_two_products() -> None:
    """q k' is 2 heads x 5 x 5 x 3, its product with v 2 x 5 x 5 x 4; the paper counts neither."""
    assert products(Attention(), 5, 6) == [(2 * 5 * 5 * 3 + 2 * 5 * 5 * 4, 0)]


class Product(nn.Module):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "matmul":
            return x @ x.transpose(1, 2)
        return torch.einsum("nij,nkj->nik", x, x)


@pytest.mark.parametrize("how", ["matmul", "einsum"])
def test_a_product_of_maps(how: str) -> None:
    """(5, 6) @ (6, 5), for one image of the two that were traced."""
    assert products(Product(how), 5, 6) == [(5 * 6 * 5, 0)]


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.a(F.relu(self.a(x)))


def test_shared_weights_are_stored_once_and_computed_twice() -> None:
    found = cost(trace(Twice().eval(), torch.zeros(2, 4, 3, 3)))
    assert [r.params for r in found.rows] == [20, 0]
    assert found.macs == 2 * 16 * 9


def test_widths_that_no_network_has_yet() -> None:
    """3 -> 8 -> 5, both 3 x 3 on 6 x 6 places, priced at 3 of the 8."""
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 5, 3, padding=1))
    graph = trace(net.eval(), torch.zeros(2, 3, 6, 6))
    found = cost(graph, {"0": 3})
    assert found.params == (3 * 27 + 3) + (5 * 27 + 5)
    assert found.macs == 36 * (3 * 27 + 5 * 27)
    assert found.flops == 2 * (found.macs + 36 * (3 + 5))
