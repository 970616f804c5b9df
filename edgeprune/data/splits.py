"""Who is trained on, who chooses, who judges: splits by class, the same for the same seed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ..errors import EdgepruneError

Indices = NDArray[np.int64]

TEST_SHARE, VALIDATION_SHARE = 0.2, 0.1  # where a set has no split of its own: 70/10/20


def order(n: int, *seed: int) -> Indices:
    """A permutation of ``range(n)`` that depends on ``seed`` only.

    Argsort of uniform numbers: NumPy keeps PCG64's stream fixed between versions, but not what
    ``Generator.permutation`` makes of it.
    """
    return np.argsort(np.random.Generator(np.random.PCG64(seed)).random(n), kind="stable")


def carve(
    labels: NDArray[np.int64], shares: Mapping[str, float], seed: int
) -> tuple[dict[str, Indices], list[str]]:
    """Draw ``{part: share}`` out of ``labels`` [n] class by class; the rest is ``"train"``.

    Every part gets at least one image of a class while one remains for training; a class of one
    image stays in training. Where that leaves a part empty (one image in every class) the parts
    are drawn without regard to classes. Both are said in the notes. Indices come back sorted.
    """
    taken = {part: np.zeros(len(labels), dtype=bool) for part in shares}
    lonely = 0
    for label, members in _by_class(labels, seed):
        del label
        free = len(members)
        lonely += free == 1
        for part, share in shares.items():
            n = min(max(1, round(share * len(members))), free - 1)
            taken[part][members[free - n : free]] = True
            free -= n
    notes = []
    empty = [part for part, mask in taken.items() if not mask.any()]
    if empty and len(labels) > len(shares):
        notes.append(
            f"too few images a class for {' and '.join(empty)}: "
            "the split is drawn over all images, not class by class"
        )
        free = len(labels)
        shuffled = order(len(labels), seed)
        for part, share in shares.items():
            n = max(1, round(share * len(labels)))
            taken[part][:] = False
            taken[part][shuffled[free - n : free]] = True
            free -= n
    elif empty:
        raise EdgepruneError(
            f"{len(labels)} images",
            f"too few to take {' and '.join(empty)} images from them",
            "add images",
        )
    elif lonely and shares:
        notes.append(f"{lonely:,} classes have one image only: it stays in training")
    rest = ~np.any([np.zeros(len(labels), bool), *taken.values()], axis=0)
    return {p: np.flatnonzero(m) for p, m in {"train": rest, **taken}.items()}, notes


def subset(labels: NDArray[np.int64], limit: int, seed: int) -> Indices:
    """``limit`` of ``labels`` [n], each class in its proportion (largest remainders); sorted.

    Every class keeps at least one image while ``limit`` allows it. A smaller limit takes a subset
    of a larger one, up to rounding within a class.
    """
    if limit < 1:
        raise EdgepruneError(f"--limit {limit}", "at least 1 image is needed")
    if limit >= len(labels):
        return np.arange(len(labels))
    groups = [members for _, members in _by_class(labels, seed)]
    sizes = np.array([len(g) for g in groups])
    floor = 1 if limit >= len(groups) else 0
    exact = floor + (limit - floor * len(groups)) * (sizes - floor) / (sizes - floor).sum()
    counts = np.floor(exact).astype(int)
    by_remainder = np.argsort(counts - exact, kind="stable")
    counts[by_remainder[: limit - counts.sum()]] += 1
    return np.sort(np.concatenate([g[:n] for g, n in zip(groups, counts, strict=True)]))


def _by_class(labels: NDArray[np.int64], seed: int) -> list[tuple[int, Indices]]:
    """``(label, its indices in shuffled order)`` for each class present."""
    shuffled = order(len(labels), seed)
    shuffled = shuffled[np.argsort(labels[shuffled], kind="stable")]
    values, starts = np.unique(labels[shuffled], return_index=True)
    return list(zip(values.tolist(), np.split(shuffled, starts[1:]), strict=True))
