"""The walk: labels beside each tensor of the exported graph, one rule an operator."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from ..errors import EdgepruneError
from .labels import PINNED, Classes, Labelled, Vector

Rule = Callable[..., Any]  # (follow, node, *args, **kwargs) -> Labelled or list of them


@dataclass(frozen=True)
class Refusal:
    """Channels that cannot leave, and why."""

    where: str  # the layer, by its qualified name
    operator: str  # the ATen operator
    reason: str
    source: str  # file:line of the forward that called it, "" when unknown


@dataclass(frozen=True, eq=False)
class Contraction:
    """An operand whose dropped labels the operator reads as zero (the reference semantics)."""

    operand: fx.Node
    axis: int
    labels: Vector


@dataclass
class Follow:
    """The state of one walk; rules read and tie labels through it."""

    constants: Mapping[str, Tensor]  # parameters, buffers, folded constants by name
    classes: Classes = field(default_factory=Classes)
    values: dict[fx.Node, Any] = field(default_factory=dict)
    sites: dict[tuple[str, int], Vector] = field(default_factory=dict)
    producers: dict[tuple[str, int], str] = field(default_factory=dict)  # tensor, axis -> layer
    contractions: dict[fx.Node, list[Contraction]] = field(default_factory=dict)
    refusals: list[Refusal] = field(default_factory=list)
    elsewhere: list[tuple[Vector, Vector]] = field(default_factory=list)  # of an axis that merged
    # channels with an open size: its labels here, and at another size

    def walk(self, graph: fx.Graph, rule_for: Callable[[fx.Node], Rule]) -> None:
        for node in graph.nodes:
            self.values[node] = self._step(node, rule_for)

    def _step(self, node: fx.Node, rule_for: Callable[[fx.Node], Rule]) -> Any:
        if node.op == "placeholder":
            return plain(node)
        if node.op == "get_attr":
            return self._leaf(str(node.target))
        args, kwargs = self.arguments(node)
        if node.op == "output":
            for value in labelled(args):
                self.pin(node, value, "an output of the network")
            return None
        if node.target is operator.getitem:
            return args[0][args[1]]
        if not isinstance(node.target, torch._ops.OpOverload) or is_symbolic(node):
            return plain(node)
        try:
            return rule_for(node)(self, node, *args, **kwargs)
        except EdgepruneError:
            raise
        except Exception as e:  # a form that the rule does not know: what touches it stays
            reason = f"its rule does not know this form ({type(e).__name__}: {e})"
            return unknown(self, node, *args, reason=" ".join(reason.split())[:200], **kwargs)

    def arguments(self, node: fx.Node) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The node's arguments with labels for tensors and the traced ints for symbols."""
        args, kwargs = fx.map_arg((node.args, node.kwargs), lambda n: self.values[n])
        return args, kwargs

    def _leaf(self, name: str) -> Labelled:
        return Labelled(tuple(self.constants[name].shape), constant=True, name=name)

    # -- what rules do -----------------------------------------------------------------------

    def bind(self, leaf: Labelled, axis: int) -> Vector:
        """The labels of a parameter's axis; made when first asked for, so shared weights agree."""
        assert leaf.name is not None
        key = (leaf.name, axis % leaf.ndim)
        if key not in self.sites:
            self.sites[key] = self.classes.fresh(leaf.shape[axis])
        return self.sites[key]

    def data(self, x: Labelled) -> Labelled:
        """A parameter that is followed like a feature map: a vector gets labels, others stay."""
        if x.name is None:
            return x
        axes = [d for d, size in enumerate(x.shape) if size > 1]
        if len(axes) != 1:
            self.hold(x)
            return Labelled(x.shape, constant=True)
        return Labelled(x.shape, axes[0], self.bind(x, axes[0]), constant=True)

    def hold(self, leaf: Labelled, free: int | None = None) -> None:
        """No axis of this parameter may be cut, except ``free`` (negative: from the right)."""
        for axis, size in enumerate(leaf.shape):
            if size > 1 and (free is None or axis != free % leaf.ndim):
                self.classes.pin(self.bind(leaf, axis))

    def labels(self, x: Labelled, axis: int) -> Vector:
        """The labels along ``axis``: pinned ones where ``x`` bears none there."""
        if x.on(axis):
            assert x.labels is not None
            return x.labels
        return np.zeros(x.shape[axis], np.int64)

    def tie(self, x: Labelled | None, axis: int, labels: Vector) -> None:
        """``x``'s ``axis`` bears ``labels``: slices with them, or they must stay."""
        if x is None or x.shape[axis] == 1:
            return
        key = str(x.name), axis % x.ndim
        if x.name is not None and key not in self.sites:
            self.sites[key] = self.classes.fresh_in(labels, x.shape[axis])
            return
        own = self.bind(x, axis) if x.name is not None else self.labels(x, axis)
        self.classes.union(own, labels)

    def pin(self, node: fx.Node, x: Labelled, reason: str) -> Labelled:
        """``x`` with nothing that may leave; recorded if anything could have."""
        if x.labels is not None and (self.classes.find(x.labels) != PINNED).any():
            self.classes.pin(x.labels)
            if x.free:
                return Labelled(x.shape, constant=x.constant)
            where = layer(node) or node.name
            self.refusals.append(Refusal(where, short_name(node), reason, source(node)))
        return Labelled(x.shape, constant=x.constant)

    def contract(self, node: fx.Node, operand: fx.Node, axis: int, labels: Vector) -> None:
        """``node`` sums over these labels of ``operand``: dropped ones read as zero."""
        found = self.contractions.setdefault(node, [])
        found.append(Contraction(operand, axis, labels))

    def produce(self, node: fx.Node, weight: Labelled, axis: int) -> Vector:
        """The labels that a layer's output gets from its weight's output axis."""
        assert weight.name is not None
        self.producers.setdefault((weight.name, axis), owner(node, weight.name))
        return self.bind(weight, axis)

    def result(self, node: fx.Node, axis: int, labels: Vector, constant: bool = False) -> Labelled:
        """The node's output, labelled on ``axis``; in normal form."""
        shape = shape_of(node)
        axis %= len(shape)
        assert len(labels) in (1, shape[axis])
        labels = self.classes.find(labels)
        if 0 in shape:
            return Labelled(shape, constant=constant)
        if (labels == labels[0]).all():
            self.classes.pin(labels[:1])
            return Labelled(shape, constant=constant)
        return Labelled(shape, axis, labels, constant)


