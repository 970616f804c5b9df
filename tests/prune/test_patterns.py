"""Patterns inside kernels: what they keep, by hand; and the smaller convolution, exactly."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from edgeprune.prune import patterns


def test_each_kernel_takes_the_pattern_that_keeps_most() -> None:
    """Two of four places; all six masks tried by hand."""
    draw = torch.Generator().manual_seed(0)
    W = torch.randn(6, 5, 2, 2, generator=draw, dtype=torch.float64)
    kernels = W.abs().reshape(-1, 4).tolist()
    masks = list(itertools.combinations(range(4), 2))

    def kept(kernel: list[float], mask: tuple[int, ...]) -> float:
        return sum(kernel[i] for i in mask)

    own = [max(masks, key=lambda m: kept(k, m)) for k in kernels]
    worth = {m: sum(kept(k, m) for k, o in zip(kernels, own, strict=True) if o == m) for m in masks}
    best = sorted(masks, key=lambda m: -worth[m])[:3]
    found = patterns.dictionary(W, 2, 3)
    assert [tuple(p.flatten().nonzero()[:, 0].tolist()) for p in found] == best
    expected = [max(range(3), key=lambda i: kept(k, best[i])) for k in kernels]
    assert patterns.chosen(W, found).flatten().tolist() == expected
    mask = patterns.mask_of(W, found)
    assert mask.sum((2, 3)).eq(2).all()
    # 30 kernels of two values and of two bits for one of three patterns, and three patterns of four bits
    assert patterns.stored_bits(W, found) == 30 * (2 * 32 + 2) + 3 * 4


def test_all_patterns_keep_the_largest() -> None:
    """With as many patterns as there are, each kernel keeps its t largest."""
    W = torch.randn(8, 8, 3, 3, generator=torch.Generator().manual_seed(1))
    mask = patterns.mask_of(W, patterns.dictionary(W, 4, 126))
    for kernel, own in zip(W.abs().reshape(-1, 9), mask.reshape(-1, 9), strict=True):
        assert float((kernel * own).sum()) == pytest.approx(float(kernel.topk(4).values.sum()))


@pytest.mark.parametrize("name", list(patterns.rows(3, 3)))
@pytest.mark.parametrize(
    "words",
    [
        {"padding": 1},
        {"padding": 2, "stride": 2},
        {"dilation": 2},
        {"padding": (0, 1), "bias": False},
    ],
)
def test_regular_patterns_are_smaller_convolutions(name: str, words: dict) -> None:
    conv = nn.Conv2d(4, 6, 3, groups=2, **words).double()
    with torch.no_grad():
        conv.weight *= patterns.mask_of(conv.weight, patterns.rows(3, 3)[name])
    small = patterns.smaller(conv)
    assert small is not None
    x = torch.randn(2, 4, 11, 12, dtype=torch.float64)
    torch.testing.assert_close(small(x), conv(x), rtol=1e-12, atol=1e-12)
    inner = small if isinstance(small, nn.Conv2d) else small[1]  # type: ignore[index]
    assert inner.weight.numel() == int((conv.weight != 0).sum())


def test_uneven_rows_keep_their_place() -> None:
    """The first row and the last two columns of five: padded unevenly, the same answers."""
    conv = nn.Conv2d(3, 4, 5, padding=1).double()
    with torch.no_grad():
        conv.weight[:, :, 1:] = 0
        conv.weight[:, :, :, :3] = 0
    small = patterns.smaller(conv)
    assert isinstance(small, nn.Sequential)
    x = torch.randn(2, 3, 9, 9, dtype=torch.float64)
    torch.testing.assert_close(small(x), conv(x), rtol=1e-12, atol=1e-12)


def test_a_full_kernel_and_an_empty_one_stay() -> None:
    conv = nn.Conv2d(3, 4, 3)
    assert patterns.smaller(conv) is None
    with torch.no_grad():
        conv.weight.zero_()
    assert patterns.smaller(conv) is None
