"""The layers of a network as the runtime ran them, from its profile; and the widths they share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..bench import subject
from ..errors import EdgepruneError
from ..runtime.layout import (
    BLOCKED,
    INT8,
    MOVES,
    Layer,
    Network,
    Other,
    Width,
    kind_of,
    padded,
)
from .profile import Node, Profile


def network(name: str, profile: Profile, block: int, *, batch: int = 1) -> Network:
    """Put together what the model says and what the runtime did.

    Raises :class:`EdgepruneError` where shapes cannot be inferred.
    """
    model = profile.model
    found = subject.weighted(model, batch=batch)
    if found is None:
        raise EdgepruneError(name, "its shapes cannot be inferred", "run onnxsim on it first")
    origins = _Origins(model, found)
    layers: dict[str, Layer] = {}
    others: list[Other] = []
    waiting: list[Node] = []  # reorders, until the layer that reads them
    last = ""
    for node in profile.nodes:
        which = origins.of(node)
        if which is None:
            others.append(Other(node.name, _operator(node), node.seconds, last))
            waiting += [node] if node.operator in MOVES else []
            continue
        layer = _layer(found[which], node, profile, block, origins.fused(node, which))
        last = layer.name if layer.name not in layers else f"{layer.name}#{len(layers)}"
        moved = [m for m in waiting if set(m.outputs) & set(node.inputs)]
        layers[last] = replace(
            layer, name=last, moves=len(moved), moving=sum(m.seconds for m in moved)
        )
    overridable = {v.name for v in model.graph.input}
    return Network(
        name=name,
        layers=tuple(layers.values()),
        others=tuple(others),
        widths=_widths(model, found, batch),
        seconds=profile.seconds,
        params=int(subject.count(model, batch=batch)["params"] or 0),
        block=block,
        variable=tuple(
            _name(c.node)
            for c in found
            if c.node.input[subject.COUNTED[c.node.op_type]] in overridable
        ),
    )


def _name(node: Any) -> str:
    """The layer's name: the module (edgeprune's files), else the node or what it makes."""
    return str(node.name or node.output[0]).partition("#")[0]


def _operator(node: Node) -> str:
    return (
        f"NCHWc {node.operator}"
        if node.domain == BLOCKED and node.operator not in MOVES
        else node.operator
    )


def counted(model: Any) -> tuple[Layer, ...]:
    """The convolutions and dense layers of a float graph (ModelProto), as written and untimed."""
    return tuple(_still(c) for c in subject.weighted(model, batch=1) or ())


def _still(found: subject.Weighted) -> Layer:
    """What the model alone says of a layer."""
    node, weight = found.node, found.weight
    attributes = {a.name: a for a in node.attribute}
    groups = attributes["group"].i if "group" in attributes else 1
    strides = list(attributes["strides"].ints) if "strides" in attributes else [1]
    spatial = "Conv" in node.op_type
    inputs, outputs = (
        (found.input[1], found.out[1]) if spatial else (found.input[-1], found.out[-1])
    )
    return Layer(
        name=_name(node),
        kind=kind_of(groups, inputs, weight if spatial else ()),
        width_in=inputs,
        width_out=outputs,
        kernel=max(weight[2:], default=1) if spatial else 1,
        stride=max(strides),
        groups=groups,
        in_shape=found.input[1:],
        out_shape=found.out[1:],
        macs=found.macs,
        weight_bytes=4 * math.prod(weight),
        map_bytes=4 * (math.prod(found.input[1:]) + math.prod(found.out[1:])),
        padded_macs=found.macs,
    )


def _layer(
    found: subject.Weighted, node: Node, profile: Profile, block: int, fused: tuple[str, ...]
) -> Layer:
    """And what the runtime made of it."""
    still = _still(found)
    layout = "plain"
    if node.domain == BLOCKED:
        layout = "blocked"
    elif node.operator in INT8:
        layout = "int8"
    done = still.macs
    if layout == "blocked" and "Conv" in found.node.op_type:
        wide_in, wide_out = padded(still.kind, still.width_in, still.width_out, still.groups, block)
        laid = _padded_weight(node, profile)  # what the runtime itself wrote down counts
        wide_out = laid if laid else wide_out
        per_output = 1 if still.kind == "depthwise" else wide_in / still.width_in
        done = round(still.macs * wide_out / still.width_out * per_output)
    less = 4 if layout == "int8" else 1
    return replace(
        still,
        weight_bytes=still.weight_bytes // less,
        map_bytes=still.map_bytes // less,
        operator=_operator(node),
        layout=layout,
        padded_macs=done,
        fused=fused,
        seconds=node.seconds,
    )


def _padded_weight(node: Node, profile: Profile) -> int | None:
    shapes = [profile.shapes[name] for name in node.inputs[1:2] if name in profile.shapes]
    return shapes[0][0] if shapes and len(shapes[0]) == 4 else None


class _Origins:
    """Which layer of the given model a node of the optimised graph is.

    Weights keep their names where they are not laid out anew; a blocked convolution is called after the
    tensor that it makes, and that may be an activation's which runs inside it.
    """

    def __init__(self, model: Any, counted: Sequence[subject.Weighted]) -> None:
        self.layers = counted
        self.producers = {name: node for node in model.graph.node for name in node.output}
        self.readers: dict[str, list[Any]] = {}
        for node in model.graph.node:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
        self.outputs = {c.node.output[0]: i for i, c in enumerate(counted)}
        self.weights: dict[str, int | None] = {}
        for i, c in enumerate(counted):
            name = c.node.input[subject.COUNTED[c.node.op_type]]
            while name in self.producers and self.producers[name].op_type in (
                "DequantizeLinear",
                "Identity",
            ):
                name = self.producers[name].input[0]
            self.weights[name] = None if name in self.weights else i  # shared: of no use

    def of(self, node: Node) -> int | None:
        """The place in ``counted`` or None. Only operators that may be layers are asked."""
        if not any(word in node.operator for word in ("Conv", "Gemm", "MatMul")):
            return None
        for name in node.inputs:
            if self.weights.get(name) is not None:
                return self.weights[name]
        for name in (node.name.removesuffix("_nchwc"), *node.outputs):
            path = self._up(name)
            if path is not None:
                return path[0]
        return None

    def fused(self, node: Node, which: int) -> tuple[str, ...]:
        """The operators between the layer and what the node makes."""
        paths = [self._up(name) for name in (node.name.removesuffix("_nchwc"), *node.outputs)]
        found = [path[1] for path in paths if path is not None and path[0] == which]
        if node.operator in INT8 and not any(found):  # its tensors are renamed: look ahead instead
            return self._ahead(which)
        return max(found, key=len, default=())

    def _ahead(self, which: int) -> tuple[str, ...]:
        """The operators between the layer and its quantisation."""
        passed: list[str] = []
        tensor = self.layers[which].node.output[0]
        while len(readers := self.readers.get(tensor, [])) == 1 and len(readers[0].output) == 1:
            if readers[0].op_type == "QuantizeLinear":
                return tuple(passed)
            passed.append(readers[0].op_type)
            tensor = readers[0].output[0]
        return ()

    def _up(self, tensor: str) -> tuple[int, tuple[str, ...]] | None:
        """The layer above ``tensor`` and the operators passed on the way, first inputs first."""
        passed: list[str] = []
        while tensor in self.producers:
            if tensor in self.outputs:
                return self.outputs[tensor], tuple(reversed(passed))
            producer = self.producers[tensor]
            passed.append(producer.op_type)
            tensor = next((n for n in producer.input if n in self.producers), "")
        return None


KEEPS_NO_CHANNELS = ("Transpose", "Concat", "Slice", "Gather", "Split", "Shape", *subject.COUNTED)


def _widths(model: Any, counted: Sequence[subject.Weighted], batch: int) -> tuple[Width, ...]:
    """Follow axis 1 through the graph: tensors whose channels are one number share a root.

    What the network answers with is no width: how many classes there are is not for a runtime to say.
    """
    shapes = subject.shapes_of(model, batch=batch)
    parents: dict[str, str] = {}

    def root(name: str) -> str:
        while parents.setdefault(name, name) != name:
            name = parents[name]
        return name

    constants = {t.name for t in model.graph.initializer}
    by_output = {c.node.output[0]: c for c in counted}
    for node in model.graph.node:
        layer = by_output.get(node.output[0])
        if layer is not None and _kind(layer) == "depthwise":
            parents[root(node.output[0])] = root(node.input[0])
        if node.op_type in KEEPS_NO_CHANNELS:
            continue
        for x in node.input:
            for y in node.output:
                a, b = shapes.get(x, ()), shapes.get(y, ())
                if x not in constants and len(a) > 1 and len(b) > 1 and a[1] == b[1]:
                    parents[root(x)] = root(y)
    given = {root(c.node.output[0]) for c in _answering(model, counted)}
    found: dict[str, tuple[list[str], list[str], list[str]]] = {}
    channels: dict[str, int] = {}
    for c in counted:
        name, kind = _name(c.node), _kind(c)
        source = root(c.node.input[0]), c.input[1 if len(c.input) > 2 else -1]
        result = root(c.node.output[0]), c.out[1 if len(c.out) > 2 else -1]
        if kind == "depthwise":
            sides = [(result, 1)]
        else:
            sides = [(result, 0), (source, 2)]
        for (where, count), role in sides:
            found.setdefault(where, ([], [], []))[role].append(name)
            channels[where] = count
    return tuple(
        Width(channels[where], tuple(a), tuple(b), tuple(c))
        for where, (a, b, c) in found.items()
        if a and where not in given
    )


def _answering(model: Any, counted: Sequence[subject.Weighted]) -> list[subject.Weighted]:
    """The layers whose output comes out of the network with no other layer between."""
    makers = {name: node for node in model.graph.node for name in node.output}
    layers = {c.node.output[0]: c for c in counted}
    seen: set[str] = set()
    found, waiting = [], [o.name for o in model.graph.output]
    while waiting:
        name = waiting.pop()
        node = makers.get(name)
        if node is None or name in seen or node.op_type == "Shape":
            continue
        seen.add(name)
        layer = layers.get(name)
        if layer is not None:
            found.append(layer)
        if layer is None or _kind(layer) == "depthwise":  # passes its input's channels on
            waiting += node.input
    return found


def _kind(counted: subject.Weighted) -> str:
    if "Conv" not in counted.node.op_type:
        return "linear"
    groups = next((a.i for a in counted.node.attribute if a.name == "group"), 1)
    return kind_of(groups, counted.input[1], counted.weight)
