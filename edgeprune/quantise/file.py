"""A float .onnx file as one in 8 bits: QDQ nodes by onnxruntime's quantizer, from ranges that are given.

Maps are uint8 with one step a tensor, weights int8 with one step a filter, biases int32: the form in
which onnxruntime runs integer convolutions on every processor. Names of nodes, inputs, outputs and open
axes and the metadata stay what they were.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from ..errors import EdgepruneError, first_line
from ..models.onnx.file import opset_of
from ..runtime.layout import QUANTISED
from ..version import __version__
from . import grid
from .ranges import Range

Proto = Any  # onnx.ModelProto, whose members are made at run time
OPSET = 13  # the first one whose QuantizeLinear knows a step a filter
SUMS_IN_FLOAT = ("Gemm", "MatMul")  # whose integer kernels give floats where nothing rounds them
LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def prepared(path: Path) -> Proto:
    """The float network of a file with the types of all its tensors, in an opset that int8 needs."""
    proto = onnx.load(path)
    kinds = {node.op_type for node in proto.graph.node}
    if there := sorted(kinds.intersection(QUANTISED)):
        raise EdgepruneError(str(path), f"is quantised already ({there[0]})", "give the float file")
    if not kinds.intersection(LAYERS):
        raise EdgepruneError(
            str(path),
            "has no convolution and no matrix product to quantise",
            "8 bits bring this network nothing: keep the float file",
        )
    if opset_of(proto) < OPSET:
        proto = _newer(proto, path)
    return onnx.shape_inference.infer_shapes(proto)


def _newer(proto: Proto, path: Path) -> Proto:
    try:
        newer = onnx.version_converter.convert_version(proto, OPSET)
        onnx.checker.check_model(newer, full_check=True)
    except Exception as e:  # what its C++ raises
        raise EdgepruneError(
            str(path), f"is of opset {opset_of(proto)}, int8 needs {OPSET}, and ONNX's converter cannot "
            f"go there ({first_line(e)[:120]})", "edgeprune export --opset 18 --int8",
        ) from None  # fmt: skip
    newer.metadata_props.extend(p for p in proto.metadata_props if p not in newer.metadata_props)
    return newer


def quantised(proto: Proto, ranges: Mapping[str, Range], in_float: Collection[str] = ()) -> Proto:
    """A copy of it in QDQ form; the nodes ``in_float`` stay as they are."""
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorData, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    ends = {
        name: TensorData(lowest=np.float32(r.low), highest=np.float32(r.high))
        for name, r in ranges.items()
    }
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)  # it warns of each initializer that it changes
    try:
        writer = QDQQuantizer(
            copy, True, False, QuantType.QInt8, QuantType.QUInt8,
            TensorsData(CalibrationMethod.MinMax, ends), [], list(in_float),
            sorted({*QLinearOpsRegistry, *QDQRegistry}), {"TensorQuantOverrides": _steps(copy)},
        )  # fmt: skip
        writer.quantize_model()
        writer.model.topological_sort()
        made = _ends_in_float(writer.model.model)
    except Exception as e:  # whatever its Python raises
        raise EdgepruneError(
            "onnxruntime's quantizer fails on this network",
            first_line(e),
            "keep the float file, or try another --opset",
        ) from e
    finally:
        logging.disable(level)
    del made.metadata_props[:]  # it notes what it did to the shapes
    made.metadata_props.extend(proto.metadata_props)
    made.producer_name, made.producer_version = "edgeprune", __version__
    return made


def _steps(proto: Proto) -> dict[str, list[dict[str, Any]]]:
    """The steps of each layer's weights (`grid.steps`), in the words of onnxruntime's quantizer."""
    held = {t.name: t for t in proto.graph.initializer}
    found = {}
    for node in proto.graph.node:
        tensor = held.get(node.input[1]) if node.op_type in ROWS else None
        if tensor is None or (node.op_type == "MatMul" and len(tensor.dims) != 2):
            continue
        attributes = {a.name: a.i for a in node.attribute}
        W = torch.from_numpy(np.asarray(numpy_helper.to_array(tensor), np.float64))
        axis, rows = ROWS[node.op_type](W, attributes)
        each = grid.steps(rows).flatten().float().numpy()
        found[node.input[1]] = [
            {"axis": axis, "scale": step, "zero_point": np.int8(0)} for step in each
        ]
    return found


def _of_conv(W: Tensor, attributes: Mapping[str, int]) -> tuple[int, Tensor]:
    """[O, I/G, *k] as products are added: all channels of one place, then those of the next."""
    return 0, W.movedim(1, -1).reshape(attributes.get("group", 1), -1, W[0].numel())


def _of_product(W: Tensor, attributes: Mapping[str, int]) -> tuple[int, Tensor]:
    turned = attributes.get("transB", 0)
    return (0, W[None]) if turned else (1, W.T[None])


# operator -> the axis of its weight's filters, and the weight as `grid.steps` reads it
ROWS = {"Conv": _of_conv, "Gemm": _of_product, "MatMul": _of_product}


def _ends_in_float(made: Proto) -> Proto:
    """Outputs that a matrix product gives stay as its sums are: rounding them to 8 bits once more would
    only blur close answers, and the runtime's integer product gives floats as fast."""
    by = {name: node for node in made.graph.node for name in node.output}
    reads = Counter(name for node in made.graph.node for name in node.input)

    def maker(name: str, kinds: Collection[str]) -> Any:
        node = by.get(name)
        return node if node is not None and node.op_type in kinds else None

    for end in made.graph.output:
        back = maker(end.name, ("DequantizeLinear",))
        to = back and maker(back.input[0], ("QuantizeLinear",))
        product = to and maker(to.input[0], SUMS_IN_FLOAT)
        if not product or reads[end.name] or reads[to.output[0]] > 1 or reads[to.input[0]] > 1:
            continue  # of another kind, or something else reads it in 8 bits
        product.output[0] = end.name
        made.graph.node.remove(to)
        made.graph.node.remove(back)
    return made


def save(proto: Proto, path: Path, metadata: Mapping[str, str] = {}) -> None:
    """Write it as one valid file, with ``metadata`` over its own."""
    own = {p.key: p.value for p in proto.metadata_props}
    del proto.metadata_props[:]
    onnx.helper.set_model_props(proto, own | dict(metadata))
    try:
        onnx.checker.check_model(proto, full_check=True)
        path.write_bytes(proto.SerializeToString())
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError) as e:
        raise EdgepruneError(
            "the int8 graph is not valid ONNX",
            first_line(e)[:300],
            "keep the float file, or try another --opset",
        ) from e
