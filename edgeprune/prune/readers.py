"""Readers: the layers that sum over channels of a group, hence lose something when they leave.

A reader computes Y = X W' + b. X [rows, G, T*I] are its inputs at sampled places, unfolded (G groups
of the convolution, T taps of its kernel, I inputs per group), W [G, O/G, T*I] its weights, and Y
[rows, G, O/G]. At a place of a transposed convolution's output only some taps meet an input; the
others read 0, as do those beyond the edge. Readers are linear layers and convolutions of any number
of dimensions, whatever their stride, padding and dilation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx

from ..graph import Graph
from ..graph.follow import layer, owner
from ..graph.kept import Kept
from ..graph.labels import Vector
from ..graph.operators import operator_of
from .walk import in_step


@dataclass(frozen=True, eq=False)
class Norm:
    """A batch norm that reads nothing but this layer's output: y = scale * (x - mean) + bias."""

    node: str
    weight: str | None
    bias: str | None
    mean: str
    var: str
    eps: float


@dataclass(frozen=True)
class Window:
    """How a convolution's kernel lies on its input; one value for each axis of space."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    before: tuple[int, ...]  # padding before the first place
    dilation: tuple[int, ...]
    transposed: bool

    @property
    def taps(self) -> int:
        """How many inputs of one channel meet in an output."""
        return math.prod(self.kernel)

    def read(self, axis: int, out: Tensor) -> tuple[Tensor, Tensor]:
        """Which place each tap reads for the places ``out``, [..., k]; and whether it reads one."""
        at = torch.arange(self.kernel[axis]) * self.dilation[axis]
        if not self.transposed:
            place = out[..., None] * self.stride[axis] - self.before[axis] + at
            return place, torch.ones_like(place, dtype=torch.bool)
        far = out[..., None] + self.before[axis] - at
        return far // self.stride[axis], far % self.stride[axis] == 0


@dataclass(frozen=True, eq=False)
class Reader:
    """One convolution or linear layer of a graph, where it is called first."""

    node: str  # name of the operator in the graph
    layer: str  # qualified name
    weight: str  # qualified name of the tensor
    bias: str | None
    norm: Norm | None
    window: Window | None  # of a convolution; None: a linear layer
    groups: int
    beside: str | None  # the operator whose output is added to this layer's (a residual sum)
    labels: Vector | None  # of the input's channels; None: none of them can leave
    again: tuple[Reader, ...] = ()  # the same layer where it is called further times

    @property
    def uses(self) -> tuple[Reader, ...]:
        """All calls of the layer, the first one first."""
        return (self, *self.again)

    @property
    def depthwise(self) -> bool:
        """Each filter reads one channel: nothing that left can be made up for by the others."""
        return self.groups > 1 and self.labels is None

    @property
    def has_offset(self) -> bool:
        """Whether a constant per filter can be folded in."""
        return self.bias is not None or self.norm is not None


def find_readers(graph: Graph) -> list[Reader]:
    """Every linear layer and convolution, in the order of its first call in `order_of`.

    A layer that is called several times (the towers of a siamese network, a head on several maps) is
    one reader, with its further calls. It is none where a call needs what another one gives, or where
    its calls differ in bias or norm: one answer for all is not there then.
    """
    return _readers(graph)[0]


def order_of(graph: Graph) -> list[fx.Node]:
    """The operators in an order in which the calls of each reader follow on one another."""
    return _readers(graph)[1]


def _readers(graph: Graph) -> tuple[list[Reader], list[fx.Node]]:
    nodes = [n for n in graph.module.graph.nodes if operator_of(n).reads]
    uses: dict[str, list[Reader]] = {}
    for reader in (_reader(graph, node) for node in nodes):
        if reader is not None:
            uses.setdefault(reader.weight, []).append(reader)
    several = [tuple(r.node for r in own) for own in uses.values() if len(own) > 1 and _alike(own)]
    order, held = in_step(graph.module.graph, several)
    together, index = set(held), {node: i for i, node in enumerate(order)}
    by_name = {node.name: node for node in order}

    def with_beside(reader: Reader) -> Reader:
        return replace(reader, beside=_beside(graph, by_name[reader.node], reader.norm, index))

    found = []
    for own in uses.values():
        if len(own) == 1 or tuple(r.node for r in own) in together:
            first, *others = map(with_beside, own)
            found.append(replace(first, again=tuple(others)))
    return found, order


def _alike(uses: Sequence[Reader]) -> bool:
    """Whether the same weights, bias and norm serve them in the same form."""

    def form(r: Reader) -> tuple[Any, ...]:
        norm = r.norm and (r.norm.weight, r.norm.bias, r.norm.mean, r.norm.var, r.norm.eps)
        window = r.window and (r.window.kernel, r.window.transposed)
        return r.bias, norm, window, r.groups, r.depthwise

    return len({form(r) for r in uses}) == 1


@dataclass(frozen=True)
class StandIn:
    """A parameter that stands for a branch of which no channel is left."""

    node: str  # the operator that takes it up
    layer: str  # as people read it
    parameter: str
    of: str  # the operator of the whole network whose result it stands for
    beside: str | None  # the operator whose output it is added to


def find_stand_ins(graph: Graph) -> list[StandIn]:
    """Every parameter that stands for a branch, where it is first taken up."""
    found = []
    for node in graph.module.graph.nodes:
        of = graph.vanished.get(str(node.target)) if node.op == "get_attr" else None
        user = next(iter(node.users), None)
        if of is None or user is None:
            continue
        others = [a for a in user.args if isinstance(a, fx.Node) and a is not node]
        summed = operator_of(user).sums and not user.kwargs and len(others) == 1
        other = others[0].name if summed and others[0].op != "get_attr" else None
        name = layer(user) or user.name
        found.append(StandIn(user.name, name, str(node.target), of, other))
    return found


def not_repaired(graph: Graph, kept: Kept) -> list[str]:
    """Layers that sum over channels of which some leave, and that are no readers, by name."""
    known = {use.node for reader in find_readers(graph) for use in reader.uses}
    return [
        layer(node) or node.name
        for node, found in graph.contractions.items()
        if node.name not in known and not all(kept.stays(c.labels).all() for c in found)
    ]


def _reader(graph: Graph, node: fx.Node) -> Reader | None:
    weight = node.args[1]
    if not isinstance(weight, fx.Node) or weight.op != "get_attr":
        return None
    bias = node.args[2] if len(node.args) > 2 else None
    words = _words(node)
    kernel = tuple(graph.values[weight].shape[2:])
    if len(graph.values[node.all_input_nodes[0]].shape) != 2 + len(kernel) and kernel:
        return None  # an image without a batch
    contracted = [c for c in graph.contractions.get(node, []) if c.operand is node.args[0]]
    norm = _norm(node)
    return Reader(
        node=node.name,
        layer=owner(node, str(weight.target)),
        weight=str(weight.target),
        bias=str(bias.target) if isinstance(bias, fx.Node) and bias.op == "get_attr" else None,
        norm=norm,
        window=_window(kernel, words) if kernel else None,
        groups=int(words.get("groups", 1)),
        beside=None,
        labels=contracted[0].labels if contracted else None,
    )


def _words(node: fx.Node) -> dict[str, Any]:
    """The operator's arguments by the names of its schema, defaults included."""
    assert isinstance(node.target, torch._ops.OpOverload)
    schema = node.target._schema.arguments
    given = dict(zip((a.name for a in schema), node.args, strict=False))
    return {a.name: a.default_value for a in schema} | given | dict(node.kwargs)


