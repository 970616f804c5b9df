"""A graph of operators as a module, around given tensors."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from torch import Tensor, fx, nn

from .tensors import put


class Operators(fx.GraphModule):
    """A graph whose Python is written when it is first asked for: most are only read."""

    def recompile(self) -> None:  # type: ignore[override]
        vars(self).pop("_code", None)
        if "forward" in vars(type(self)):  # of a class of its own, as each fx.GraphModule has
            del type(self).forward

    @property
    def forward(self) -> Callable[..., Any]:  # type: ignore[override]
        super().recompile()  # writes one that hides this
        return self.forward

    @property
    def code(self) -> str:
        if "_code" not in vars(self):
            super().recompile()
        return super().code

    def __reduce__(self) -> Any:
        return fx.GraphModule(self, self.graph, class_name=type(self).__name__).__reduce__()


def sweep(graph: fx.Graph) -> None:
    """Take out what nothing reads, in place: nothing in a recording has any other effect."""
    for node in reversed(graph.nodes):
        if not node.users and node.op not in ("placeholder", "output"):
            graph.erase_node(node)


def module_of(
    graph: fx.Graph, tensors: Mapping[str, Tensor], unsaved: Collection[str], name: str
) -> Operators:
    """The operators around the tensors, by the names that they read; of those ``unsaved`` no file has."""
    module = Operators(nn.Module(), fx.Graph(), class_name=name)
    for leaf, value in tensors.items():
        put(module, leaf, value, persistent=leaf not in unsaved)
    module.graph = graph
    return module
