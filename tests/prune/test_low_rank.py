"""Layers as pairs of thinner ones: by hand on small numbers, exact at full rank, pruned like any other."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from edgeprune.graph import cost, trace
from edgeprune.prune import largest, low_rank, masked, narrow


def test_the_pair_of_a_matrix_by_hand() -> None:
    """W = 5 u v' + 2 p q' with orthonormal pairs: rank 1 is 5 u v', 25 of 29 of the energy."""
    layer = nn.Linear(2, 2, dtype=torch.float64)
    u, v = torch.tensor([0.6, 0.8]).double(), torch.tensor([0.8, -0.6]).double()
    p, q = torch.tensor([0.8, -0.6]).double(), torch.tensor([0.6, 0.8]).double()
    with torch.no_grad():
        layer.weight.copy_(5 * torch.outer(u, v) + 2 * torch.outer(p, q))
    found = low_rank.spectra(nn.Sequential(layer))["0"][0]
    assert found.values.tolist() == pytest.approx([5, 2])
    assert [found.at(e).rank for e in (25 / 29 - 1e-6, 25 / 29 + 1e-6)] == [1, 2]
    assert found.at(0.5).share == (2 + 2) / 4
    pair = low_rank.pair(layer, low_rank.CHANNELS)
    W1, W2 = pair[0].weight, pair[1].weight
    assert (W2[:, :1] @ W1[:1]).allclose(5 * torch.outer(u, v))
    assert W1.square().sum(1).tolist() == pytest.approx([5, 2])  # sqrt(S) on either side
    assert pair[1].bias.equal(layer.bias)


def test_a_spatial_pair_by_hand() -> None:
    """A kernel that is a column times a row is of rank 1: nothing of it is lost."""
    conv = nn.Conv2d(1, 1, 3, padding=1, bias=False, dtype=torch.float64)
    column, row = torch.tensor([1.0, 2.0, 3.0]).double(), torch.tensor([4.0, -5.0, 6.0]).double()
    with torch.no_grad():
        conv.weight.copy_(torch.outer(column, row)[None, None])
    spatial = low_rank.spectra(nn.Sequential(conv))["0"][1]
    assert spatial.at(0.999).rank == 1
    assert spatial.values[0].item() == pytest.approx(math.sqrt(14 * 77))
    assert (spatial.one, spatial.weights) == (3 + 3, 9)
    pair = low_rank.pair(conv, low_rank.SPATIAL)
    product = pair[1].weight[0, 0, 0][None] * pair[0].weight[0, 0]
    assert product.allclose(torch.outer(column, row))
    assert [tuple(c.kernel_size) for c in pair] == [(3, 1), (1, 3)]


LAYERS = [
    (nn.Linear(5, 7), "channels"),
    (nn.Conv2d(3, 8, 3, stride=2, padding=1), "channels"),
    (nn.Conv2d(6, 4, 1, bias=False), "channels"),
    (nn.Conv2d(3, 5, 3, padding=1, padding_mode="reflect"), "channels"),
    (nn.Conv2d(3, 8, (3, 5), padding=(2, 1), dilation=(2, 1)), "spatial"),
    (nn.Conv2d(3, 8, 3, padding="same", dilation=2), "spatial"),
    (nn.Conv2d(4, 2, (2, 3)), "spatial"),
]


@pytest.mark.parametrize(("layer", "form"), LAYERS)
def test_full_rank_computes_the_same(layer: nn.Module, form: str) -> None:
    layer = layer.double()
    x = torch.randn((4, 5) if isinstance(layer, nn.Linear) else (2, layer.in_channels, 11, 13))
    x = x.double()
    pair = low_rank.pair(layer, form)
    assert pair(x).allclose(layer(x), atol=1e-12)
    empty = low_rank.pair(layer, form, weights=False)
    assert [p.shape for p in empty.parameters()] == [p.shape for p in pair.parameters()]


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(),
        nn.Conv2d(12, 16, 3, padding=1), nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 20), nn.ReLU(), nn.Linear(20, 4),
    ).double().eval()  # fmt: skip


def test_ranks_are_a_keep_and_what_is_decomposed_is_pruned_like_any_other() -> None:
    dense, x = net(), torch.randn(2, 3, 10, 10).double()
    factors = low_rank.chosen(low_rank.spectra(dense), 0.7)
    assert "5" not in factors  # depthwise
    assert all(f.share < 1 for f in factors.values())
    assert {"3", "9"} <= set(factors)
    forms = {name: f.form for name, f in factors.items()}
    full = low_rank.decomposed(dense, forms)
    assert full(x).allclose(dense(x))
    assert isinstance(dense[3], nn.Conv2d)  # a copy
    graph = trace(full, x)
    ranks = {low_rank.middle(n): list(range(f.rank)) for n, f in factors.items()}
    small = narrow(graph, ranks)
    expected = low_rank.matrix(dense[3].weight, forms["3"])
    U, S, V = torch.linalg.svd(expected, full_matrices=False)
    r = factors["3"].rank
    assert product(small.model.get_submodule("3"), forms["3"]).allclose(
        U[:, :r] * S[:r] @ V[:r], atol=1e-10
    )
    for name, factor in factors.items():
        pair = small.model.get_submodule(name)
        weights = sum(c.weight.numel() for c in pair)  # type: ignore[arg-type, union-attr]
        assert weights == pytest.approx(factor.share * dense.get_submodule(name).weight.numel())  # type: ignore[union-attr, operator]
    assert cost(small).flops < cost(trace(dense, x)).flops
    filters = {n: largest(torch.arange(g.width), g.width // 2 + 1) for n, g in small.groups.items()}
    other = torch.randn(3, 3, 10, 10).double()
    assert narrow(small, filters).model(other).allclose(masked(small, filters)(other))


def product(pair: nn.Module, form: str) -> Tensor:
    first, second = (c.weight.detach() for c in pair)  # type: ignore[attr-defined]
    if form == low_rank.CHANNELS:
        return second.flatten(1) @ first.flatten(1)
    left = first[..., 0].permute(1, 2, 0).flatten(0, 1)
    return left @ second[:, :, 0].permute(1, 0, 2).flatten(1)


def test_layers_that_are_not_alone_with_their_weights_stay() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8), nn.Conv2d(4, 4, 3, groups=2))
    model[1].weight = model[0].weight
    assert low_rank.layers(model) == {}
    with pytest.raises(KeyError):
        low_rank.decomposed(model, {"2": low_rank.CHANNELS})
