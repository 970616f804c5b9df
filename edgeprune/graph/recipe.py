"""A recipe: a graph without inputs that computes folded constants from the present parameters."""

from __future__ import annotations

import torch
from torch import fx

from .tensors import put


def outputs(graph: fx.Graph) -> list[fx.Node]:
    """The nodes that a recipe returns."""
    return list(graph.output_node().args[0])  # type: ignore[arg-type]


@torch.no_grad()
def evaluate(recipe: fx.GraphModule, module: fx.GraphModule) -> None:
    """Write the folded constants, from the present parameters, into ``module``."""
    for node, value in zip(outputs(recipe.graph), recipe(), strict=True):
        put(module, node.name, value.detach())
