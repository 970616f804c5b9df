"""Parts of one split: a Python that says ``x.chunk(2, 1)`` wants them equally wide after a cut too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from ..graph import Graph
from ..graph.labels import Labelled, Vector
from ..prices import Curve

Sets = Mapping[str, tuple[str, ...]]  # a group -> the groups as wide as it, itself the first


def equal(graph: Graph) -> dict[str, tuple[str, ...]]:
    """Every group once: those that make the equal parts of a split together, the others alone.

    Parts are bound where group after group of one has the width of its like in the next, and bears
    each unit as often; else no widths would make them equal.
    """
    first = {name: name for name in graph.groups}
    owner = np.full(len(graph.roots), -1, np.int64)
    for i, group in enumerate(graph.groups.values()):
        owner[group.roots] = i
    names = list(graph.groups)
    for value in graph.values.values():
        parts = [_borne(part, owner[graph.roots]) for part in _parts(value)]
        for one, other in pairwise(parts):
            pairs = list(zip(one.items(), other.items(), strict=False))
            alike = len(one) == len(other) and all(
                a[1] == b[1] and (a[0] < 0) == (b[0] < 0) and _width(graph, a[0]) == _width(graph, b[0])
                for a, b in pairs
            )  # fmt: skip
            for (a, _), (b, _) in pairs if alike else ():
                if a >= 0:
                    old, new = sorted((first[names[a]], first[names[b]]), key=names.index)
                    first = {name: old if f == new else f for name, f in first.items()}
    sets: dict[str, tuple[str, ...]] = {}
    for name, leader in first.items():
        sets[leader] = (*sets.get(leader, ()), name)
    return sets


def _parts(value: Any) -> list[Labelled]:
    """The tensors of equal sizes into which an operator parts one along its labelled axis."""
    if not isinstance(value, list | tuple) or not all(isinstance(v, Labelled) for v in value):
        return []
    return list(value) if len({(v.shape, v.axis) for v in value if v.axis is not None}) == 1 else []


def _borne(part: Labelled, owner: Vector) -> dict[int, int]:
    """How many of a tensor's channels are of each group, by the first; -1: of none."""
    if part.labels is None:
        return {}
    found, where, count = np.unique(owner[part.labels], return_index=True, return_counts=True)
    return {int(found[i]): int(count[i]) for i in np.argsort(where)}


def _width(graph: Graph, number: int) -> int:
    return list(graph.groups.values())[number].width if number >= 0 else 0


def spread(widths: Mapping[str, int], sets: Sets) -> dict[str, int]:
    """The width of every group, where those of the sets' first ones are given."""
    return {name: width for first, width in widths.items() for name in sets[first]}


@dataclass(frozen=True)
class Bound:
    """A price at the widths of the sets' first groups."""

    whole: Curve
    sets: Sets

    @property
    def dense(self) -> float:
        return self.whole.dense

    def at(self, widths: Mapping[str, int]) -> float:
        return self.whole.at(spread(widths, self.sets))