def unknown(
    f: Follow, node: fx.Node, *args: Any, reason: str = "no rule for this operator", **kwargs: Any
) -> Any:
    """An operator without a rule, or a form of it that its rule does not know: what touches it stays."""
    for x in labelled((args, kwargs)):
        f.pin(node, f.data(x), reason)
    return plain(node)


def plain(node: fx.Node) -> Any:
    """The node's output without labels: shapes for tensors, traced ints for symbols."""
    return fx.node.map_aggregate(node.meta.get("val"), _plain)  # type: ignore[arg-type]


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        return Labelled(tuple(hint(s) for s in value.shape))
    return hint(value) if isinstance(value, torch.SymInt) else value


def labelled(values: Any) -> list[Labelled]:
    found: list[Labelled] = []
    fx.node.map_aggregate(values, lambda v: found.append(v) if isinstance(v, Labelled) else None)
    return found


def hint(size: int | torch.SymInt) -> int:
    """A size of the traced example. Raises :class:`EdgepruneError` if the data decide it."""
    known = size.node.hint if isinstance(size, torch.SymInt) else size
    if known is None:
        raise EdgepruneError(
            "the network cannot be traced",
            f"its forward makes a tensor whose size depends on the data ({size})",
            "make its forward exportable (sizes from the input's size alone)",
        )
    return int(known)


def is_symbolic(node: fx.Node) -> bool:
    return isinstance(
        node.meta.get("val"), int | float | torch.SymInt | torch.SymFloat | torch.SymBool
    )


def shape_of(node: fx.Node) -> tuple[int, ...]:
    value = node.meta["val"]
    return tuple(hint(s) for s in (value[0] if isinstance(value, list | tuple) else value).shape)


def short_name(node: fx.Node) -> str:
    """``conv2d`` for ``aten.conv2d.default``."""
    if isinstance(node.target, torch._ops.OpOverload):
        return node.target._schema.name.removeprefix("aten::")
    return str(node.target)


def layer(node: fx.Node) -> str:
    """The qualified name of the module whose forward called this operator ("" for the root)."""
    stack = node.meta.get("nn_module_stack")
    return list(stack.values())[-1][0] if stack else ""


def owner(node: fx.Node, tensor: str) -> str:
    """The layer that owns a parameter; for one computed in the graph, the layer that uses it."""
    return tensor.rpartition(".")[0] or layer(node) or node.name


def source(node: fx.Node) -> str:
    """``file:line`` of the innermost frame that is not PyTorch's own."""
    frames = [
        line.strip().split(", in ")[0]
        for line in (node.meta.get("stack_trace") or "").splitlines()
        if line.strip().startswith("File ")
    ]
    own = [f for f in frames if "/torch/" not in f] or frames
    if not own:
        return ""
    return own[-1].removeprefix("File ").replace('", line ', ":").strip('"')
