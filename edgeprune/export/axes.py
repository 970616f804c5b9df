"""Which axes of a file are open besides the batch: as they are typed, named in the file, and tried."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..errors import EdgepruneError, closest
from ..graph.inputs import Example, flat, has_places, mapped, open_axes
from ..graph.opening import EVEN, ODD

BATCH, SIZES = "batch", "edgeprune.sizes"  # the latter in a file's metadata
WORDS = {  # of the inputs' axes, by how many there are
    3: {"steps": 1, "length": 2},
    4: {"height": 2, "width": 3},
    5: {"depth": 2, "height": 3, "width": 4},
}


def asked(words: Sequence[str], example: Example, frozen: Mapping[int, str]) -> tuple[int, ...]:
    """The axes that ``words`` (names, or numbers) ask for; the batch is always open.

    ``frozen``: why an axis cannot be open. Raises :class:`EdgepruneError` with it, or with what there is.
    """
    known = words_of(example)
    numbers = {str(axis): axis for axis in known.values()}
    found: set[int] = set()
    for word in words:
        if word == BATCH:
            continue
        axis = known.get(word, numbers.get(word))
        if axis is None:
            why = closest(word, [BATCH, *known]) if known else "no other axis than the batch is"
            raise EdgepruneError(f"open {word!r}", why)
        if axis in frozen:
            raise EdgepruneError(
                f"{word} cannot be open", frozen[axis], "leave it out of what is to be open"
            )
        found.add(axis)
    return tuple(sorted(found))


def words_of(example: Example) -> dict[str, int]:
    """The names of the axes that may be open besides the batch; those without one by their number."""
    longest = max(t.ndim for t in flat(example))
    names = {axis: word for word, axis in WORDS.get(longest, {}).items()}
    return {names.get(axis, str(axis)): axis for axis in open_axes(example)}


def other_sizes(example: Example, axes: Sequence[int]) -> Iterator[Example]:
    """The same example, repeated, at other sizes of these axes; some networks want even ones."""
    for more in (*EVEN, ODD):
        yield mapped(example, partial(_grown, dict(zip(axes, more, strict=False))))


def _grown(more: Mapping[int, int], t: Tensor) -> Tensor:
    for axis, added in more.items():
        if has_places(t) and axis < t.ndim:
            size = t.shape[axis] + added
            t = torch.cat([t] * (-(-size // t.shape[axis])), axis).narrow(axis, 0, size)
    return t.contiguous()


def name(graph: Any) -> None:
    """Give the open axes of an ONNX graph names that people read: ``N``, ``height``; in place."""
    names: dict[str, str] = {}
    for value in graph.input:
        dims = value.type.tensor_type.shape.dim
        words = {axis: word for word, axis in WORDS.get(len(dims), {}).items()}
        for axis, dim in enumerate(dims):
            if dim.dim_param and dim.dim_param not in names:
                word = words.get(axis, f"axis{axis}") if axis else "N"
                again = word != "N" and word in names.values()
                names[dim.dim_param] = f"{word}_{value.name}" if again else word
    if not names:
        return
    known = re.compile(rf"\b({'|'.join(map(re.escape, names))})\b")
    for value in [*graph.input, *graph.output, *graph.value_info]:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_param = known.sub(lambda found: names[found[0]], dim.dim_param)


def sizes(graph: Any, example: Example) -> dict[str, list[int | str]]:
    """Each input's sizes in the example, ``N`` for the batch; nothing where the batch alone is open."""
    found: dict[str, list[int | str]] = {}
    more = False
    for value, t in zip(graph.input, flat(example), strict=True):
        dims = value.type.tensor_type.shape.dim
        more |= any(d.dim_param for d in dims[1:])
        batch = bool(dims) and bool(dims[0].dim_param)
        found[value.name] = ["N" if batch and not i else int(n) for i, n in enumerate(t.shape)]
    return found if more else {}
