"""Run an exported network on many batches, a few operators at a time, keeping only what is live."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import fx

from ..graph.inputs import Example, flat
from ..graph.operators import operator_of
from ..graph.tensors import fetch


class Walk:
    """``module`` (a graph's) run side by side on all ``batches``, as far as was asked.

    Parameters are read when an operator runs, so what is replaced ahead of the walk takes effect.
    """

    def __init__(self, module: fx.GraphModule, batches: Sequence[Example]) -> None:
        self.module = module
        self.nodes = list(module.graph.nodes)
        self.index = {node.name: i for i, node in enumerate(self.nodes)}
        self.last = _last_uses(self.nodes, self.index)
        self.at = [0 for _ in batches]  # the next operator to run, for each batch
        self.values: list[dict[fx.Node, Any]] = [{} for _ in batches]  # live ones, for each batch
        self.batches = batches

    def node(self, name: str) -> fx.Node:
        return self.nodes[self.index[name]]

    def reach(self, end: int, first: int | None = None) -> None:
        """Run everything before operator number ``end`` on the ``first`` batches (None: all).

        A batch that is left behind is caught up with when it is wanted: wide maps need few images,
        and those that are not looked at need not lie in memory.
        """
        with torch.no_grad():
            for i, x in enumerate(self.batches[:first]):
                values = self.values[i]
                for node in self.nodes[self.at[i] : end]:
                    run(self.module, [node], values, x)
                    for used in [node, *node.all_input_nodes]:
                        if self.last[used] <= self.index[node.name] and used in values:
                            del values[used]
                self.at[i] = max(self.at[i], end)


def run(
    module: fx.GraphModule, nodes: Sequence[fx.Node], values: dict[fx.Node, Any], x: Example | None
) -> None:
    """Run ``nodes`` in order, reading and writing ``values``; ``x`` is what the network is called with."""

    def value(node: fx.Node) -> Any:
        return fetch(module, str(node.target)) if node.op == "get_attr" else values[node]

    for node in nodes:
        if node.op == "placeholder":
            given = module.graph.find_nodes(op="placeholder")
            values[node] = flat(x)[list(given).index(node)]
        elif node.op == "call_function":
            args, kwargs = fx.map_arg((node.args, node.kwargs), value)
            target = operator_of(node).run or node.target  # a view needs not exist channels last
            values[node] = target(*args, **kwargs)  # type: ignore[operator]
        elif node.op == "output":
            values[node] = fx.map_arg(node.args[0], value)


def run_segment(
    module: fx.GraphModule, nodes: Sequence[fx.Node], values: dict[fx.Node, Any]
) -> Any:
    """The value of the last of ``nodes``; what nothing reads any more is dropped on the way."""
    inside = dict(values)
    run(module, nodes, inside, None)
    return inside[nodes[-1]]


def _last_uses(nodes: Sequence[fx.Node], index: dict[str, int]) -> dict[fx.Node, int]:
    end = len(nodes)  # the output is kept
    return {
        n: end if n.op == "output" else max((index[u.name] for u in n.users), default=-1)
        for n in nodes
    }


def bfloat16_pays() -> bool:
    """Whether this processor computes in bfloat16 and does not only emulate it."""
    return torch.backends.mkldnn.is_available() and bool(
        torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )
