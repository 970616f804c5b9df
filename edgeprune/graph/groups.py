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


def find_groups(follow: Follow, extra: Iterable[Labelled]) -> dict[str, Group]:
    """Groups in execution order of their first producer, by name."""
    vectors = [*follow.sites.values(), *(x.labels for x in extra if x.labels is not None)]
    signature = _signatures(follow, vectors)
    made = [((tensor, axis), layer) for layer, tensor, axis in follow.producers]
    groups: dict[str, Group] = {}
    taken = {PINNED}
    for key, layer in made:
        roots = _in_order(follow.classes.find(follow.sites[key]))
        fresh = np.array([r for r in roots if int(r) not in taken], np.int64)
        taken.update(int(r) for r in fresh)
        for mark in _in_order(signature[fresh]):
            units = fresh[signature[fresh] == mark]
            if len(units) > 1:
                name = _free_name(layer, groups)
                groups[name] = _group(follow, name, units, made)
    return groups


def _signatures(follow: Follow, vectors: list[Vector]) -> Vector:
    """For each class, a hash of how often each vector bears it (a random sum modulo 2**64)."""
    random = np.random.default_rng(0)
    total = np.zeros(len(follow.classes.parent), np.int64)
    seen: dict[bytes, None] = {}
    for vector in vectors:
        roots = follow.classes.find(vector)
        if seen.setdefault(roots.tobytes()) is None:
            factor = random.integers(1, 2**62, dtype=np.int64)
            total += np.bincount(roots, minlength=len(total)) * factor
    return total


def _in_order(values: Vector) -> Vector:
    """Distinct values by first occurrence."""
    _, first = np.unique(values, return_index=True)
    return values[np.sort(first)]


def _free_name(layer: str, groups: Mapping[str, Group]) -> str:
    """The layer's name; ``layer#2`` when its filters fall into several groups."""
    name, n = layer, 1
    while name in groups:
        n += 1
        name = f"{layer}#{n}"
    return name


def _group(
    follow: Follow, name: str, roots: Vector, made: list[tuple[tuple[str, int], str]]
) -> Group:
    unit = np.full(len(follow.classes.parent), -1, np.int64)
    unit[roots] = np.arange(len(roots))
    sites = {
        key: Site(*key, unit[follow.classes.find(vector)]) for key, vector in follow.sites.items()
    }
    sites = {key: site for key, site in sites.items() if (site.unit >= 0).any()}
    producing = {key: layer for key, layer in made if key in sites}
    rest = [site for key, site in sites.items() if key not in producing]
    return Group(
        name, roots, tuple(producing.values()), (*(sites[key] for key in producing), *rest)
    )
