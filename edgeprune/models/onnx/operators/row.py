"""One ONNX operator in a range of opsets, one row: what it computes, of tensors and of known numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..known import Known

Constants = Mapping[int, Tensor]  # of a node, by the position of the input
Laid = tuple[Callable[..., Any], Mapping[int, tuple[str, Tensor]]]
LIMIT = 1 << 28  # elements of one tensor that sizes in a file may ask for


@dataclass(frozen=True)
class Node:
    """A node as its operator sees it; ``training`` and ``fixed`` are the network's."""

    operator: str
    name: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    opset: int = 20
    training: bool = False
    fixed: int | None = None  # the batch, where the file allows one only
    outputs: int = 1
    weight: tuple[int, ...] = ()  # sizes of the second input, where the file holds it

    def get(self, name: str, default: Any = None) -> Any:
        return self.attributes.get(name, default)

    def fail(self, why: str) -> Exception:
        return NotSupported(f"{self.operator} {self.name!r} {why}")


class NotSupported(Exception):  # noqa: N818 - what is asked of the operator
    """A variant of a known operator that has no counterpart here."""


@dataclass(frozen=True, eq=False)
class Row:
    """``run(node, *inputs)`` gives a tensor, a :class:`Known`, or a tuple of them; an input that the
    file leaves out is None. ``numbers`` are positions of inputs that are needed as numbers.
    """

    run: Callable[..., Any]
    since: int = 1  # opset
    until: int = 99
    numbers: tuple[int, ...] = ()
    known: Callable[..., Any] | None = None  # the same of Knowns alone
    makes: bool = False  # numbers in any amount: only where numbers are needed
    scalars: bool = False  # a constant of one element is a number to it
    leaves: tuple[
        str, ...
    ] = ()  # what an input of constants is called in the layer ("": as in the file)
    lay: Callable[[Node, Constants], Laid | None] | None = None  # constants as PyTorch wants them


Rows = dict[str, tuple[Row, ...]]


def tensor(value: Tensor | Known, like: Tensor) -> Tensor:
    """A tensor on the device of another."""
    return value.tensor(like.device) if isinstance(value, Known) else value


def ints(value: Any) -> list[Any]:
    """Numbers of an input that must be known."""
    if not isinstance(value, Known):
        raise NotSupported("takes sizes from the numbers of a tensor")
    return value.list()


def numbers(value: Any) -> list[Any]:
    return [] if value is None else ints(value)


def axis_of(axis: int, ndim: int) -> int:
    if not -ndim <= axis < max(ndim, 1):
        raise NotSupported(f"names axis {axis} of a tensor of {ndim} axes")
    return axis + ndim if axis < 0 else axis


def whole(node: Node, word: str, default: list[int], lowest: int) -> list[int]:
    """An attribute of as many whole numbers as ``default``, none below ``lowest``."""
    found = list(node.get(word) or default)
    if len(found) != len(default) or any(n < lowest for n in found):
        raise node.fail(f"has {word} {found[:9]}; {len(default)} from {lowest} on are wanted")
    return found


def roomy(sizes: list[Any]) -> list[Any]:
    """Sizes that memory is asked for; more than a network's are refused."""
    amount = 1
    for size in sizes:
        amount = amount * size if isinstance(size, int) else amount
    if amount > LIMIT:
        raise NotSupported(f"asks for a tensor of {' x '.join(map(str, sizes))}")
    return sizes


DTYPES = {
    1: torch.float32, 2: torch.uint8, 3: torch.int8, 5: torch.int16, 6: torch.int32,
    7: torch.int64, 9: torch.bool, 10: torch.float16, 11: torch.float64, 16: torch.bfloat16,
}  # fmt: skip
HALVES = (torch.float16, torch.bfloat16)


def dtype_of(element: int) -> torch.dtype:
    """Of ONNX's number of an element type; half types are reckoned with in float32."""
    found = DTYPES.get(element)
    if found is None:
        raise NotSupported(f"makes elements of ONNX type {element}")
    return torch.float32 if found in HALVES else found
