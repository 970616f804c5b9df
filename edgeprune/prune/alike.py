"""Whether a module's forward is a graph, operator by operator: then it is for all weights and sizes.

No number is computed. Where the two differ they may still be the same function; that is asked of
numbers then (:mod:`.module`).
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, fx, nn

from ..graph.inputs import Example
from ..graph.opening import number
from ..graph.record import settled
from ..graph.tensors import named_tensors


def alike(module: nn.Module, graph: fx.GraphModule, example: Example) -> bool:
    """Whether ``module``, recorded at ``example``'s size, is ``graph`` on the same tensors.

    False, too, where it cannot be recorded.
    """
    try:
        recorder = settled(module, example)
    except Exception:  # its forward raises, or does what no recording holds
        return False
    recorder.graph.eliminate_dead_code()
    leaves = recorder.constants
    known: dict[fx.Node, Any] = {  # of both graphs: a tensor, a number, or the recorded step
        n: leaves[str(n.target)] for n in recorder.graph.nodes if n.op == "get_attr"
    }
    steps = (n for n in recorder.graph.nodes if n.op != "get_attr")
    tensors = named_tensors(graph)
    for node in graph.graph.nodes:
        if node.op == "get_attr":
            known[node] = tensors[str(node.target)]
        elif node.op == "call_function" and type(node.meta.get("val")) is int:
            known[node] = number(node, known)
        else:
            step = next(steps, None)
            if step is None or not _same_step(step, node, known):
                return False
            known[node] = known[step] = step
    return True


def _same_step(step: fx.Node, node: fx.Node, known: dict[fx.Node, Any]) -> bool:
    if step.op != node.op or (step.op == "call_function" and step.target is not node.target):
        return False
    return _same((step.args, step.kwargs), (node.args, node.kwargs), known)


def _same(a: Any, b: Any, known: dict[fx.Node, Any]) -> bool:
    a, b = (known.get(v, v) if isinstance(v, fx.Node) else v for v in (a, b))
    if isinstance(a, Tensor | fx.Node) or isinstance(b, Tensor | fx.Node):
        return a is b
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(_same(x, y, known) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(v, b[k], known) for k, v in a.items())
    return type(a) is type(b) and bool(a == b)
