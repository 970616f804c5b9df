"""One operator, one row: its rule, its rewriting for a cut, its cost, and whatever else is known of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx, nn

from ..follow import Rule
from ..rewriting import Rewriter
from .writes import Back

Shape = tuple[int, ...]
Refusal = tuple[str, str]


@dataclass(frozen=True)
class Work:
    """The sizes that one operator meets, at some widths of the groups."""

    node: fx.Node
    operands: tuple[Shape, ...]  # of all its tensors, in order, with N
    whole: Shape  # of its output, with N
    out: Shape  # of its output, for one image
    inputs: Shape  # of its first feature map, for one image; () without one
    weight: Shape  # of its first parameter with several axes; (0,) without one
    batch: int  # N


@dataclass(frozen=True, eq=False)
class Operator:
    """One row of the table. All that is not given is what most operators are."""

    names: str  # ATen names without overloads, between spaces
    follow: Rule  # what it does to labels
    rewrite: Callable[[Rewriter, fx.Node, fx.Node], None] | None = None  # None: works as it stands
    moves: bool = False  # data are only moved: a cut checks the operator on numbered elements
    run: Callable[..., Any] | None = (
        None  # on labels (expanded) and on maps of any layout, where its own code cannot
    )
    vectors: bool = False  # what it makes of constant vectors is followed, not folded
    kind: str = "parameter"  # of its row in the cost table
    macs: Callable[[Work], int] | None = None  # multiply-adds for one image; None: none are counted
    channels: int = 0  # which axis of one image's output holds the channels
    reads: bool = (
        False  # a layer Y = X W' + b whose second argument is the weight: it can be solved for
    )
    per_channel: bool = False  # a batch norm: one scale and offset a channel
    frozen: bool = False  # with running statistics: (x, weight, bias, mean, var, momentum, eps)
    sums: bool = False  # the sum of two maps
    clips: Callable[..., tuple[Any, Any]] | None = (
        None  # of its arguments: the ends between which it lets its first one through as it is
    )
    averages: bool = False  # over places: of equal values it makes this value
    guard: bool = False  # an assertion: not recorded
    asks: bool = False  # for a tensor's numbers, which a recording has not
    refused: Refusal | None = None  # a forward that has it is: why, and what to give instead
    hands_on: bool = False  # its result is its argument
    like: Callable[[Tensor, Sequence[Tensor]], bool] | None = (
        None  # whether its result has the shape and the type of its first tensor, beside the others
    )
    shape: Callable[..., Shape | None] | None = (
        None  # of its arguments: its result's in the plain layout, of the type of its tensors
    )
    copies: bool = False  # its second argument, into the first
    back: Back | None = None  # how a write into its result reaches its argument
    evaluating: Callable[..., tuple[Any, tuple[Any, ...]] | None] | None = (
        None  # what it is in eval
    )
    # mode, as (operator, arguments)
    exact: Callable[..., fx.Node | None] | None = None  # written out in sums: (writer, *arguments)
    restore: Callable[[nn.Module, fx.Node], None] | None = None  # make it a module that can train
