"""Small .onnx files made by hand: no torch, and a known number of operations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def conv_net(
    width: int = 8, classes: int = 4, size: int = 8, batch: int | str = "N", opset: int = 18
) -> onnx.ModelProto:
    """images [batch, 3, size, size] -> 3x3 conv to ``width`` -> Relu -> pool -> Gemm -> logits."""
    rng = np.random.default_rng(0)

    def weight(name: str, *shape: int) -> Any:
        return numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)

    nodes = [
        helper.make_node("Conv", ["images", "c.weight", "c.bias"], ["c"], pads=[1] * 4),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "l.weight", "l.bias"], ["logits"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 3, size, size])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, classes])],
        [
            weight("c.weight", width, 3, 3, 3),
            weight("c.bias", width),
            weight("l.weight", classes, width),
            weight("l.bias", classes),
        ],
    )
    return helper.make_model(
        graph, ir_version=8, opset_imports=[helper.make_opsetid("", opset)], producer_name="hand"
    )


def macs(width: int = 8, classes: int = 4, size: int = 8) -> int:
    """What ``conv_net`` multiplies and adds."""
    return width * size * size * 27 + classes * width


def save(path: Path, model: onnx.ModelProto | None = None, **metadata: str) -> Path:
    model = model or conv_net()
    if metadata:
        helper.set_model_props(model, {k.replace("__", "."): v for k, v in metadata.items()})
    path.write_bytes(model.SerializeToString())
    return path


def with_random_output() -> onnx.ModelProto:
    """A model that never gives the same answer twice."""
    nodes = [helper.make_node("RandomUniformLike", ["images"], ["logits"], dtype=1)]
    graph = helper.make_graph(
        nodes,
        "random",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 5])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 5])],
    )
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 18)])
