"""Scores: how much each unit of a group matters (higher = keep). One plain function a criterion."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..graph import Graph, Group
from ..graph.groups import Site


def l1(graph: Graph, group: Group | str) -> Tensor:
    """Sum of |W| over each filter (Li et al. 2017), over all layers that produce the group.

    s_j = sum over c, u, v of |W[j, c, u, v]|. Returns float64 of shape (width,).
    """
    return _over_producers(graph, group, lambda W: W.abs().flatten(1).sum(1))


def _over_producers(graph: Graph, group: Group | str, score: Callable[[Tensor], Tensor]) -> Tensor:
    """Add up ``score`` (filters first -> one value a filter) at each unit's filters."""
    group = graph.group(group)
    constants = graph.constants()
    total = torch.zeros(group.width, dtype=torch.float64)
    for site in group.producing_sites():
        W = constants[site.tensor].detach().double().cpu().movedim(site.axis, 0)
        total += _by_unit(site, score(W), group.width)
    return total


def _by_unit(site: Site, values: Tensor, width: int) -> Tensor:
    unit = torch.from_numpy(site.unit)
    own = unit >= 0
    return torch.zeros(width, dtype=values.dtype).index_add(0, unit[own], values[own])


SCORES: dict[str, Callable[[Graph, Group | str], Tensor]] = {"l1": l1}
