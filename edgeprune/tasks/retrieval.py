"""Retrieval by pooled descriptors: maps [N, C, H, W] -> unit vectors [N, C], how well they find (mean average
precision; scikit-learn's), and the loss that teaches them to (triplets)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

LEVELS = 3  # scales of R-MAC's regions (Tolias et al. 2016)
OVERLAP = 0.4  # of neighbouring regions, about
MARGIN = 0.1  # between distances of descriptors of length 1 (assumption)
MOST = 6  # regions more along the longer side


def gap(maps: Tensor) -> Tensor:
    """Means over the places."""
    return F.normalize(maps.mean((2, 3)), dim=1)


def largest(maps: Tensor) -> Tensor:
    """MAC: the largest response of each map."""
    return F.normalize(maps.amax((2, 3)), dim=1)


def rmac(maps: Tensor) -> Tensor:
    """R-MAC (Tolias et al. 2016), without whitening: the sum of the regions' MAC, each of length 1."""
    parts = [
        F.normalize(maps[:, :, y : y + side, x : x + side].amax((2, 3)), dim=1)
        for y, x, side in regions(maps.shape[2], maps.shape[3])
    ]
    return F.normalize(torch.stack(parts).sum(0), dim=1)


POOLS: dict[str, Callable[[Tensor], Tensor]] = {"GAP": gap, "max": largest, "R-MAC": rmac}


def regions(height: int, width: int) -> list[tuple[int, int, int]]:
    """(y, x, side) of R-MAC's squares: at scale l of side 2 min / (l + 1), l along the shorter side and so
    many along the longer one that neighbours overlap by about `OVERLAP`."""
    short, long = min(height, width), max(height, width)
    more = 0
    if long > short:
        shared = [(short - (long - short) / steps) / short for steps in range(1, MOST + 1)]
        more = 1 + int(np.argmin([abs(s - OVERLAP) for s in shared]))
    down, along = (more, 0) if height > width else (0, more)
    found = []
    for level in range(1, LEVELS + 1):
        side = 2 * short // (level + 1)
        if side:
            ys, xs = _spread(height, side, level + down), _spread(width, side, level + along)
            found += [(y, x, side) for y in ys for x in xs]
    return found


def _spread(size: int, side: int, count: int) -> list[int]:
    """Where ``count`` stretches of ``side`` begin, from end to end."""
    return [int(i * (size - side) / max(1, count - 1)) for i in range(count)]


def mean_average_precision(descriptors: Tensor, labels: NDArray[np.int64]) -> float:
    """Each image [N, D] (of length 1) asks for the others of its label [N]; those without another are no
    queries. The mean over the queries of the area under precision and recall."""
    from sklearn.metrics import average_precision_score

    near = (descriptors @ descriptors.T).double().numpy()
    same = labels[:, None] == labels[None]
    others = ~np.eye(len(labels), dtype=bool)
    asked = [i for i in range(len(labels)) if same[i, others[i]].any()]
    return float(
        np.mean([average_precision_score(same[i, others[i]], near[i, others[i]]) for i in asked])
    )


def triplets(descriptors: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Places [T] of anchors, of what should be near them and of what should not, among descriptors [N, D] of
    length 1: of each image the farthest of its label and the nearest of another (Hermans et al. 2017);
    images that are alone with their label, or of whose batch all bear it, are no anchors."""
    near = descriptors.detach() @ descriptors.detach().T
    same = labels[:, None] == labels[None]
    others = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    anchors = (others.any(1) & ~same.all(1)).nonzero()[:, 0]
    positive = near.masked_fill(~others, torch.inf).argmin(1)
    negative = near.masked_fill(same, -torch.inf).argmax(1)
    return anchors, positive[anchors], negative[anchors]


def triplet_loss(descriptors: Tensor, labels: Tensor, margin: float = MARGIN) -> Tensor:
    """max(0, margin + d(a, p) - d(a, n)), d the Euclidean distance, mean over `triplets` (Manek et al. 2017
    fine-tune a pruned network by such a loss); 0 where a batch has none."""
    a, p, n = triplets(descriptors, labels)
    if not len(a):
        return 0 * descriptors.sum()
    return F.triplet_margin_loss(descriptors[a], descriptors[p], descriptors[n], margin)
