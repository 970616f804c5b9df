"""The reference: a pruned network is the whole one whose contractions read dropped channels as 0.

Every operator that sums over channels (convolution, linear, matmul, sum, norm) reads exactly zero
at dropped labels; nowhere else is anything masked. What a dropped channel holds between producer
and consumer is never read, so sigmoid(0) = 0.5 or a norm's bias do not matter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from ..graph import Graph
from ..graph.inputs import Example, flat
from ..graph.kept import Keep, kept_classes


def masked(graph: Graph, keep: Keep) -> Callable[[Example], Any]:
    """The network of ``graph`` as a function of an example, dropped units masked, nothing cut."""
    kept = kept_classes(graph, keep)
    masks = {
        node: [(c.operand, c.axis, kept.stays(c.labels)) for c in found]
        for node, found in graph.contractions.items()
    }
    return _Masked(graph, masks)


class _Masked(fx.Interpreter):
    def __init__(self, graph: Graph, masks: dict[fx.Node, list[tuple[fx.Node, int, Any]]]) -> None:
        graph.constants()
        super().__init__(graph.module)
        self.masks = masks

    def __call__(self, x: Example) -> Any:
        return self.run(*flat(x))

    def run_node(self, n: fx.Node) -> Any:
        if n not in self.masks:
            return super().run_node(n)
        read = {operand: self.env[operand] for operand in n.all_input_nodes}
        for operand, axis, mask in self.masks[n]:
            x = read[operand]
            stays = torch.from_numpy(mask).to(x.device).reshape([-1] + [1] * (x.ndim - axis - 1))
            read[operand] = torch.where(stays, x, torch.zeros((), dtype=x.dtype, device=x.device))
        args, kwargs = fx.map_arg((n.args, n.kwargs), read.__getitem__)
        return n.target(*args, **kwargs)  # type: ignore[operator]
