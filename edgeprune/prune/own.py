"""A plan by which the user's own class comes back: what its Python wants whole stays whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from ..errors import EdgepruneError
from ..graph import Graph
from ..graph.kept import Keep
from .computed import layer_of
from .cut import narrow
from .plan import Plan

Planned = Callable[
    [Sequence[str]], Plan
]  # groups that stay whole besides what was asked -> the plan


def own_class(graph: Graph, planned: Planned) -> Plan:
    """Plan and cut until the cut network has the model's class, keeping whole the groups of each layer
    whose forward raises, or which cannot compute a smaller weight.

    Raises :class:`EdgepruneError` where no layer raises and the class is lost all the same.
    """
    whole: dict[str, str] = {}
    while True:
        plan = planned(list(whole))
        small = narrow(graph, plan.keep).model
        if small.edgeprune_kind == "module":
            said = {n: f"kept whole: the Python of {layer} wants it" for n, layer in whole.items()}
            return replace(plan, reasons=plan.reasons | said)
        layer = str(small.edgeprune_layer)
        found = dict.fromkeys(_groups(graph, layer), layer) if layer else {}
        if not found.keys() - whole.keys():
            raise EdgepruneError(
                f"no plan keeps the class {type(graph.model).__name__}",
                str(small.edgeprune_reason),
                "leave out own_class (--own-class): the cut network is then an fx.GraphModule",
            )
        whole = found | whole


def stands(graph: Graph, keep: Keep) -> bool:
    """Whether the network that is cut so has the model's class."""
    return bool(narrow(graph, keep).model.edgeprune_kind == "module")


def _groups(graph: Graph, layer: str) -> list[str]:
    """The groups that lie on a tensor of the layer, or on a weight that it computes."""
    computed = {name for name in graph.folded if layer_of(graph, name) == layer}
    return [
        name
        for name, group in graph.groups.items()
        if any(s.tensor in computed or s.tensor.startswith(f"{layer}.") for s in group.sites)
    ]
