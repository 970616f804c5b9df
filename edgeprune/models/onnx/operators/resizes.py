"""Resize and its older forms: PyTorch's where it computes the same, else axis by axis."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .row import Node, Row, Rows, axis_of, numbers, roomy

HALF = ("half_pixel", "pytorch_half_pixel")
SPACES = {3: "linear", 4: "bilinear", 5: "trilinear"}
ROUNDED = {
    "round_prefer_floor": lambda v: math.ceil(v - 0.5),
    "round_prefer_ceil": lambda v: math.floor(v + 0.5),
    "floor": math.floor,
    "ceil": math.ceil,
}


def _resize(
    node: Node, x: Tensor, roi: Any = None, scales: Any = None, sizes: Any = None
) -> Tensor:
    """``roi`` is of a way to crop that is refused."""
    factors, wanted = numbers(scales), numbers(sizes)
    axes = [axis_of(a, x.ndim) for a in node.get("axes") or range(x.ndim)]
    if node.get("antialias", 0) or node.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise node.fail("smooths, or keeps the aspect ratio")
    if bool(factors) == bool(wanted) or len(factors or wanted) != len(axes):
        raise node.fail(f"wants {len(axes)} scales or sizes, not both")
    sized = list(x.shape)
    ratios: list[Any] = [1.0] * x.ndim
    for i, axis in enumerate(axes):
        if wanted:
            new = wanted[i] if axis else x.shape[0]  # the batch is open
            ratios[axis], sized[axis] = new / x.shape[axis], new
        else:
            ratios[axis], sized[axis] = factors[i], _scaled(x.shape[axis], factors[i])
    if sized[:2] != list(x.shape[:2]):
        raise node.fail("resizes the batch or the channels")
    roomy(sized)
    return _by(node, x, sized, ratios)


def _scaled(size: Any, factor: Any) -> Any:
    """floor(size * factor)."""
    if isinstance(factor, float) and factor.is_integer():
        return size * int(factor)
    return math.floor(size * factor)


def _resize10(node: Node, x: Tensor, scales: Any = None) -> Tensor:
    """Upsample, and Resize before opset 11: corners at 0, the nearest below."""
    factors = numbers(scales) if scales is not None else list(node.get("scales"))
    sized = [_scaled(n, f) for n, f in zip(x.shape, factors, strict=True)]
    roomy(sized)
    return _by(node, x, sized, factors, "asymmetric", "floor")


def _by(
    node: Node, x: Tensor, sized: list[Any], ratios: list[Any], where: str = "", rounds: str = ""
) -> Tensor:
    mode = node.get("mode", "nearest")
    where = where or node.get("coordinate_transformation_mode", "half_pixel")
    rounds = rounds or node.get("nearest_mode", "round_prefer_floor")
    whole = all(
        sized[i] == x.shape[i] * r or sized[i] / x.shape[i] == r for i, r in enumerate(ratios)
    )  # the scale that PyTorch takes from the sizes
    space = sized[2:]
    if mode == "nearest":
        larger = whole and all(isinstance(r, int | float) and float(r).is_integer() for r in ratios)
        if whole and where == "asymmetric" and rounds == "floor":
            return F.interpolate(x, space, mode="nearest")
        if larger and where in HALF and rounds.startswith("round"):
            return F.interpolate(x, space, mode="nearest-exact")
        return _axes(node, x, sized, ratios, where, rounds)
    if (
        mode == "linear"
        and whole
        and (where in HALF or where == "align_corners")
        and x.ndim in SPACES
    ):
        # half_pixel and PyTorch's differ where an axis gets the size 1
        return F.interpolate(x, space, mode=SPACES[x.ndim], align_corners=where == "align_corners")
    smooth = mode == "cubic" and whole and x.ndim == 4 and where in (*HALF, "align_corners")
    usual = node.get("cubic_coeff_a", -0.75) == -0.75 and not node.get("exclude_outside", 0)
    if smooth and usual:
        return F.interpolate(x, space, mode="bicubic", align_corners=where == "align_corners")
    if mode == "linear":
        return _axes(node, x, sized, ratios, where, "")
    raise node.fail(f"resizes by {mode} with {where}")


def _axes(
    node: Node, x: Tensor, sized: list[Any], ratios: list[Any], where: str, rounds: str
) -> Tensor:
    """One axis after the other, at places that are written down."""
    for axis in range(2, x.ndim):
        old, new, ratio = x.shape[axis], sized[axis], ratios[axis]
        if old is new or (isinstance(new, int) and old == new and ratio == 1):
            continue
        if not (isinstance(old, int) and isinstance(new, int)):
            raise node.fail(f"resizes an open axis by {where}")
        places = [_place(node, i, old, new, ratio, where) for i in range(new)]
        if rounds:
            chosen = [min(max(ROUNDED[rounds](p), 0), old - 1) for p in places]
            x = x.index_select(axis, torch.tensor(chosen, device=x.device))
            continue
        places = [min(max(p, 0.0), old - 1.0) for p in places]
        low = [int(p) for p in places]
        share = [p - n for p, n in zip(places, low, strict=True)]
        a, b = (
            x.index_select(axis, torch.tensor(v, device=x.device))
            for v in (low, [min(n + 1, old - 1) for n in low])
        )
        weight = torch.tensor(share, dtype=x.dtype, device=x.device)
        weight = weight.reshape(-1, *[1] * (x.ndim - 1 - axis))
        x = a + (b - a) * weight
    return x


def _place(node: Node, i: int, old: int, new: int, ratio: float, where: str) -> float:
    if where == "asymmetric":
        return i / ratio
    if where == "half_pixel" or (where == "pytorch_half_pixel" and new > 1):
        return (i + 0.5) / ratio - 0.5
    if where == "pytorch_half_pixel":
        return 0.0
    if where == "align_corners":
        return i * (old - 1) / (new - 1) if new > 1 else 0.0
    raise node.fail(f"resizes by {where}")


ROWS: Rows = {
    "Resize": (
        Row(_resize10, since=10, until=10, numbers=(1,)),
        Row(_resize, since=11, numbers=(1, 2, 3)),
    ),
    "Upsample": (Row(_resize10, since=7, until=9, numbers=(1,)),),
}
