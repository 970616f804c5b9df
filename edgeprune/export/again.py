"""A network that came from an .onnx file goes back into one: names, axes, metadata and opset as they were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnx
from onnx.helper import get_attribute_value as attribute_value

from ..models.onnx import Interface, Port
from ..models.onnx.file import opset_of

SHAPE_HAS_ENDS = 15  # since this opset
EMPTY = "edgeprune_empty"
END = 2**31 - 1  # of an axis, however long it is


def as_it_was(proto: onnx.ModelProto, interface: Interface, opset: int) -> onnx.ModelProto:
    """The exported graph with the file's names of inputs, outputs and open axes, its metadata (edgeprune's
    own beside them), and ``opset`` where ONNX's converter can go there."""
    if opset < opset_of(proto):
        proto = _converted(proto, opset)
    ends = [
        *zip(proto.graph.input, interface.inputs, strict=True),
        *zip(proto.graph.output, interface.outputs, strict=True),
    ]
    _rename(proto.graph, {value.name: port.name for value, port in ends})
    axes: dict[str, str] = {}
    for value, port in ends:
        axes |= _named(value, port, axes)
    for value in [*proto.graph.input, *proto.graph.output, *proto.graph.value_info]:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in axes:
                dim.dim_param = axes[dim.dim_param]
    there = {p.key for p in proto.metadata_props}
    for key, text in interface.metadata.items():
        if key not in there:
            proto.metadata_props.add(key=key, value=text)
    proto.graph.name = interface.name or proto.graph.name
    return proto


def _converted(proto: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """The same nodes as an older opset writes them, where it can; else the graph as it is. (ONNX's own
    converter stops at a Relu.) Whether it computes the same is seen afterwards, in onnxruntime."""
    older = onnx.ModelProto()
    older.CopyFrom(proto)
    held = {t.name: t for t in older.graph.initializer}
    try:
        nodes = [part for node in older.graph.node for part in _apart(node, older.graph, opset)]
        del older.graph.node[:]
        older.graph.node.extend(nodes)
        for node in older.graph.node:
            _lower(node, held, proto.graph, opset_of(proto), opset)
            _fill(node, older.graph, opset)
        for entry in older.opset_import:
            entry.version = opset if entry.domain in ("", "ai.onnx") else entry.version
        _sweep(older.graph)
        onnx.checker.check_model(older, full_check=True)
    except Exception:  # the checker's classes, schemas that are not there
        return proto
    return older


def _apart(node: Any, graph: Any, opset: int) -> list[Any]:
    """The node, or the two that an older opset needs for it: of a shape the part between ``start`` and
    ``end`` is cut out behind it (Shape has these since 15)."""
    given = {a.name: attribute_value(a) for a in node.attribute}
    if node.op_type != "Shape" or opset >= SHAPE_HAS_ENDS or not given:
        return [node]
    whole, names = f"{node.output[0]}_whole", []
    for word, number in {"start": given.get("start", 0), "end": given.get("end", END)}.items():
        names.append(f"{whole}_{word}")
        value = onnx.helper.make_tensor(names[-1], onnx.TensorProto.INT64, [1], [number])
        graph.initializer.append(value)
    return [
        onnx.helper.make_node("Shape", list(node.input), [whole], f"{node.name}_whole"),
        onnx.helper.make_node("Slice", [whole, *names], list(node.output), node.name),
    ]


def _lower(node: Any, held: Mapping[str, Any], graph: Any, newer: int, opset: int) -> None:
    """What the older schema does not know: defaults go, inputs that were attributes become them again."""
    now, then = (onnx.defs.get_schema(node.op_type, v, node.domain) for v in (newer, opset))
    for attribute in list(node.attribute):
        default = now.attributes[attribute.name].default_value
        idle = attribute_value(attribute) == _value(default) or (
            attribute.name == "allowzero" and 0 not in _shape(node.input[1], held, graph)
        )
        if attribute.name not in then.attributes and idle:
            node.attribute.remove(attribute)
    if any(i.option == onnx.defs.OpSchema.FormalParameterOption.Variadic for i in then.inputs):
        return
    for position in reversed(range(len(then.inputs), len(node.input))):
        word, name = now.inputs[position].name, node.input[position]
        if word in then.attributes and name in held:
            node.attribute.append(onnx.helper.make_attribute(word, _numbers(held[name])))
            del node.input[position]


def _fill(node: Any, graph: Any, opset: int) -> None:
    """An input that may be left out since (a Resize's region, its scales) is an empty tensor before."""
    optional = onnx.defs.OpSchema.FormalParameterOption.Optional
    then = onnx.defs.get_schema(node.op_type, opset, node.domain).inputs
    for position, (name, port) in enumerate(zip(node.input, then, strict=False)):
        if name or port.option == optional:
            continue
        node.input[position] = EMPTY
        if all(t.name != EMPTY for t in graph.initializer):
            graph.initializer.append(
                onnx.helper.make_tensor(EMPTY, onnx.TensorProto.FLOAT, [0], [])
            )


def _numbers(constant: Any) -> list[Any]:
    return list(onnx.numpy_helper.to_array(constant).tolist())


def _shape(name: str, held: Mapping[str, Any], graph: Any) -> list[Any]:
    """The numbers of a shape; of one that is put together those that are written (a size is not 0)."""
    if name in held:
        return _numbers(held[name])
    made = next((n for n in graph.node if name in n.output), None)
    if made is None or made.op_type != "Concat":
        return [0]  # it may be any
    return [n for part in made.input if part in held for n in _numbers(held[part])]


def _value(default: Any) -> Any:
    return attribute_value(default) if default.type else None


def _sweep(graph: Any) -> None:
    """Take away the constants that nothing reads any more."""
    read = {name for node in graph.node for name in node.input} | {v.name for v in graph.output}
    kept = [t for t in graph.initializer if t.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _rename(graph: Any, renamed: dict[str, str]) -> None:
    """Other names for inputs and outputs; what bears one of them inside gives way."""
    asked = set(renamed.values())
    names = {n for node in graph.node for n in (*node.input, *node.output)}
    names |= {t.name for t in graph.initializer}
    aside = {n: f"{n}_inside" for n in names & asked if n not in renamed}
    words = aside | renamed
    for node in graph.node:
        for each in (node.input, node.output):
            for i, name in enumerate(each):
                each[i] = words.get(name, name)
    for value in [*graph.input, *graph.output, *graph.value_info, *graph.initializer]:
        value.name = words.get(value.name, value.name)


def _named(value: Any, port: Port, known: dict[str, str]) -> dict[str, str]:
    """The exporter's names of open axes -> the file's."""
    dims: Sequence[Any] = value.type.tensor_type.shape.dim
    pairs = zip(dims, port.axes or (), strict=False)
    return {
        dim.dim_param: axis
        for dim, axis in pairs
        if dim.dim_param and isinstance(axis, str) and dim.dim_param not in known
    }
