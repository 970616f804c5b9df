"""The table of operators: one row each, from which every other list is derived.

Families, one file each; letters: N batch, C channels, O filters, I inputs per group.

    moves      the same operator runs on the labels      convolutions, recurrent
    picks      moves along one axis                      norms      with parameters
    sizes      channels of an operator's own             products   linear, matmul, einsum, attention
    pointwise  elements that meet become one class       along      windows, mixes, reductions
"""

from __future__ import annotations

import torch
from torch import fx

from ..follow import Rule, unknown
from . import along, convolutions, moves, norms, picks, pointwise, products, recurrent, sizes
from .row import Operator, Work

__all__ = ["OPERATORS", "Operator", "Work", "operator_of", "row_of", "rule_for", "twin_of"]

FAMILIES = (moves, picks, sizes, pointwise, along, convolutions, norms, products, recurrent)
UNKNOWN = Operator("", unknown)

OPERATORS: dict[str, Operator] = {
    name: row for family in FAMILIES for row in family.ROWS for name in row.names.split()
}


def operator_of(node: fx.Node) -> Operator:
    """The node's row; pointwise operators without one are known by their tag; else `UNKNOWN`."""
    return row_of(node.target)


def row_of(target: object) -> Operator:
    """The row of an ATen operator, or of one of a library of its own (``library::name``)."""
    if not isinstance(target, torch._ops.OpOverload):
        return UNKNOWN
    row = OPERATORS.get(target._schema.name.removeprefix("aten::"))
    if row is None and torch.Tag.pointwise in target.tags:
        return pointwise.POINTWISE
    return row or UNKNOWN


def rule_for(node: fx.Node) -> Rule:
    return operator_of(node).follow


def twin_of(target: torch._ops.OpOverload) -> torch._ops.OpOverload | None:
    """The overload that makes new memory of one that writes into its first argument, if there is one."""
    library, _, name = target._schema.name.partition("::")
    packet = getattr(getattr(torch.ops, library), name.removesuffix("_"), None)
    takes = [str(a.type) for a in target._schema.arguments]
    names = [target._overloadname or "default", *(packet.overloads() if packet else ())]
    twins = [getattr(packet, each) for each in names if hasattr(packet, each)]
    fitting = (t for t in twins if [str(a.type) for a in t._schema.arguments] == takes)
    return next(fitting, None)


def is_pointwise(target: object) -> bool:
    return row_of(target).follow is pointwise.pointwise
