"""What a write into a view does to the tensor that it is a view of.

``back(tape, part, whole, base, view)``: the step of ``base`` in which ``part`` stands where ``view``
was taken from; ``whole`` is the base's step before the write.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..tape import Step, Tape

aten = torch.ops.aten


@dataclass(frozen=True, eq=False)
class View:
    """The operator that made a view of its first argument, and which of its results it is."""

    func: Any
    args: tuple[Any, ...]  # after the first
    kwargs: Mapping[str, Any]
    index: int | None  # of several results
    offset: int  # of its first element in the base's memory

    def argument(self, position: int, name: str, default: Any = None) -> Any:
        """An argument of the operator, by its position behind the first."""
        return self.args[position] if position < len(self.args) else self.kwargs.get(name, default)


Back = Callable[[Tape, Step, Step, Tensor, View], Step]


def slice_back(tape: Tape, part: Step, whole: Step, base: Tensor, view: View) -> Step:
    names = (("dim", 0), ("start", None), ("end", None), ("step", 1))
    written = [view.argument(i, name, default) for i, (name, default) in enumerate(names)]
    return tape.call_function(aten.slice_scatter.default, (whole, part, *written))


def narrow_back(tape: Tape, part: Step, whole: Step, base: Tensor, view: View) -> Step:
    dim, start, length = view.args
    bounds = (dim, start, start + length)
    return tape.call_function(aten.slice_scatter.default, (whole, part, *bounds))


def split_back(tape: Tape, part: Step, whole: Step, base: Tensor, view: View) -> Step:
    dim = view.argument(1, "dim", 0)
    start = view.offset // base.stride(dim)
    bounds = (dim, start, start + part.value.shape[dim])
    return tape.call_function(aten.slice_scatter.default, (whole, part, *bounds))


def select_back(tape: Tape, part: Step, whole: Step, base: Tensor, view: View) -> Step:
    place = (view.argument(0, "dim"), view.argument(1, "index"))
    return tape.call_function(aten.select_scatter.default, (whole, part, *place))


def unbind_back(tape: Tape, part: Step, whole: Step, base: Tensor, view: View) -> Step:
    place = (view.argument(0, "dim", 0), view.index)
    return tape.call_function(aten.select_scatter.default, (whole, part, *place))


def shape_back(tape: Tape, part: Step, whole: Step, base: Tensor, view: View) -> Step:
    return tape.call_function(aten.reshape.default, (part, list(base.shape)))


def permute_back(tape: Tape, part: Step, whole: Step, base: Tensor, view: View) -> Step:
    dims = [d % base.ndim for d in view.argument(0, "dims")]
    back = [dims.index(d) for d in range(base.ndim)]
    return tape.call_function(aten.permute.default, (part, back))


def transpose_back(tape: Tape, part: Step, whole: Step, base: Tensor, view: View) -> Step:
    """Two axes changed places: they change back."""
    return tape.call_function(view.func, (part, *view.args), dict(view.kwargs))


def itself(tape: Tape, part: Step, whole: Step, base: Tensor, view: View) -> Step:
    """The operator returned its argument as it was."""
    return tape.call_function(aten.alias.default, (part,))
