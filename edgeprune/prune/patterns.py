"""Regular patterns inside kernels (Yang et al. 2018, intra-kernel regular pruning), and what a dense runtime
can make of them.

A layer has a dictionary of P masks with t of the k x k places each; every kernel (a pair of an output and
an input) takes the mask that keeps most of its |w|. Stored are t values and log2(P) bits a kernel. A dense
convolution multiplies by the zeros all the same; only where all kernels of a layer leave the same rows and
columns empty is there a smaller convolution (fewer rows, columns, or dilated) that gives the same.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def dictionary(weight: Tensor, t: int, most: int) -> Tensor:
    """bool [P, k, k], P <= ``most``: the masks of ``t`` places that keep most |w| of the kernels that would
    choose them; ``weight`` [O, I, k, k]."""
    size = weight.detach().abs().flatten(0, 1).flatten(1)  # [kernels, k*k]
    top = size.topk(t, dim=1)
    masks = torch.zeros_like(size, dtype=torch.bool).scatter(1, top.indices, True)
    found, which = masks.unique(dim=0, return_inverse=True)
    kept = torch.zeros(len(found), dtype=size.dtype).index_add(0, which, top.values.sum(1))
    best = kept.argsort(descending=True, stable=True)[:most]
    return found[best].reshape(-1, *weight.shape[2:])


def chosen(weight: Tensor, patterns: Tensor) -> Tensor:
    """int64 [O, I]: the pattern that keeps most |w| of each kernel."""
    kept = torch.einsum("oihw,phw->oip", weight.detach().abs(), patterns.to(weight.dtype))
    return kept.argmax(2)


def mask_of(weight: Tensor, patterns: Tensor) -> Tensor:
    """The mask of a layer, in the shape of ``weight``: each kernel in its pattern."""
    return patterns.to(weight.dtype)[chosen(weight, patterns)]


def stored_bits(weight: Tensor, patterns: Tensor, bits: int = 32) -> int:
    """What a layer's weights take as values and numbers of patterns, the dictionary among them."""
    kernels, places = weight.shape[0] * weight.shape[1], weight[0, 0].numel()
    numbers = math.ceil(math.log2(len(patterns))) if len(patterns) > 1 else 0
    kept = int(patterns[chosen(weight, patterns)].sum())
    return kept * bits + kernels * numbers + len(patterns) * places


def rows(height: int, width: int) -> dict[str, Tensor]:
    """Patterns that a smaller convolution can stand for, each alone a dictionary: bool [1, height, width]."""
    found = {}
    for name, at in {
        "middle row": (slice(height // 2, height // 2 + 1), slice(None)),
        "middle column": (slice(None), slice(width // 2, width // 2 + 1)),
        "every second": (slice(None, None, 2), slice(None, None, 2)),
        "middle": (slice(height // 2, height // 2 + 1), slice(width // 2, width // 2 + 1)),
    }.items():
        found[name] = torch.zeros(1, height, width, dtype=torch.bool)
        found[name][0, at[0], at[1]] = True
    return found


def smaller(conv: nn.Conv2d) -> nn.Module | None:
    """A convolution without the rows and columns that no kernel uses, with the same answers; None where
    there is none (or padding is not by zeros)."""
    used = (conv.weight.detach() != 0).flatten(0, 1).any(0)
    axes = [_lattice(used.any(1 - axis)) for axis in (0, 1)]
    if (
        any(a is None for a in axes)
        or conv.padding_mode in ("reflect", "replicate", "circular")
        or isinstance(conv.padding, str)
    ):
        return None
    (first, last, step) = zip(*(a for a in axes if a is not None), strict=True)
    size = [(last[i] - first[i]) // step[i] + 1 for i in (0, 1)]
    if size == list(conv.kernel_size):
        return None
    dilation = [conv.dilation[i] * step[i] for i in (0, 1)]
    before = [conv.padding[i] - first[i] * conv.dilation[i] for i in (0, 1)]
    after = [
        conv.padding[i] - (conv.kernel_size[i] - 1 - last[i]) * conv.dilation[i] for i in (0, 1)
    ]
    even = before == after and min(before) >= 0
    made = nn.Conv2d(
        conv.in_channels, conv.out_channels, (size[0], size[1]), (conv.stride[0], conv.stride[1]),
        (before[0], before[1]) if even else 0, (dilation[0], dilation[1]), conv.groups,
        conv.bias is not None, device=conv.weight.device, dtype=conv.weight.dtype,
    )  # fmt: skip
    at = [slice(first[i], last[i] + 1, step[i]) for i in (0, 1)]
    with torch.no_grad():
        made.weight.copy_(conv.weight[:, :, at[0], at[1]])
        if conv.bias is not None and made.bias is not None:
            made.bias.copy_(conv.bias)
    if even:
        return made
    return nn.Sequential(nn.ZeroPad2d((before[1], after[1], before[0], after[0])), made)


def _lattice(used: Tensor) -> tuple[int, int, int] | None:
    """First, last and step of the places that are used; None where none is."""
    at = used.nonzero()[:, 0].tolist()
    if not at:
        return None
    step = math.gcd(*(b - at[0] for b in at[1:])) if len(at) > 1 else 1
    return at[0], at[-1], step
