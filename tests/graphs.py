"""Traced networks and random keeps, shared by the tests (a trace takes most of a test's time)."""

from __future__ import annotations

from functools import cache

import numpy as np
from torch import Tensor

from edgeprune.graph import Graph, trace
from tests.nets import build, images


@cache
def traced(name: str) -> Graph:
    """The graph of a network of :mod:`tests.nets`; do not change its weights."""
    return trace(build(name), images(2))


def random_keep(graph: Graph, seed: int, share: float) -> dict[str, list[int]]:
    """A random ``share`` of each group's units, one at least."""
    random = np.random.default_rng(seed)
    return {
        name: sorted(random.choice(g.width, max(1, round(g.width * share)), replace=False).tolist())
        for name, g in graph.groups.items()
    }


def relative(got: Tensor, expected: Tensor) -> float:
    """Largest difference relative to the largest value expected."""
    return float((got - expected).detach().abs().max() / expected.detach().abs().max())