def _window(kernel: tuple[int, ...], words: Mapping[str, Any]) -> Window:
    def each(name: str) -> tuple[int, ...]:
        value = words[name]
        values = list(value) if isinstance(value, list | tuple) else [value]
        return tuple(
            int(v) for v in (values if len(values) == len(kernel) else values * len(kernel))
        )

    dilation = each("dilation")
    padding = words["padding"]
    if isinstance(padding, str):  # "same": what is left over of an odd padding lies behind
        reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        before = tuple(r // 2 if padding == "same" else 0 for r in reach)
    else:
        before = each("padding")
    return Window(kernel, each("stride"), before, dilation, "output_padding" in words)


def _norm(node: fx.Node) -> Norm | None:
    users = list(node.users)
    if len(users) != 1 or not operator_of(users[0]).frozen:
        return None
    norm = users[0]
    if norm.args[0] is not node or len(norm.args) < 7:
        return None
    tensors = norm.args[1:5]
    if not all(t is None or (isinstance(t, fx.Node) and t.op == "get_attr") for t in tensors):
        return None
    names = [None if t is None else str(t.target) for t in tensors]  # type: ignore[union-attr]
    weight, bias, mean, var = names
    if mean is None or var is None:
        return None
    return Norm(norm.name, weight, bias, mean, var, float(norm.args[6]))  # type: ignore[arg-type]


def _beside(
    graph: Graph, node: fx.Node, norm: Norm | None, order: Mapping[fx.Node, int]
) -> str | None:
    """The other summand, if layer (and norm) end in a sum of two maps and it is known before."""
    end = node
    if norm is not None:
        norm_node = next(iter(node.users))
        outputs = [u for u in norm_node.users if u.args[1] == 0]
        if len(outputs) != 1:
            return None
        end = outputs[0]
    users = list(end.users)
    if len(users) != 1 or not operator_of(users[0]).sums or users[0].kwargs:
        return None
    others = [a for a in users[0].args if isinstance(a, fx.Node) and a is not end]
    if len(others) != 1 or others[0].op == "get_attr":
        return None
    same_shape = graph.values[others[0]].shape == graph.values[end].shape
    return others[0].name if same_shape and order[others[0]] < order[node] else None


def scale_of(reader: Reader, tensor: Any) -> Tensor | None:
    """What the norm behind the layer multiplies each filter by, [O]; None without a norm."""
    n = reader.norm
    if n is None:
        return None
    scale = (tensor(n.var) + n.eps).rsqrt()
    return scale if n.weight is None else scale * tensor(n.weight)


# -- rows ------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Places:
    """Which places of a layer's output are looked at, for each image: [N, P] flat indices."""

    index: Tensor
    space: tuple[int, ...]  # the output's size along each axis of space


def sample(
    reader: Reader, n: int, shape: Sequence[int], places: int, seed: torch.Generator
) -> Places:
    """``places`` different places for each of ``n`` images; ``shape``: the output's, [any, O, *space].

    A linear layer's is [any, *space, O].
    """
    space = tuple(shape[2:] if reader.window else shape[1:-1])
    count = math.prod(space)
    if places >= count:
        return Places(torch.arange(count).expand(n, count), space)
    return Places(torch.rand(n, count, generator=seed).topk(places, dim=1).indices, space)


def inputs_at(reader: Reader, x: Tensor, at: Places) -> Tensor:
    """X [rows, G, T*I] of the input ``x`` [N, C, *space] (or [N, ..., C]) at these places."""
    window = reader.window
    if window is None:
        return _rows(x.reshape(x.shape[0], -1, x.shape[-1]), at.index)[:, None]
    place = torch.zeros_like(at.index)[..., None]  # [N, P, taps so far]
    there = torch.ones_like(place, dtype=torch.bool)
    left = at.index
    for axis, size in reversed(list(enumerate(x.shape[2:]))):
        read, meets = window.read(axis, left % at.space[axis])  # [N, P, k]
        left = left // at.space[axis]
        meets = meets & (read >= 0) & (read < size)
        step = math.prod(x.shape[3 + axis :])
        place = (read[..., :, None] * step + place[..., None, :]).flatten(2)
        there = (meets[..., :, None] & there[..., None, :]).flatten(2)
    everywhere = bool(there.all())
    if not everywhere:
        place = torch.where(there, place, 0)
    rows = _rows(_places_last(x), place.flatten(1))  # [N*P*T, C]
    if not everywhere:
        rows = rows * there.reshape(-1, 1)
    rows = rows.reshape(at.index.numel(), window.taps, reader.groups, -1)
    return rows.transpose(1, 2).reshape(len(rows), reader.groups, -1)


def outputs_at(reader: Reader, y: Tensor, at: Places) -> Tensor:
    """Y [rows, O] of the output ``y`` [N, O, *space] (or [N, ..., O]) at these places."""
    flat = _places_last(y) if reader.window else y.reshape(len(y), -1, y.shape[-1])
    return _rows(flat, at.index)


def _places_last(x: Tensor) -> Tensor:
    """[N, C, *space] -> [N, places, C]; no copy of what lies channels last."""
    return x.movedim(1, -1).flatten(1, -2)


def _rows(flat: Tensor, index: Tensor) -> Tensor:
    """``flat`` [N, L, C] at ``index`` [N, P] -> [N*P, C]."""
    return flat[torch.arange(len(flat))[:, None], index].flatten(0, 1)


def weight_matrix(reader: Reader, weight: Tensor) -> Tensor:
    """W [G, O/G, T*I] of the layer's weight (O, I, *k), or (G*I, O/G, *k) if it is transposed."""
    g, w = reader.groups, reader.window
    if w is None:
        return weight[None]
    if w.transposed:
        return weight.reshape(g, -1, weight.shape[1], w.taps).permute(0, 2, 3, 1).flatten(2)
    return weight.reshape(g, -1, weight.shape[1], w.taps).transpose(2, 3).flatten(2)


def as_weight(reader: Reader, W: Tensor, shape: Sequence[int]) -> Tensor:
    """The layer's weight of this ``shape``; the inverse of `weight_matrix`."""
    w = reader.window
    if w is None:
        return W.reshape(*shape)
    taps = W.reshape(*W.shape[:2], w.taps, -1)  # [G, O/G, T, I]
    return (taps.permute(0, 3, 1, 2) if w.transposed else taps.transpose(2, 3)).reshape(*shape)
