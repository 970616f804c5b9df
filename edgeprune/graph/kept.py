"""What stays: a ``Keep`` maps a group's name to the units kept, sorted; groups not named stay whole.

A group of which none is kept vanishes: :mod:`.vanish` knows where that is exact.

:class:`Kept` is a keep in terms of labels. It is the one place that knows how a label's class decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..errors import EdgepruneError
from .graph import Graph
from .groups import Group, Site
from .labels import Labelled, Vector

Keep = Mapping[str, Sequence[int]]
Mask = NDArray[np.bool_]
BLOCK = 2**18  # elements that are copied at a time


def compose(first: Keep, second: Keep) -> dict[str, list[int]]:
    """The keep in one cut for cutting by ``first`` and then by ``second`` (indices after first)."""
    names = list(dict.fromkeys([*first, *second]))
    return {name: _compose(first.get(name), second.get(name)) for name in names}


def _compose(first: Sequence[int] | None, second: Sequence[int] | None) -> list[int]:
    if first is None or second is None:
        return [int(i) for i in (first if second is None else second) or ()]
    return [int(first[i]) for i in second]


@dataclass(eq=False)
class _Asked:
    labels: Vector
    mask: Mask  # whether each stays

    @cached_property
    def count(self) -> int:
        return int(np.count_nonzero(self.mask))

    @cached_property
    def left(self) -> Vector:
        return self.labels[self.mask]

    @cached_property
    def index(self) -> Tensor:
        return torch.from_numpy(self.mask.nonzero()[0])


@dataclass(frozen=True, eq=False)
class Kept:
    """Which labels of a graph stay, and what that makes of its tensors."""

    graph: Graph
    mask: Mask  # [labels]: whether each label stays
    _known: dict[int, _Asked] = field(default_factory=dict, repr=False)

    def stays(self, labels: Vector) -> Mask:
        """Which of these labels stay."""
        return self._asked(labels).mask

    def _asked(self, labels: Vector) -> _Asked:
        """What is known of one array of labels: of most it is asked often."""
        known = self._known.get(id(labels))
        if known is None:
            known = self._known[id(labels)] = _Asked(labels, self.mask[labels])
        return known

    def left(self, labels: Vector) -> Vector:
        """Those of the labels that stay."""
        return self._asked(labels).left

    def count(self, labels: Vector) -> int:
        """How many of the labels stay."""
        return self._asked(labels).count

    def loses(self, labels: Vector) -> bool:
        """Whether one of the labels leaves."""
        return self.count(labels) < labels.size

    def index(self, labels: Vector) -> Tensor:
        """Positions of the labels that stay, int64."""
        return self._asked(labels).index

    def shape(self, leaf: Labelled) -> tuple[int, ...]:
        """A parameter's shape after the cut."""
        found = [self.graph.sites.get((str(leaf.name), axis)) for axis in range(leaf.ndim)]
        pairs = zip(leaf.shape, found, strict=True)
        return tuple(size if labels is None else self.count(labels) for size, labels in pairs)

    def cuts(self, name: str) -> bool:
        """Whether something of the parameter, buffer or folded constant leaves."""
        ndim = max((axis for tensor, axis in self.graph.sites if tensor == name), default=-1) + 1
        found = [self.graph.sites.get((name, axis)) for axis in range(ndim)]
        return any(labels is not None and self.loses(labels) for labels in found)

    def tensor(self, name: str, value: Tensor) -> Tensor:
        """``value``, in the shape of the parameter or buffer ``name``, after the cut; a new storage."""
        with torch.no_grad():
            small = self._narrow(name, value.detach())
            small = small.clone() if small.data_ptr() == value.data_ptr() else small
        if not isinstance(value, nn.Parameter):
            return small
        parameter = nn.Parameter(small, requires_grad=value.requires_grad)
        if value.grad is not None:
            parameter.grad = self.tensor(name, value.grad)
        return parameter

    def _narrow(self, name: str, value: Tensor) -> Tensor:
        """The shortest result first, so that little is copied; of rows and columns both at once."""
        sites = [(axis, self.graph.sites.get((name, axis))) for axis in range(value.ndim)]
        known = [(axis, labels) for axis, labels in sites if labels is not None]
        losing = [
            (axis, self.index(labels).to(value.device))
            for axis, labels in sorted(known, key=lambda s: self.count(s[1]) / max(1, len(s[1])))
            if self.loses(labels)
        ]
        (axis, rows), *others = sorted(losing, key=lambda s: s[0]) or [(1, torch.empty(0))]
        if axis == 0 and len(others) == 1 and value.numel() > BLOCK:
            return _rows_and(value, rows, *others[0])
        for axis, index in losing:
            value = value.index_select(axis, index)
        return value

    def emptied(self) -> list[str]:
        """Names of the groups of which nothing stays."""
        return [n for n, g in self.graph.groups.items() if not self.mask[g.roots].any()]

    def group(self, group: Group) -> Group:
        """The group without the units that leave."""
        stays = self.stays(group.roots)
        rank = np.cumsum(stays) - 1
        sites = []
        for site in group.sites:
            unit = np.where(site.unit >= 0, rank[site.unit], -1)
            there = self.stays(self.graph.sites[site.tensor, site.axis])  # of other groups too
            sites.append(Site(site.tensor, site.axis, unit[there]))
        return replace(group, roots=group.roots[stays], sites=tuple(sites))


def _rows_and(value: Tensor, rows: Tensor, axis: int, index: Tensor) -> Tensor:
    """``value.index_select(0, rows).index_select(axis, index)``, a few rows after another: what lies
    between the two is never as large as a layer, and stays in the processor's cache."""
    shape = [len(rows), *value.shape[1:]]
    shape[axis] = len(index)
    small, done = value.new_empty(shape), 0
    for some in rows.split(max(1, BLOCK // max(1, value[0].numel()))):
        part = small[done : done + len(some)]
        torch.index_select(value.index_select(0, some), axis, index, out=part)
        done += len(some)
    return small


def kept_classes(graph: Graph, keep: Keep) -> Kept:
    """A keep in terms of labels. Raises :class:`EdgepruneError` for units that do not exist."""
    kept = np.ones(len(graph.roots), np.bool_)
    for name, units in keep.items():
        group = graph.group(name)
        chosen = np.asarray(units) if len(units) else np.zeros(0, np.int64)
        sound = (
            chosen.ndim == 1
            and chosen.dtype.kind in "iu"
            and (chosen >= 0).all()
            and (chosen < group.width).all()
            and (np.diff(chosen) > 0).all()
        )
        if not sound:
            raise EdgepruneError(
                f"kept units of {name}",
                f"not a rising list of indices below {group.width}",
                "take the plan anew: edgeprune prune RUN --dry-run --plan-out FILE",
            )
        kept[np.delete(group.roots, chosen)] = False
    return Kept(graph, kept[graph.roots])
