"""What stays: ``Keep`` maps a group's name to the units kept, sorted; groups not named stay whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import EdgepruneError
from ..graph import Graph

Keep = Mapping[str, Sequence[int]]


def compose(first: Keep, second: Keep) -> dict[str, list[int]]:
    """The keep in one cut for cutting by ``first`` and then by ``second`` (indices after first)."""
    names = list(dict.fromkeys([*first, *second]))
    return {name: _compose(first.get(name), second.get(name)) for name in names}


def _compose(first: Sequence[int] | None, second: Sequence[int] | None) -> list[int]:
    if first is None or second is None:
        return [int(i) for i in (first if second is None else second) or ()]
    return [int(first[i]) for i in second]


def largest(scores: Tensor, width: int) -> list[int]:
    """Indices of the ``width`` highest of ``scores`` (C,), rising; of equals the first stays.

    Raises :class:`EdgepruneError` for scores that are not numbers.
    """
    if not bool(scores.isfinite().all()):
        raise EdgepruneError(
            "scores that are not finite",
            "the weights hold NaN or infinity",
            "train the network again",
        )
    order = torch.argsort(scores, descending=True, stable=True)
    return sorted(order[:width].tolist())


def kept_classes(graph: Graph, keep: Keep) -> NDArray[np.bool_]:
    """Which label classes stay. Raises :class:`EdgepruneError` for units that do not exist."""
    kept = np.ones(len(graph.roots), np.bool_)
    for name, units in keep.items():
        group = graph.group(name)
        chosen = np.asarray(units)
        sound = (
            chosen.ndim == 1
            and chosen.size > 0
            and chosen.dtype.kind in "iu"
            and chosen.min() >= 0
            and chosen.max() < group.width
            and (np.diff(chosen) > 0).all()
        )
        if not sound:
            raise EdgepruneError(
                f"kept units of {name}",
                f"not a rising list of one or more indices below {group.width}",
            )
        kept[np.delete(group.roots, chosen)] = False
    return kept
