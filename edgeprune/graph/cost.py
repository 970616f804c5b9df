"""What a network costs, from its graph alone: FLOPs in the paper's convention, MACs and bytes.

The paper (Hubens et al. 2020; recovered from its tables): FLOPs = 2 * (weights + biases) * H_out *
W_out for convolutions and dense layers, nothing for the rest; parameters are every stored value, 4
a channel for batch norm. Since units of a group are borne equally often by every tensor, each
length is ``fixed + sum(times * width)``, and widths that no network has yet can be priced.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from torch import fx

from ..errors import EdgepruneError
from .follow import layer
from .graph import Graph
from .labels import Labelled, Vector
from .operators import Work, operator_of
from .vanish import Left, left, stand_in

BYTES = 4  # of a float32


@dataclass(frozen=True)
class Row:
    """One layer's cost for one image."""

    layer: str  # qualified name
    kind: str  # conv, depthwise, linear, norm, matmul, parameter, and those that rows name
    out_shape: tuple[int, ...]  # without N
    width_in: int
    width_out: int
    params: int  # stored values, 0 where shared with an earlier row
    flops: int  # the paper's convention
    macs: int  # multiply-adds
    bytes: int  # of the parameters
    activation_bytes: int  # of the output
    kernel: int = 1  # longer side of a convolution's
    stride: int = 1  # largest
    groups: int = 1  # of a convolution at these widths


@dataclass(frozen=True)
class Cost:
    rows: tuple[Row, ...]

    @property
    def params(self) -> int:
        return sum(row.params for row in self.rows)

    @property
    def flops(self) -> int:
        return sum(row.flops for row in self.rows)

    @property
    def macs(self) -> int:
        return sum(row.macs for row in self.rows)

    @property
    def bytes(self) -> int:
        return sum(row.bytes for row in self.rows)

    @property
    def activation_bytes(self) -> int:
        return sum(row.activation_bytes for row in self.rows)


def cost(graph: Graph, widths: Mapping[str, int] | None = None) -> Cost:
    """Cost for one image with the given ``widths`` (units a group; missing groups as they are).

    A width of 0 is priced where the group can vanish (:mod:`.vanish`): all that nothing reads any more
    costs nothing, and what stands for a branch is one parameter.
    """
    return Cost(tuple(_rows(graph, _Lengths(graph, widths or {}))))


class _Lengths:
    """How long tensors are at some widths of the groups."""

    def __init__(self, graph: Graph, widths: Mapping[str, int]) -> None:
        for name, width in widths.items():
            limit = graph.group(name).width
            if not 0 <= width <= limit:
                raise EdgepruneError(f"width {width} of {name}", f"not between 0 and {limit}")
        self.gone = [name for name, width in widths.items() if not width]
        self.roots = graph.roots
        self.share = np.ones(len(graph.roots))  # of each class's elements that stay
        for name, width in widths.items():
            self.share[graph.groups[name].roots] = width / graph.groups[name].width

    def left(self, graph: Graph) -> Left | None:
        """What the groups of width 0 leave of the operators; None where there are none."""
        if not self.gone:
            return None
        found = left(graph, self.gone)
        if found.refusal:
            raise EdgepruneError(
                f"width 0 of {', '.join(self.gone)}", found.refusal, "give 1 or more"
            )
        return found

    def length(self, labels: Vector) -> int:
        return round(float(self.share[self.roots[labels]].sum()))

    def shape(self, x: Labelled) -> tuple[int, ...]:
        shape = list(x.shape)
        if x.axis is not None and x.labels is not None:
            shape[x.axis] = self.length(x.labels)
        return tuple(shape)


class _Priced:
    """One pass over the graph: tensors are paid for where they are first read."""

    def __init__(self, graph: Graph, lengths: _Lengths) -> None:
        self.graph, self.lengths = graph, lengths
        self.stored = stored_tensors(graph)
        self.paid: set[str] = set()

    def shape(self, leaf: Labelled) -> tuple[int, ...]:
        """The shape of a parameter at these widths."""
        if leaf.axis is not None:  # it stands for a branch that vanished
            return self.lengths.shape(leaf)
        shape = list(leaf.shape)
        for axis in range(leaf.ndim):
            labels = self.graph.sites.get((str(leaf.name), axis))
            if labels is not None:
                shape[axis] = self.lengths.length(labels)
        return tuple(shape)

    def pay(self, leaves: list[Labelled]) -> int:
        """Stored values of these parameters, each once."""
        total = 0
        for leaf in leaves:
            if leaf.name not in self.paid:
                total += prod(self.shape(leaf))
                self.paid.add(str(leaf.name))
        return total


def stored_tensors(graph: Graph) -> set[str]:
    """Names of floating tensors that a file of this network holds, and of folded constants."""
    state = {n for n, t in graph.model.state_dict().items() if t.is_floating_point()}
    aliases = {n for n, _ in graph.module.named_parameters(remove_duplicate=False)}
    return state | aliases | set(graph.folded)


