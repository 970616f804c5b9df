"""Operators that make channels of their own: padding, and tensors made of nothing but a size."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from torch import fx

from ..follow import Follow, plain, shape_of
from ..labels import MADE, Labelled
from ..rewriting import Rewriter, set_argument
from .row import Operator


def pad(
    f: Follow, node: fx.Node, x: Labelled, amounts: Sequence[int], *args: Any, **kw: Any
) -> Any:
    """Pairs from the last axis; padded channels get labels of their own and can leave."""
    x = f.data(x)
    if x.axis is None:
        return plain(node)
    before, after = padding_of(amounts, x.ndim, x.axis)
    if not (before or after):
        return Labelled(shape_of(node), x.axis, x.labels)
    mode = args[0] if args and isinstance(args[0], str) else kw.get("mode", "constant")
    if mode != "constant" or before < 0 or after < 0:
        f.pin(node, x, "pads the labelled axis")
        return plain(node)
    parts = (f.classes.fresh(before), f.labels(x, x.axis), f.classes.fresh(after))
    return f.result(node, x.axis, np.concatenate(parts))


def padding_of(amounts: Sequence[int], ndim: int, axis: int) -> tuple[int, int]:
    """What ``pad`` adds before and after along ``axis``."""
    first = 2 * (ndim - 1 - axis)
    return (amounts[first], amounts[first + 1]) if first < len(amounts) else (0, 0)


def create(f: Follow, node: fx.Node, *args: Any, at: int, **kwargs: Any) -> Any:
    """A tensor made of nothing but its written size: any axis written as a number can follow.

    ``at``: which argument is the size.
    """
    made = Labelled(shape_of(node), name=MADE + node.name)
    sizes: Any = node.args[at]
    for axis, size in enumerate(sizes):
        if not isinstance(size, int) and made.shape[axis] > 1:
            f.classes.pin(f.bind(made, axis))
    return made


def padding(r: Rewriter, old: fx.Node, new: fx.Node) -> None:
    """Padded channels have labels of their own, of which some may have left."""
    out = r.value(old)
    if out.axis is None:
        return
    written = list(new.args[1])  # type: ignore[arg-type]
    before, after = padding_of(written, out.ndim, out.axis)
    if before or after:
        stays = r.stays(out)
        first = 2 * (out.ndim - 1 - out.axis)
        written[first] = int(stays[:before].sum())
        written[first + 1] = int(stays[len(stays) - after :].sum())
        set_argument(new, 1, written)


def created(r: Rewriter, old: fx.Node, new: fx.Node, at: int) -> None:
    """zeros, new_zeros ...: the written size of what is cut like another tensor."""
    made = r.value(old)
    written = list(new.args[at])  # type: ignore[arg-type]
    for axis, size in enumerate(r.kept.shape(made)):
        if size != made.shape[axis]:
            written[axis] = size
    set_argument(new, at, written)


ROWS = (
    Operator("pad constant_pad_nd", pad, padding),
    Operator("zeros ones full empty", partial(create, at=0), partial(created, at=0)),
    Operator(
        "new_zeros new_ones new_full new_empty", partial(create, at=1), partial(created, at=1)
    ),
)
