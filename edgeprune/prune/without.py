"""One batch through the network without some units of one group, many choices of them at a time.

What comes before the group's first reader is computed once, for all choices (`torch.func.vmap`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from ..graph import Graph, Group
from ..graph.inputs import Example
from ..graph.labels import Vector
from .walk import Walk, run


class Without:
    """As `mask.masked`: what sums over channels reads units that are gone as 0."""

    def __init__(
        self, graph: Graph, group: Group, x: Example, told: Callable[[Any], Tensor]
    ) -> None:
        """``told``: what is wanted of the network's outputs, any tensor."""
        graph.constants()
        self.module, self.told = graph.module, told
        unit = np.full(len(graph.roots), -1, np.int64)
        unit[group.roots] = np.arange(group.width)
        self.masks: dict[fx.Node, list[tuple[fx.Node, int, Vector]]] = {}
        for node, found in graph.contractions.items():
            own = [(c.operand, c.axis, unit[graph.roots[c.labels]]) for c in found]
            own = [(operand, axis, at) for operand, axis, at in own if (at >= 0).any()]
            if own:
                self.masks[node] = own
        nodes = list(graph.module.graph.nodes)
        first = next((i for i, node in enumerate(nodes) if node in self.masks), len(nodes) - 1)
        walk = Walk(graph.module, [x])
        walk.reach(first)
        self.values, self.nodes = walk.values[0], nodes[first:]
        self.last = walk.last
        self.index = walk.index

    @torch.no_grad()
    def __call__(self, stays: Tensor) -> Tensor:
        """What is told of each of m choices; ``stays`` bool [m, width]: which units stay."""
        found: Tensor = torch.func.vmap(self._run)(stays)
        return found

    def _run(self, stays: Tensor) -> Tensor:
        known = torch.cat([stays, torch.ones_like(stays[:1])])  # the last: of no unit, always there
        values: dict[fx.Node, Any] = dict(self.values)
        for node in self.nodes:
            whole: dict[fx.Node, Any] = {}
            for operand, axis, at in self.masks.get(node, ()):
                x = values[operand]
                whole.setdefault(operand, x)
                there = known[torch.from_numpy(at)].reshape([-1] + [1] * (x.ndim - axis - 1))
                values[operand] = torch.where(there, x, torch.zeros((), dtype=x.dtype))
            run(self.module, [node], values, None)
            values |= whole
            for used in node.all_input_nodes:
                if self.last[used] <= self.index[node.name]:
                    values.pop(used, None)
        return self.told(values[self.nodes[-1]])