def _rows(graph: Graph, lengths: _Lengths) -> Iterator[Row]:
    priced = _Priced(graph, lengths)
    rest = lengths.left(graph)
    for node in graph.module.graph.nodes:
        if rest is not None and node not in rest.live:
            continue
        out = graph.values.get(node)
        out = out[0] if isinstance(out, list | tuple) and out else out
        if node.op != "call_function" or not isinstance(out, Labelled):
            continue
        operands = _operands(graph, node)
        leaves = [x for x in operands if x.name in priced.stored]
        leaves += [] if rest is None else _stand_ins(graph, node, rest)
        data = [x for x in operands if x.name is None and not x.constant]
        if leaves or (operator_of(node).kind == "matmul" and len(data) >= 2):
            yield _row(node, out, leaves, data, priced)


def _stand_ins(graph: Graph, node: fx.Node, rest: Left) -> list[Labelled]:
    """The parameters that the node will read in place of branches that vanished."""
    ends = [n for n in node.all_input_nodes if n in rest.ends]
    return [replace(graph.values[n].at_one_place(), name=stand_in(n)) for n in ends]


def _operands(graph: Graph, node: fx.Node) -> list[Labelled]:
    """The tensors among the node's arguments, in order (one twice if it is there twice)."""
    found: list[Any] = []
    fx.map_arg((node.args, node.kwargs), lambda n: found.append(graph.values[n]))
    return [x for x in found if isinstance(x, Labelled)]


def _row(
    node: fx.Node, out: Labelled, leaves: list[Labelled], data: list[Labelled], priced: _Priced
) -> Row:
    row = operator_of(node)
    work = _work(node, out, leaves, data, priced)
    weights = [leaf for leaf in leaves if leaf.ndim > 1]
    kernel, stride = _window(node, row.kind, weights)
    macs = row.macs(work) if row.macs is not None else 0
    biases = 0
    if row.kind in ("conv", "linear") and weights:
        bias = sum(prod(priced.shape(leaf)) for leaf in leaves if leaf.ndim == 1)
        biases = bias * prod(work.out[:-1] if row.channels else work.out[1:])
    depthwise = (
        row.kind == "conv" and weights and _is_depthwise(node, weights[0], data, priced.graph)
    )
    params = priced.pay(leaves)
    return Row(
        layer=_layer_name(node, leaves),
        kind="depthwise" if depthwise else row.kind,
        out_shape=work.out,
        width_in=work.inputs[row.channels] if work.inputs else 0,
        width_out=work.out[row.channels] if work.out else 0,
        params=params,
        flops=2 * (macs + biases) if leaves else 0,  # the paper has no products of feature maps
        macs=macs,
        bytes=BYTES * params,
        activation_bytes=BYTES * prod(work.out),
        kernel=kernel,
        stride=stride,
        groups=_groups(row.kind, work),
    )


def _groups(kind: str, work: Work) -> int:
    """Of a convolution, read off the shapes: whole groups may have left."""
    if kind != "conv" or not work.inputs or len(work.weight) < 2:
        return 1
    return max(1, work.inputs[0] * work.out[0] // max(1, prod(work.weight[:2])))


def _work(
    node: fx.Node, out: Labelled, leaves: list[Labelled], data: list[Labelled], priced: _Priced
) -> Work:
    """The sizes that the operator meets at the priced widths."""
    lengths = priced.lengths
    whole = lengths.shape(out)
    weights = [leaf for leaf in leaves if leaf.ndim > 1]
    operands = _operands(priced.graph, node)
    return Work(
        node=node,
        operands=tuple(priced.shape(x) if x.name else lengths.shape(x) for x in operands),
        whole=whole,
        out=whole if out.constant else whole[1:],
        inputs=lengths.shape(data[0])[1:] if data else (),
        weight=priced.shape(weights[0]) if weights else (0,),
        batch=priced.graph.batch,
    )


def _window(node: fx.Node, kind: str, weights: list[Labelled]) -> tuple[int, int]:
    """Kernel and stride of a convolution, their longer sides."""
    if kind != "conv" or not weights:
        return 1, 1
    stride = node.args[3] if len(node.args) > 3 else 1
    strides = stride if isinstance(stride, list | tuple) else [stride]
    return max(weights[0].shape[2:]), max(int(s) for s in strides)  # type: ignore[arg-type]


def _is_depthwise(node: fx.Node, weight: Labelled, data: list[Labelled], graph: Graph) -> bool:
    """One input a filter, also where a cut has left a single channel."""
    groups = node.args[6] if len(node.args) > 6 else 1
    follows_input = int(groups) != 1 or data[0].axis is not None  # type: ignore[arg-type]
    return weight.shape[1] == 1 and (weight.name, 1) not in graph.sites and follows_input


def _layer_name(node: fx.Node, leaves: list[Labelled]) -> str:
    names = [str(leaf.name) for leaf in leaves if not str(leaf.name).startswith("folded_")]
    return (names[0].rpartition(".")[0] if names else "") or layer(node) or node.name
