"""Operators that move elements, and those that make sizes and tensors of sizes."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..known import Known, known
from .row import Node, Row, Rows, axis_of, ints, numbers, roomy, tensor


def _shape(node: Node, x: Tensor | Known) -> Known:
    sizes = list(x.array.shape if isinstance(x, Known) else x.shape)
    return known(sizes[node.get("start", 0) : node.get("end")], torch.int64)


def _size(node: Node, x: Tensor | Known) -> Known:
    sizes = list(x.array.shape if isinstance(x, Known) else x.shape)
    return known(math.prod(sizes), torch.int64)


def _sizes(node: Node, x: Any, shape: Any) -> list[Any]:
    """What a Reshape's sizes mean: 0 is the input's, and a batch that the file fixes is open."""
    given = numbers(shape) if shape is not None else list(node.get("shape"))
    zero = bool(node.get("allowzero", 0))
    if any(n == 0 and not zero for n in given[len(x.shape) :] if type(n) is int):
        raise node.fail(f"copies a size of axis {len(given) - 1} of a tensor of {len(x.shape)}")
    sizes = [x.shape[i] if n == 0 and not zero else n for i, n in enumerate(given)]
    if node.fixed is not None and x.ndim and sizes and isinstance(sizes[0], int):
        batch = x.shape[0]
        if sizes[0] == node.fixed and isinstance(batch, int) and batch != node.fixed:
            rest = math.prod(x.shape[1:])
            if -1 in sizes[1:] or math.prod(sizes[1:]) == rest:
                sizes[0] = batch
    return sizes


def _reshape(node: Node, x: Tensor, shape: Any = None) -> Tensor:
    return x.reshape(_sizes(node, x, shape))


def _reshape_known(node: Node, x: Known, shape: Known | None = None) -> Known:
    return known(x.array.reshape(_sizes(node, x.array, shape)), x.dtype)


def _transpose(node: Node, x: Tensor) -> Tensor:
    return x.permute(node.get("perm") or tuple(reversed(range(x.ndim))))


def _transpose_known(node: Node, x: Known) -> Known:
    return known(x.array.transpose(node.get("perm")), x.dtype)


def _flatten(node: Node, x: Tensor) -> Tensor:
    axis = axis_of(node.get("axis", 1), x.ndim + 1)
    if axis == 1:
        return x.flatten(1)
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


def _axes(node: Node, axes: Any) -> list[int] | None:
    found = numbers(axes) if axes is not None else node.get("axes")
    return None if found is None else list(found)


def _squeeze(node: Node, x: Tensor, axes: Any = None) -> Tensor:
    chosen = _axes(node, axes)
    if chosen is None:
        chosen = [i for i, n in enumerate(x.shape) if i and n == 1]
    for axis in sorted((axis_of(a, x.ndim) for a in chosen), reverse=True):
        x = x.squeeze(axis)
    return x


def _squeeze_known(node: Node, x: Known, axes: Any = None) -> Known:
    chosen = _axes(node, axes)
    return known(x.array.squeeze(None if chosen is None else tuple(chosen)), x.dtype)


def _unsqueeze(node: Node, x: Tensor, axes: Any = None) -> Tensor:
    chosen = _axes(node, axes) or []
    for axis in sorted(axis_of(a, x.ndim + len(chosen)) for a in chosen):
        x = x.unsqueeze(axis)
    return x


def _unsqueeze_known(node: Node, x: Known, axes: Any = None) -> Known:
    return known(np.expand_dims(x.array, tuple(_axes(node, axes) or [])), x.dtype)


def _concat(node: Node, *parts: Any) -> Tensor:
    like = next(p for p in parts if isinstance(p, Tensor))
    return torch.cat([tensor(p, like) for p in parts], node.get("axis"))


def _concat_known(node: Node, *parts: Known) -> Known:
    arrays = [p.array for p in parts]
    return known(np.concatenate(arrays, node.get("axis")), parts[0].dtype)


def _split(node: Node, x: Tensor, sizes: Any = None) -> tuple[Tensor, ...]:
    axis = axis_of(node.get("axis", 0), x.ndim)
    given = numbers(sizes) if sizes is not None else node.get("split")
    amount = node.get("num_outputs", node.outputs) if given is None else len(given)
    if amount != node.outputs:
        raise node.fail(f"makes {amount} parts, and {node.outputs} are named")
    if given is None:
        each = -(-x.shape[axis] // amount)
        return tuple(x.split(each, axis))
    return tuple(x.split(list(given), axis))


def _split_known(node: Node, x: Known, sizes: Any = None) -> tuple[Known, ...]:
    axis = node.get("axis", 0)
    given = numbers(sizes) if sizes is not None else node.get("split")
    each = -(-x.array.shape[axis] // node.outputs)
    at = list(itertools.accumulate(given))[:-1] if given else list(
        range(each, x.array.shape[axis], each)
    )  # fmt: skip
    return tuple(known(part, x.dtype) for part in np.split(x.array, at, axis))


def _cuts(node: Node, ndim: int, given: tuple[Any, ...]) -> list[tuple[int, Any, Any, int]]:
    """``(axis, start, end, step)`` of a Slice."""
    if given:
        starts, ends, *more = given
        axes = numbers(more[0]) if more else []
        steps = numbers(more[1]) if len(more) > 1 else []
        starts, ends = ints(starts), ints(ends)
    else:
        starts, ends = node.get("starts"), node.get("ends")
        axes, steps = node.get("axes") or [], []
    axes = axes or list(range(len(starts)))
    steps = steps or [1] * len(starts)
    return list(zip((axis_of(a, ndim) for a in axes), starts, ends, steps, strict=True))


def _slice(node: Node, x: Tensor, *given: Any) -> Tensor:
    for axis, start, end, step in _cuts(node, x.ndim, given):
        if step > 0:
            index = (slice(None),) * axis + (slice(start, _end(end), step),)
            x = x[index]
            continue
        size = x.shape[axis]
        first = min(start, size - 1) if start >= 0 else start + size
        last = end + size if -size <= end < 0 else max(end, -1)
        if (first, last, step) != (size - 1, -1, -1):
            raise node.fail("steps backwards through part of an axis")
        x = x.flip(axis)
    return x


def _end(end: Any) -> Any:
    """ "To the end" is written as a number that no size has."""
    return None if isinstance(end, int) and end >= 2**31 - 1 else end


def _slice_known(node: Node, x: Known, *given: Any) -> Known:
    array = x.array
    for axis, start, end, step in _cuts(node, array.ndim, given):
        last = None if step < 0 and end < -array.shape[axis] else end
        array = array[(slice(None),) * axis + (slice(start, last, step),)]
    return known(array, x.dtype)


def _gather(node: Node, x: Tensor | Known, indices: Any) -> Any:
    axis = node.get("axis", 0)
    if isinstance(x, Known):  # chosen by a tensor
        x = x.tensor(indices.device)
    axis = axis_of(axis, x.ndim)
    if isinstance(indices, Known):
        if indices.array.ndim == 0:
            return x.select(axis, indices.one())
        indices = indices.tensor(x.device)
    size = x.shape[axis]
    flat = indices.reshape(-1).long()
    flat = torch.where(flat < 0, flat + size, flat)
    found = x.index_select(axis, flat)
    return found.reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])


def _gather_known(node: Node, x: Known, indices: Known) -> Known:
    found = np.take(x.array, indices.array.astype(np.int64), node.get("axis", 0))
    return known(found, x.dtype)


def _gather_elements(node: Node, x: Tensor, indices: Any) -> Tensor:
    axis = axis_of(node.get("axis", 0), x.ndim)
    return torch.gather(x, axis, tensor(indices, x).long())


def _expand(node: Node, x: Any, shape: Known) -> Tensor:
    sizes = roomy(ints(shape))
    if isinstance(x, Known):
        x = x.tensor(torch.device("cpu"))
    gap = len(sizes) - x.ndim
    own = [1] * gap + list(x.shape) if gap > 0 else list(x.shape)
    sizes = [1] * -gap + sizes if gap < 0 else sizes
    if node.fixed is not None and gap <= 0 and own[0] != 1 and sizes[0] == node.fixed:
        sizes[0] = own[0]
    return x.expand([o if n == 1 else n for o, n in zip(own, sizes, strict=True)])


def _expand_known(node: Node, x: Known, shape: Known) -> Known:
    sizes = np.broadcast_shapes(x.array.shape, tuple(roomy(ints(shape))))
    return known(np.broadcast_to(x.array, sizes), x.dtype)


def _tile(node: Node, x: Tensor, repeats: Known) -> Tensor:
    times = ints(repeats)
    roomy([n * m for n, m in zip(x.shape, times, strict=True)])
    return x.repeat(*times)


def _tile_known(node: Node, x: Known, repeats: Known) -> Known:
    return known(np.tile(x.array, roomy(ints(repeats))), x.dtype)


PADS = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}


def _pad(node: Node, x: Tensor, pads: Any = None, value: Any = None, axes: Any = None) -> Tensor:
    given = ints(pads) if pads is not None else list(node.get("pads"))
    chosen = [axis_of(a, x.ndim) for a in numbers(axes)] or list(range(x.ndim))
    ends = dict(
        zip(chosen, zip(given[: len(chosen)], given[len(chosen) :], strict=True), strict=True)
    )
    mode = node.get("mode", "constant")
    if mode not in PADS:
        raise node.fail(f"pads by {mode!r}")
    roomy(
        [n + sum(v for v in ends.get(i, ()) if isinstance(v, int)) for i, n in enumerate(x.shape)]
    )
    flat = [v for axis in reversed(range(x.ndim)) for v in ends.get(axis, (0, 0))]
    while flat and all(isinstance(v, int) and v == 0 for v in flat[-2:]):
        flat = flat[:-2]
    if not flat:
        return x
    if mode != "constant":
        return F.pad(x, flat, PADS[mode])
    return F.pad(x, flat, value=value.one() if value is not None else node.get("value", 0.0))


def _depth_to_space(node: Node, x: Tensor) -> Tensor:
    block = node.get("blocksize")
    if node.get("mode", "DCR") == "CRD":
        return F.pixel_shuffle(x, block)
    n, c, h, w = x.shape
    x = x.reshape(n, block, block, c // block**2, h, w).permute(0, 3, 4, 1, 5, 2)
    return x.reshape(n, c // block**2, h * block, w * block)


def _space_to_depth(node: Node, x: Tensor) -> Tensor:
    block = node.get("blocksize")
    n, c, h, w = x.shape
    x = x.reshape(n, c, h // block, block, w // block, block).permute(0, 3, 5, 1, 2, 4)
    return x.reshape(n, c * block**2, h // block, w // block)


def _filled(node: Node, shape: Known) -> Tensor:
    value = node.get("value")  # a Known of one number
    number, dtype = (value.one(), value.dtype) if value is not None else (0.0, torch.float32)
    return torch.full(roomy(ints(shape)), number, dtype=dtype)


def _filled_known(node: Node, shape: Known) -> Known:
    value = node.get("value")
    number, dtype = (value.one(), value.dtype) if value is not None else (0.0, torch.float32)
    found = np.empty(roomy(ints(shape)), object)
    found.fill(number)
    return known(found, dtype)


def _range(node: Node, start: Known, limit: Known, step: Known) -> Tensor:
    first, last, each = (v.one() for v in (start, limit, step))
    if isinstance(first, int) and isinstance(last, int) and isinstance(each, int):
        roomy([len(range(first, last, each))])
    return torch.arange(first, last, each, dtype=start.dtype)


def _range_known(node: Node, start: Known, limit: Known, step: Known) -> Known:
    first, last, each = (v.one() for v in (start, limit, step))
    amount = max(0, math.ceil((last - first) / each))
    return known([first + i * each for i in range(roomy([amount])[0])], start.dtype)


def _triangle(node: Node, x: Tensor, diagonal: Known | None = None) -> Tensor:
    f = torch.triu if node.get("upper", 1) else torch.tril
    return f(x, diagonal.one() if diagonal is not None else 0)


def _eye(node: Node, x: Tensor) -> Tensor:
    return torch.eye(*x.shape, dtype=x.dtype, device=x.device)


ROWS: Rows = {
    "Shape": (Row(_shape, known=_shape),),
    "Size": (Row(_size, known=_size),),
    "Reshape": (Row(_reshape, numbers=(1,), known=_reshape_known),),
    "Transpose": (Row(_transpose, known=_transpose_known),),
    "Flatten": (Row(_flatten),),
    "Squeeze": (Row(_squeeze, numbers=(1,), known=_squeeze_known),),
    "Unsqueeze": (Row(_unsqueeze, numbers=(1,), known=_unsqueeze_known),),
    "Concat": (Row(_concat, known=_concat_known),),
    "Split": (Row(_split, numbers=(1,), known=_split_known),),
    "Slice": (Row(_slice, numbers=(1, 2, 3, 4), known=_slice_known),),
    "Gather": (Row(_gather, known=_gather_known),),
    "GatherElements": (Row(_gather_elements),),
    "Expand": (Row(_expand, numbers=(1,), known=_expand_known, makes=True),),
    "Tile": (Row(_tile, since=6, numbers=(1,), known=_tile_known, makes=True),),
    "Pad": (Row(_pad, numbers=(1, 2, 3)),),
    "DepthToSpace": (Row(_depth_to_space),),
    "SpaceToDepth": (Row(_space_to_depth),),
    "ConstantOfShape": (Row(_filled, numbers=(0,), known=_filled_known, makes=True),),
    "Range": (Row(_range, numbers=(0, 1, 2), known=_range_known, makes=True),),
    "Trilu": (Row(_triangle, numbers=(1,)),),
    "EyeLike": (Row(_eye),),
}
