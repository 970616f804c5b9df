"""Operators with parameters, norms, and pools."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .row import Constants, Laid, Node, Row, Rows, axis_of, roomy, tensor, whole

CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
MAX_POOLS = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
AVERAGE_POOLS = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


def _space(node: Node, x: Tensor) -> int:
    if not 3 <= x.ndim <= 5:
        raise node.fail(f"works on a tensor of {x.ndim} axes")
    return x.ndim - 2


def _kernel(node: Node, rank: int) -> tuple[list[int], list[int], list[int]]:
    """Sizes of a pool's window, its strides and dilations."""
    kernel, strides, dilations = (
        whole(node, word, [1] * rank, 1) for word in ("kernel_shape", "strides", "dilations")
    )
    return kernel, strides, dilations


def _ends(
    node: Node, x: Tensor, kernel: list[Any], strides: list[int], dilations: list[int]
) -> tuple[list[Any], list[Any]]:
    """Padding before and behind each axis of space."""
    rank, auto = len(kernel), node.get("auto_pad", "NOTSET")
    if auto in ("", "NOTSET"):
        pads = whole(node, "pads", [0] * 2 * rank, 0)
        return pads[:rank], pads[rank:]
    if any(node.get("pads") or []):
        raise node.fail("has both auto_pad and pads")
    if auto == "VALID":
        return [0] * rank, [0] * rank
    if auto not in ("SAME_UPPER", "SAME_LOWER"):
        raise node.fail(f"pads by {auto[:40]!r}")
    totals = []
    for size, k, s, d in zip(x.shape[2:], kernel, strides, dilations, strict=True):
        needed = (-(-size // s) - 1) * s + d * (k - 1) + 1 - size
        totals.append(max(needed, 0))
    small = [t // 2 for t in totals]
    large = [t - t // 2 for t in totals]
    return (large, small) if auto == "SAME_LOWER" else (small, large)


def _padded(x: Tensor, before: list[Any], behind: list[Any], value: float) -> Tensor:
    flat = [v for pair in zip(reversed(before), reversed(behind), strict=True) for v in pair]
    return F.pad(x, flat, value=value)


def _convolution(node: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    rank = _space(node, x)
    _, strides, dilations = _kernel(node, rank)
    groups = _groups(node, x, weight)
    before, behind = _ends(node, x, list(weight.shape[2:]), strides, dilations)
    if before != behind:
        x, before = _padded(x, before, behind, 0.0), [0] * rank
    return CONVOLUTIONS[rank](x, weight, bias, strides, before, dilations, groups)


def _groups(node: Node, x: Tensor, weight: Tensor) -> int:
    """How many groups a convolution has: as the file says, in a cut network as its sizes say."""
    if weight.ndim != x.ndim:
        raise node.fail(f"has a weight of {weight.ndim} axes for a tensor of {x.ndim}")
    kernel = list(node.get("kernel_shape") or weight.shape[2:])
    if kernel != list(weight.shape[2:]):
        raise node.fail(f"has kernel_shape {kernel}, and a weight of {tuple(weight.shape)}")
    said, channels, each = node.get("group", 1), x.shape[1], weight.shape[1]
    uncut = tuple(weight.shape) == node.weight or not node.weight
    groups = said if said == 1 or uncut else channels // max(each, 1)
    if groups < 1 or channels != groups * each or weight.shape[0] % groups:
        raise node.fail(
            f"has {said} groups, {channels} channels and a weight of {tuple(weight.shape)}"
        )
    return groups


def _transposed(node: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    rank = _space(node, x)
    _, strides, dilations = _kernel(node, rank)
    if weight.ndim != x.ndim or list(node.get("kernel_shape") or weight.shape[2:]) != list(
        weight.shape[2:]
    ):
        raise node.fail(f"has a weight of {tuple(weight.shape)}, and another kernel_shape or rank")
    if node.get("output_shape") or node.get("auto_pad", "NOTSET") not in ("", "NOTSET", "VALID"):
        raise node.fail("pads by the size of its output")
    more = whole(node, "output_padding", [0] * rank, 0)
    pads = whole(node, "pads", [0] * 2 * rank, 0)
    if node.get("auto_pad") == "VALID":
        pads = [0] * 2 * rank
    before, behind = pads[:rank], pads[rank:]
    groups = node.get("group", 1)
    if before == behind:
        return TRANSPOSED[rank](x, weight, bias, strides, before, more, groups, dilations)
    out = TRANSPOSED[rank](x, weight, bias, strides, 0, more, groups, dilations)
    for axis, (first, last) in enumerate(zip(before, behind, strict=True), 2):
        out = out.narrow(axis, first, out.shape[axis] - first - last)
    return out


def _max_pool(node: Node, x: Tensor) -> Tensor:
    if node.outputs > 1:
        raise node.fail("gives indices")
    kernel, strides, dilations = _kernel(node, _space(node, x))
    before, behind = _ends(node, x, kernel, strides, dilations)
    large = any(2 * p > k for p, k in zip(before, kernel, strict=True))
    if before != behind or large:
        x, before = _padded(x, before, behind, float("-inf")), [0] * len(kernel)
    pool = MAX_POOLS[len(kernel)]
    return pool(x, kernel, strides, before, dilations, bool(node.get("ceil_mode", 0)))


def _average_pool(node: Node, x: Tensor) -> Tensor:
    kernel, strides, dilations = _kernel(node, _space(node, x))
    if any(d != 1 for d in dilations):
        raise node.fail("is dilated")
    before, behind = _ends(node, x, kernel, strides, dilations)
    pool, ceil = AVERAGE_POOLS[len(kernel)], bool(node.get("ceil_mode", 0))
    counted = bool(node.get("count_include_pad", 0))
    if before == behind:
        return pool(x, kernel, strides, before, ceil, counted)
    means = pool(_padded(x, before, behind, 0.0), kernel, strides, 0, ceil)
    if counted:
        return means
    ones = torch.ones((1, 1, *x.shape[2:]), dtype=x.dtype, device=x.device)
    return means / pool(_padded(ones, before, behind, 0.0), kernel, strides, 0, ceil)


def _gemm(node: Node, a: Tensor, b: Tensor, c: Any = None) -> Tensor:
    _flat(node, a)
    a = a.t() if node.get("transA", 0) else a
    b = b if node.get("transB", 0) else b.t()
    scale, offset = node.get("alpha", 1.0), node.get("beta", 1.0)
    c = tensor(c, a) if c is not None else None
    if scale == 1.0 and offset == 1.0 and (c is None or (c.ndim == 1 and len(c) == len(b))):
        return F.linear(a, b, c)
    out = F.linear(a, b) * scale
    return out if c is None else out + c * offset


def _gemm_laid(node: Node, given: Constants) -> Laid | None:
    """The weight as ``nn.Linear`` holds it, [outputs, inputs], both factors in it."""
    weight, bias = given.get(1), given.get(2)
    if weight is None or (2 in given and (bias is None or bias.ndim != 1)):
        return None
    weight = weight if node.get("transB", 0) else weight.t().contiguous()
    found = {1: ("weight", weight * node.get("alpha", 1.0))}
    if bias is not None:
        bias = bias if len(bias) == len(weight) else bias.expand(len(weight))
        found[2] = ("bias", bias * node.get("beta", 1.0))

    def run(node: Node, a: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        _flat(node, a)
        return F.linear(a.t() if node.get("transA", 0) else a, weight, bias)

    return run, found


def _flat(node: Node, a: Tensor) -> None:
    if a.ndim != 2:
        raise node.fail(f"works on a tensor of {a.ndim} axes, 2 are wanted")


def _product(node: Node, a: Any, b: Any) -> Tensor:
    like = a if isinstance(a, Tensor) else b
    return torch.matmul(tensor(a, like), tensor(b, like))


def _product_laid(node: Node, given: Constants) -> Laid | None:
    weight = given.get(1)
    if 0 in given or weight is None or weight.ndim != 2:
        return None
    laid = {1: ("weight", weight.t().contiguous())}
    return (lambda node, a, weight: F.linear(a, weight)), laid


def _eps(node: Node) -> float:
    eps: float = node.get("epsilon", 1e-5)
    if not 0 <= eps < math.inf:  # nan too
        raise node.fail(f"has the epsilon {eps:g}")
    return eps


def _batch_norm(
    node: Node, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor
) -> Tensor:
    if node.get("training_mode", 0):
        raise node.fail("takes the statistics of the batch (training_mode = 1)")
    momentum, eps = 1 - node.get("momentum", 0.9), _eps(node)
    return F.batch_norm(x, mean, variance, weight, bias, node.training, momentum, eps)


def _instance_norm(node: Node, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.instance_norm(x, weight=weight, bias=bias, eps=_eps(node))


def _layer_norm(node: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    if node.outputs > 1:
        raise node.fail("gives its mean")
    axis, eps = axis_of(node.get("axis", -1), x.ndim), _eps(node)
    return F.layer_norm(x, x.shape[axis:], weight, bias, eps)


def _group_norm(node: Node, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.group_norm(x, node.get("num_groups"), weight, bias, _eps(node))


def _lrn(node: Node, x: Tensor) -> Tensor:
    return F.local_response_norm(
        x, node.get("size"), node.get("alpha", 1e-4), node.get("beta", 0.75), node.get("bias", 1.0)
    )


def _unit(node: Node, x: Tensor) -> Tensor:
    axis, p = axis_of(node.get("axis", -1), x.ndim), node.get("p", 2)
    if p not in (1, 2):
        raise node.fail(f"takes the norm {p}")
    size = x.abs().sum(axis, True) if p == 1 else (x * x).sum(axis, True).sqrt()
    return x / size


def _sum_over(node: Node, *parts: Any) -> Tensor:
    like = next(p for p in parts if isinstance(p, Tensor))
    given, equation = [tensor(p, like) for p in parts], "".join(node.get("equation", "").split())
    letters = [
        c for word in equation.partition("->")[0].split(",") for c in word.replace("...", "")
    ]
    if "..." not in equation and len(letters) == sum(t.ndim for t in given):
        sizes = dict(zip(letters, (n for t in given for n in t.shape), strict=True))
        roomy([sizes.get(c, 1) for c in equation.partition("->")[2]])
    return torch.einsum(equation, *given)


def _sampled(node: Node, x: Tensor, grid: Tensor) -> Tensor:
    mode = {"linear": "bilinear", "cubic": "bicubic"}.get(
        node.get("mode", "bilinear"), node.get("mode", "bilinear")
    )
    return F.grid_sample(
        x, grid, mode, node.get("padding_mode", "zeros"), bool(node.get("align_corners", 0))
    )


LAYER = ("", "weight", "bias")
NORM = ("", "weight", "bias", "running_mean", "running_var")

ROWS: Rows = {
    "Conv": (Row(_convolution, leaves=LAYER),),
    "ConvTranspose": (Row(_transposed, leaves=LAYER),),
    "Gemm": (Row(_gemm, leaves=LAYER, lay=_gemm_laid),),
    "MatMul": (Row(_product, leaves=("", "weight"), lay=_product_laid),),
    "BatchNormalization": (Row(_batch_norm, since=7, leaves=NORM),),
    "InstanceNormalization": (Row(_instance_norm, leaves=LAYER),),
    "LayerNormalization": (Row(_layer_norm, since=17, leaves=LAYER),),
    "GroupNormalization": (Row(_group_norm, since=21, leaves=LAYER),),  # 18 is withdrawn
    "LRN": (Row(_lrn),),
    "LpNormalization": (Row(_unit),),
    "MaxPool": (Row(_max_pool),),
    "AveragePool": (Row(_average_pool),),
    "Einsum": (Row(_sum_over),),
    "GridSample": (Row(_sampled, since=16),),
}
