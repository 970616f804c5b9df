"""Groups: units that are treated alike by every tensor of the network, so only their number counts.

A unit is one class of labels. Two units belong to one group if every labelled tensor, parameter or
feature map, bears both equally often. Hence all costs are functions of the groups' widths, and one
unit left in each group leaves a channel on every tensor.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from .follow import Follow
from .labels import PINNED, Labelled, Vector

Key = tuple[str, int]  # a tensor's qualified name, an axis


@dataclass(frozen=True, eq=False)
class Site:
    """One axis of a parameter or buffer that a group's units lie on."""

    tensor: str  # qualified name
    axis: int
    unit: Vector  # unit index of each element along the axis, -1 where none of this group


@dataclass(frozen=True, eq=False)
class Group:
    """Units that may leave one by one; each takes its elements of every site with it."""

    name: str  # qualified name of the first layer that produces it
    roots: Vector  # class of each unit
    producers: tuple[str, ...]  # layers whose filters make the units, in execution order
    sites: tuple[Site, ...]

    @property
    def width(self) -> int:
        """Number of units."""
        return len(self.roots)

    def producing_sites(self) -> tuple[Site, ...]:
        """Those sites that are the output axis of a producer's weight."""
        return self.sites[: len(self.producers)]

    def among(self, tensors: set[str], made: Mapping[Key, Vector]) -> Group:
        """The group on those of its sites whose tensors there still are, and on ``made`` ones.

        ``made``: the class of each element along the axis. No unit is left where no producer is.
        """
        n = len(self.producers)
        pairs = zip(self.sites[:n], self.producers, strict=True)
        own = [(site, layer) for site, layer in pairs if site.tensor in tensors]
        rest = [site for site in self.sites[n:] if site.tensor in tensors]
        place = {int(root): i for i, root in enumerate(self.roots)}
        for (tensor, axis), roots in made.items():
            unit = np.array([place.get(int(root), -1) for root in roots], np.int64)
            rest += [Site(tensor, axis, unit)] if (unit >= 0).any() else []
        sites = (*(site for site, _ in own), *rest)
        roots = self.roots if own else self.roots[:0]
        return Group(self.name, roots, tuple(layer for _, layer in own), sites)


def find_groups(follow: Follow, extra: Iterable[Labelled]) -> dict[str, Group]:
    """Groups in execution order of their first producer, by name."""
    found = {key: follow.classes.find(labels) for key, labels in follow.sites.items()}
    others = (follow.classes.find(x.labels) for x in extra if x.labels is not None)
    classes = len(follow.classes.parent)
    signature = _signatures(classes, [*found.values(), *others])
    units: dict[str, Vector] = {}
    taken = np.zeros(classes, np.bool_)
    taken[PINNED] = True
    for key, layer in follow.producers.items():
        roots = _in_order(found[key])
        fresh = roots[~taken[roots]]
        taken[fresh] = True
        for mark in _in_order(signature[fresh]):
            alike = fresh[signature[fresh] == mark]
            if len(alike) > 1:
                units[_free_name(layer, units)] = alike
    return _groups(units, found, follow.producers)


def _signatures(classes: int, vectors: Iterable[Vector]) -> Vector:
    """For each class, a hash of how often each vector bears it (a random sum modulo 2**64)."""
    random = np.random.default_rng(0)
    total = np.zeros(classes, np.int64)
    seen: dict[bytes, None] = {}
    for roots in vectors:
        if seen.setdefault(roots.tobytes()) is None:
            factor = random.integers(1, 2**62, dtype=np.int64)
            np.add.at(total, roots, factor)
    return total


def _in_order(values: Vector) -> Vector:
    """Distinct values by first occurrence."""
    _, first = np.unique(values, return_index=True)
    return values[np.sort(first)]


def _free_name(layer: str, groups: Mapping[str, Vector]) -> str:
    """The layer's name; ``layer#2`` when its filters fall into several groups."""
    name, n = layer, 1
    while name in groups:
        n += 1
        name = f"{layer}#{n}"
    return name


def _groups(
    units: Mapping[str, Vector], found: Mapping[Key, Vector], made: Mapping[Key, str]
) -> dict[str, Group]:
    """Each group's sites: its producers' output axes in execution order, then all others."""
    classes = 1 + max((int(roots.max()) for roots in [*units.values(), *found.values()]), default=0)
    group, unit = np.full(classes, -1, np.int64), np.full(classes, -1, np.int64)
    for i, roots in enumerate(units.values()):
        group[roots], unit[roots] = i, np.arange(len(roots))
    sites: list[list[Site]] = [[] for _ in units]
    producers: list[list[str]] = [[] for _ in units]
    known: dict[bytes, list[tuple[int, Vector]]] = {}  # most axes bear what another one does
    for key in (*made, *(key for key in found if key not in made)):
        roots = found[key]
        if roots.tobytes() not in known:
            owner = group[roots]
            known[roots.tobytes()] = [
                (int(i), np.where(owner == i, unit[roots], -1)) for i in np.unique(owner) if i >= 0
            ]
        for i, units_there in known[roots.tobytes()]:
            sites[i].append(Site(*key, units_there))
            producers[i] += [made[key]] if key in made else []
    return {
        name: Group(name, roots, tuple(producers[i]), tuple(sites[i]))
        for i, (name, roots) in enumerate(units.items())
    }
