"""A float file's network as a graph that can be walked, and what 8 bits do to its values on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, fx

from ..graph import Graph, trace
from ..graph.inputs import Example, flat
from ..graph.operators import operator_of
from ..graph.tensors import fetch
from ..models import onnx as files
from ..prune import narrow
from ..prune.images import Images
from ..prune.walk import Through, run
from .file import Proto
from .observe import Growing
from .ranges import STEPS, Rule, Seen


@dataclass(frozen=True, eq=False)
class Network:
    """The file's network as it is, and a copy that is worked on."""

    proto: Proto
    words: Mapping[str, str]  # tensor of the file -> name in the graphs
    whole: Graph
    copy: Graph
    images: Images

    def written(self) -> Proto:
        """The file with the weights that the copy has now."""
        proto = onnx.ModelProto()
        proto.CopyFrom(self.proto)
        for tensor in proto.graph.initializer:
            if tensor.name not in self.words or tensor.data_type != onnx.TensorProto.FLOAT:
                continue
            now = fetch(self.copy.module, self.words[tensor.name]).detach().numpy()
            if tuple(now.shape) == tuple(tensor.dims):
                tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(now), tensor.name))
        return proto


def network(proto: Proto, examples: Sequence[Example]) -> Network:
    """The network of a file that `file.prepared` made."""
    images = Images([_in_order(x) for x in examples])
    found = files.of(proto, "the float file")
    whole = trace(found, images.batches[0])
    return Network(proto, found.words, whole, narrow(whole, {}), images)


def _in_order(x: Example) -> Example:
    """As a file's network takes it: its inputs one after the other."""
    parts = flat(x)
    return parts[0] if len(parts) == 1 else tuple(parts)


@torch.no_grad()
def look(graph: Graph, images: Images) -> dict[str, Seen]:
    """What each operator's result holds, by the operator's name."""
    nodes = list(graph.module.graph.nodes)
    found = {node.name: Growing(node.name) for node in nodes if rounds(node)}
    for x in images.batches:
        values: dict[fx.Node, Any] = {}
        run(graph.module, nodes, values, x)
        for node in nodes:
            if node.name in found:
                found[node.name].add(values[node].numpy())
    return {name: growing.seen() for name, growing in found.items()}


def rounds(node: fx.Node) -> bool:
    """Whether 8 bits hold its result: not of what only moves, nor of what is clipped right behind it."""
    value = node.meta.get("val")
    if node.op not in ("placeholder", "call_function") or not isinstance(value, Tensor):
        return False
    row = operator_of(node)
    if not value.is_floating_point() or (
        node.op == "call_function" and (row.moves or row.hands_on)
    ):
        return False
    readers = list(node.users)
    return not (len(readers) == 1 and clipped(readers[0]) is not None)


def clipped(node: fx.Node) -> tuple[float, float] | None:
    """The ends between which a ReLU, ReLU6 or clip lets its argument through; None of other operators."""
    ends = operator_of(node).clips
    if node.op != "call_function" or ends is None:
        return None
    low, high = ends(*node.args, **node.kwargs)
    numbers = isinstance(low, Real) and isinstance(high, Real)
    return (float(low), float(high)) if numbers else None


def rounding(seen: Mapping[str, Seen], rule: Rule) -> Through:
    """Each result as 8 bits hold it, in the range that ``rule`` gives it."""
    ranges = {name: rule(each) for name, each in seen.items()}

    def passed(node: fx.Node, value: Any) -> Any:
        found = ranges.get(node.name)
        if found is None:
            return value
        step, zero = float(np.float32(found.step)), round(-found.low / found.step)
        return torch.fake_quantize_per_tensor_affine(value, step, zero, 0, STEPS)

    return passed
