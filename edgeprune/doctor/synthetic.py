"""ONNX graphs made of single layers: what roofline, the what-ifs and the predictor's probe measure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

OPSET, IR = 17, 8  # runtimes since onnxruntime 1.12


@dataclass
class Builder:
    """A graph under construction; every method returns the name of a tensor."""

    seed: int = 0
    int8: bool = False  # the convolutions from here on: uint8 maps, int8 weights a channel (QDQ)
    nodes: list[Any] = field(default_factory=list)
    tensors: list[Any] = field(default_factory=list)
    inputs: list[Any] = field(default_factory=list)
    outputs: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)

    def input(self, name: str, shape: Sequence[int]) -> str:
        from onnx import TensorProto, helper

        self.inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)))
        return name

    def constant(self, name: str, value: Any) -> str:
        from onnx import numpy_helper

        self.tensors.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def weight(self, name: str, shape: Sequence[int]) -> str:
        fan_in = int(np.prod(shape[1:])) or 1
        value = self.random.standard_normal(tuple(shape), dtype=np.float32)
        return self.constant(name, value * np.float32((2 / fan_in) ** 0.5))

    def op(self, operator: str, name: str, inputs: Sequence[str], **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(operator, list(inputs), [name], name=name, **attributes))
        return name

    def conv(
        self, name: str, x: str, inputs: int, outputs: int, kernel: int = 3, *, stride: int = 1,
        groups: int = 1, activation: str = "Relu",
    ) -> str:  # fmt: skip
        """Convolution with bias and activation, ``"same"`` padding; named ``name`` and ``name/Relu``."""
        weight = self.weight(f"{name}.weight", (outputs, inputs // groups, kernel, kernel))
        bias = self.constant(f"{name}.bias", np.zeros(outputs, np.float32))
        if self.int8:
            if not x.endswith("/dq"):
                x = self._quantised(f"{name}/input", x, zero=128)
            weight = self._quantised_weight(name, weight)
        half = (kernel - 1) // 2
        pads = [half, half, kernel - 1 - half, kernel - 1 - half]
        y = self.op(
            "Conv", name, [x, weight, bias], kernel_shape=[kernel] * 2, pads=pads,
            strides=[stride] * 2, group=groups,
        )  # fmt: skip
        y = self.op(activation, f"{name}/{activation}", [y]) if activation else y
        return (
            self._quantised(f"{name}/output", y, zero=0 if activation else 128) if self.int8 else y
        )

    def dense(self, name: str, x: str, inputs: int, outputs: int) -> str:
        weight = self.weight(f"{name}.weight", (outputs, inputs))
        bias = self.constant(f"{name}.bias", np.zeros(outputs, np.float32))
        return self.op("Gemm", name, [x, weight, bias], transB=1)

    def _quantised(self, name: str, x: str, zero: int) -> str:
        scale = self.constant(f"{name}.scale", np.float32(0.05))
        parts = [scale, self.constant(f"{name}.zero", np.uint8(zero))]
        q = self.op("QuantizeLinear", f"{name}/q", [x, *parts])
        return self.op("DequantizeLinear", f"{name}/dq", [q, *parts])

    def _quantised_weight(self, name: str, weight: str) -> str:
        from onnx import numpy_helper

        place = next(i for i, t in enumerate(self.tensors) if t.name == weight)
        value = numpy_helper.to_array(self.tensors.pop(place))
        scale = np.abs(value).reshape(len(value), -1).max(axis=1) / 127 + 1e-9
        q = np.round(value / scale[:, None, None, None]).astype(np.int8)
        names = [
            self.constant(f"{weight}.q", q),
            self.constant(f"{weight}.scale", scale.astype(np.float32)),
            self.constant(f"{weight}.zero", np.zeros(len(value), np.int8)),
        ]
        return self.op("DequantizeLinear", f"{weight}/dq", names, axis=0)

    def output(self, name: str) -> None:
        from onnx import TensorProto, helper

        self.outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))

    def model(self) -> Any:
        """The ModelProto."""
        from onnx import helper, shape_inference

        graph = helper.make_graph(self.nodes, "synthetic", self.inputs, self.outputs, self.tensors)
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR
        )
        return shape_inference.infer_shapes(model)  # outputs need a shape
