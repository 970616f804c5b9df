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
from ..graph.tape import Step
from ..graph.tensors import named_tensors


def alike(module: nn.Module, graph: fx.GraphModule, example: Example) -> bool:
    """Whether ``module``, recorded at ``example``'s size, is ``graph`` on the same tensors.

    False, too, where it cannot be recorded.
    """
    try:
        recorder = settled(module, example, told=False)
    except Exception:  # its forward raises, or does what no recording holds
        return False
    needed = recorder.tape.needed()
    known: dict[Any, Any] = {  # of both: a tensor, a number, or the recorded step
        s: recorder.constants[s.target] for s in needed if s.op == "get_attr"
    }
    steps = (s for s in needed if s.op != "get_attr")
    tensors = named_tensors(graph)
    for node in graph.graph.nodes:
        if node.op == "get_attr":
            known[node] = tensors[str(node.target)]
        elif node.op == "call_function" and type(node.meta.get("val")) is int:
            known[node] = number(node, known)
        elif node.users or node.op != "call_function":
            step = next(steps, None)
            if step is None or not _same_step(step, node, known):
                return False
            known[node] = known[step] = step
    return next(steps, None) is None


def _same_step(step: Step, node: fx.Node, known: dict[Any, Any]) -> bool:
    if step.op != node.op or (step.op == "call_function" and step.target is not node.target):
        return False
    return _same((step.args, step.kwargs), (node.args, node.kwargs), known)


def _same(a: Any, b: Any, known: dict[Any, Any]) -> bool:
    a = known.get(a, a) if type(a) is Step else a
    b = known.get(b, b) if isinstance(b, fx.Node) else b
    if isinstance(a, Tensor | Step) or isinstance(b, Tensor | Step | fx.Node):
        return a is b
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(_same(x, y, known) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(v, b[k], known) for k, v in a.items())
    return type(a) is type(b) and bool(a == b)
