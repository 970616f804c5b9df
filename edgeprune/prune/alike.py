"""Whether a module's forward is a graph, operator by operator: then it is for all weights and sizes.

No number is computed while the two are called alike. One operator on the same tensors that is called
otherwise is asked of numbers here; where the operators themselves differ, the whole is asked
(:mod:`.module`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn

from ..graph.inputs import Example
from ..graph.opening import number
from ..graph.record import settled
from ..graph.tape import Step
from ..graph.tensors import named_tensors


def alike(module: nn.Module, graph: fx.GraphModule, example: Example) -> bool | None:
    """Whether ``module``, recorded at ``example``'s size, is ``graph`` on the same tensors.

    False: one of its operators gives other numbers. None: it cannot be told; the two are written in
    different operators, or the module cannot be recorded.
    """
    try:
        recorder = settled(module, example, told=False)
    except Exception:  # its forward raises, or does what no recording holds
        return None
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
            same = None if step is None else _same_step(step, node, known)
            if not same:
                return same
            known[node] = known[step] = step
    return True if next(steps, None) is None else None


def _same_step(step: Step, node: fx.Node, known: dict[Any, Any]) -> bool | None:
    if step.op != node.op or (step.op == "call_function" and step.target is not node.target):
        return None
    if _same((step.args, step.kwargs), (node.args, node.kwargs), known):
        return True
    if step.op != "call_function":
        return None
    ours, theirs = (_all(partial(_known, known), (one.args, one.kwargs)) for one in (step, node))
    return _same_numbers(step.target, ours, theirs)


def _known(known: Mapping[Any, Any], given: Any) -> Any:
    return known.get(given, given) if isinstance(given, Step | fx.Node) else given


def _same(a: Any, b: Any, known: Mapping[Any, Any]) -> bool:
    a = known.get(a, a) if type(a) is Step else a
    b = known.get(b, b) if isinstance(b, fx.Node) else b
    if isinstance(a, Tensor | Step) or isinstance(b, Tensor | Step | fx.Node):
        return a is b
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(_same(x, y, known) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(v, b[k], known) for k, v in a.items())
    return type(a) is type(b) and bool(a == b)


def _same_numbers(operator: Any, ours: Any, theirs: Any) -> bool | None:
    """Whether an operator gives the same on the same tensors, called in two ways; None: on others.

    Asked here, of random numbers, since a network may make too little of it to be seen at its end:
    attention scaled by its own width behind a layer scale of 1e-5.
    """
    read, also = _tensors(ours), _tensors(theirs)
    if len(read) != len(also) or any(a is not b for a, b in zip(read, also, strict=True)):
        return None
    try:
        numbers = {id(t): _random(t, seed) for seed, t in enumerate(read)}
        found = []
        for args, kwargs in (ours, theirs):
            put = partial(_put, numbers)
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                found.append(operator(*_all(put, args), **_all(put, kwargs)))
        a, b = found
        if a.shape != b.shape:  # another operator may take it back
            return None
        return bool(torch.allclose(a, b, rtol=1e-10, atol=1e-12))
    except Exception:  # several results, a type that is no number's, a size that does not fit
        return None


def _tensors(given: Any) -> list[Any]:
    """The tensors and steps among arguments, in order."""
    if isinstance(given, Tensor | Step):
        return [given]
    parts = given.values() if isinstance(given, dict) else given
    return [t for p in parts for t in _tensors(p)] if isinstance(given, dict | list | tuple) else []


def _all(put: Callable[[Any], Any], given: Any) -> Any:
    if isinstance(given, dict):
        return {k: _all(put, v) for k, v in given.items()}
    if isinstance(given, list | tuple):
        return type(given)(_all(put, v) for v in given)
    return put(given)


def _put(numbers: Mapping[int, Tensor], given: Any) -> Any:
    return numbers[id(given)] if isinstance(given, Tensor | Step) else given


def _random(given: Any, seed: int) -> Tensor:
    """Float64 numbers of the shape of a tensor or step, positive where it may be a variance."""
    meta = given.value if isinstance(given, Step) else given
    if not meta.is_floating_point():
        raise TypeError("no float")
    random = torch.Generator().manual_seed(seed)
    made = torch.randn(meta.shape, generator=random, dtype=torch.float64)
    return made if made.ndim > 1 else made.abs() + 0.5
