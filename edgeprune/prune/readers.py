"""Readers: the layers that sum over channels of a group, hence lose something when they leave.

A reader computes Y = X W' + b. X [rows, G, I*k*k] are its inputs at sampled places, unfolded (G
groups of the convolution, I inputs per group, k*k taps), W [G, O/G, I*k*k] its weights, and Y
[rows, G, O/G]. They are found through the labels that the operators contract over, not by names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from ..graph import Graph
from ..graph.follow import owner
from ..graph.labels import Vector
from ..graph.operators import operator_of


@dataclass(frozen=True, eq=False)
class Norm:
    """A batch norm that reads nothing but this layer's output: y = scale * (x - mean) + bias."""

    node: str
    weight: str | None
    bias: str | None
    mean: str
    var: str
    eps: float


@dataclass(frozen=True, eq=False)
class Reader:
    """One convolution or linear layer of a graph."""

    node: str  # name of the operator in the graph
    layer: str  # qualified name
    weight: str  # qualified name of the tensor
    bias: str | None
    norm: Norm | None
    kernel: tuple[int, ...]  # () for a linear layer
    window: Mapping[str, Any]  # stride, padding, dilation of a convolution
    groups: int
    beside: str | None  # the operator whose output is added to this layer's (a residual sum)
    labels: Vector | None  # of the input's channels; None: none of them can leave

    @property
    def depthwise(self) -> bool:
        """Each filter reads one channel: nothing that left can be made up for by the others."""
        return self.groups > 1 and self.labels is None

    @property
    def has_offset(self) -> bool:
        """Whether a constant per filter can be folded in."""
        return self.bias is not None or self.norm is not None


def find_readers(graph: Graph) -> list[Reader]:
    """Every linear layer and 2-d convolution with weights of its own, in execution order."""
    nodes = [n for n in graph.module.graph.nodes if operator_of(n).reads]
    found = [_reader(graph, node) for node in nodes]
    readers = [r for r in found if r is not None]
    uses: dict[str, int] = {}
    for r in readers:
        uses[r.weight] = uses.get(r.weight, 0) + 1
    return [r for r in readers if uses[r.weight] == 1]  # shared weights serve two masters


def _reader(graph: Graph, node: fx.Node) -> Reader | None:
    weight = node.args[1]
    if not isinstance(weight, fx.Node) or weight.op != "get_attr":
        return None
    shape = graph.values[weight].shape
    bias = node.args[2] if len(node.args) > 2 else None
    words = dict(zip(("stride", "padding", "dilation", "groups"), node.args[3:], strict=False))
    image = len(graph.values[node.all_input_nodes[0]].shape) == len(shape) == 4
    if isinstance(words.get("padding"), str) or (len(shape) > 2 and not image):
        return None
    contracted = [c for c in graph.contractions.get(node, []) if c.operand is node.args[0]]
    norm = _norm(node)
    return Reader(
        node=node.name,
        layer=owner(node, str(weight.target)),
        weight=str(weight.target),
        bias=str(bias.target) if isinstance(bias, fx.Node) and bias.op == "get_attr" else None,
        norm=norm,
        kernel=tuple(shape[2:]),
        window={k: v for k, v in words.items() if k != "groups"},
        groups=int(words.get("groups", 1)),  # type: ignore[arg-type]
        beside=_beside(graph, node, norm),
        labels=contracted[0].labels if contracted else None,
    )


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


def _beside(graph: Graph, node: fx.Node, norm: Norm | None) -> str | None:
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
    order = {n: i for i, n in enumerate(graph.module.graph.nodes)}
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


def sample(reader: Reader, output: Tensor, places: int, generator: torch.Generator) -> Places:
    """``places`` different places for each image of ``output`` [N, O, H, W] or [N, ..., O]."""
    count = output.shape[2:].numel() if reader.kernel else output.shape[1:-1].numel()
    n = output.shape[0]
    if places >= count:
        return Places(torch.arange(count).expand(n, count))
    return Places(torch.rand(n, count, generator=generator).topk(places, dim=1).indices)


def inputs_at(reader: Reader, x: Tensor, at: Places) -> Tensor:
    """X [rows, G, I*k*k] of the input ``x`` [N, C, H, W] (or [N, ..., C]) at these places."""
    if not reader.kernel:
        return _rows(x.reshape(x.shape[0], -1, x.shape[-1]), at.index)[:, None]
    (kh, kw), (ph, pw) = reader.kernel, _pair(reader.window.get("padding", 0))
    (sh, sw), (dh, dw) = (_pair(reader.window.get(k, 1)) for k in ("stride", "dilation"))
    width_out = (x.shape[3] + 2 * pw - dw * (kw - 1) - 1) // sw + 1
    if ph or pw:
        x = F.pad(x, (pw, pw, ph, ph))
    corner = (at.index // width_out) * (sh * x.shape[3]) + (at.index % width_out) * sw  # [N, P]
    taps = (torch.arange(kh) * dh * x.shape[3])[:, None] + torch.arange(kw) * dw  # [kh, kw]
    index = (corner[:, :, None] + taps.reshape(-1)).flatten(1)  # [N, P*k*k]
    rows = _rows(x.permute(0, 2, 3, 1).flatten(1, 2), index)  # [N*P*k*k, C]
    rows = rows.reshape(-1, kh * kw, x.shape[1]).transpose(1, 2)  # [N*P, C, k*k]
    return rows.reshape(len(rows), reader.groups, -1)


def outputs_at(reader: Reader, y: Tensor, at: Places) -> Tensor:
    """Y [rows, O] of the output ``y`` [N, O, H, W] (or [N, ..., O]) at these places."""
    flat = (
        y.permute(0, 2, 3, 1).flatten(1, 2) if reader.kernel else y.reshape(len(y), -1, y.shape[-1])
    )
    return _rows(flat, at.index)


def _rows(flat: Tensor, index: Tensor) -> Tensor:
    """``flat`` [N, L, C] at ``index`` [N, P] -> [N*P, C]."""
    return flat[torch.arange(len(flat))[:, None], index].flatten(0, 1)


def _pair(value: Any) -> tuple[int, int]:
    values = list(value) if isinstance(value, list | tuple) else [value]
    return (int(values[0]), int(values[-1]))


def weight_matrix(reader: Reader, weight: Tensor) -> Tensor:
    """W [G, O/G, I*k*k] of the layer's weight (O, I, *k)."""
    return weight.reshape(reader.groups, weight.shape[0] // reader.groups, -1)
