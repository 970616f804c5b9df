"""Every operator that is read gives what onnxruntime gives, tried one at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper, numpy_helper
from torch import Tensor

from edgeprune.models.onnx import read
from edgeprune.models.onnx.operators import ROWS

IMAGE, SPREAD = (2, 4, 6, 5), np.float32(1.5)


def floats(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, SPREAD, shape).astype(np.float32)


def whole(*numbers: Any) -> np.ndarray:
    return np.array(numbers, np.int64)


@dataclass
class Case:
    operator: str
    constants: tuple[Any, ...] = ()  # behind the input x; None: left out
    shape: tuple[int, ...] = IMAGE
    opset: int = 18
    attributes: dict[str, Any] = field(default_factory=dict)
    outputs: int = 1
    positive: bool = False
    label: str = ""

    def __str__(self) -> str:
        words = [f"{k}={v}" for k, v in self.attributes.items()]
        return "-".join([self.operator, str(self.opset), self.label, *words])


def case(operator: str, *constants: Any, **more: Any) -> Case:
    known = {"shape", "opset", "outputs", "positive", "label"}
    own = {k: v for k, v in more.items() if k in known}
    return Case(
        operator, constants, attributes={k: v for k, v in more.items() if k not in known}, **own
    )


def vector(n: int, seed: int = 1) -> np.ndarray:
    return floats(n, seed=seed)


UNARY = (
    "Abs", "Neg", "Exp", "Sin", "Cos", "Atan", "Sinh", "Cosh", "Erf", "Sign", "Floor",
    "Ceil", "Round", "Relu", "Sigmoid", "Tanh", "Softplus", "Softsign", "HardSwish", "Mish",
    "HardSigmoid", "LeakyRelu", "Elu", "Celu", "Selu", "ThresholdedRelu", "Shrink", "Identity",
    "Dropout", "LogSoftmax", "Softmax", "GlobalAveragePool", "GlobalMaxPool", "Flatten", "Tan",
)  # fmt: skip
REDUCED = (
    "ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2",
    "ReduceSumSquare", "ReduceLogSumExp",
)  # fmt: skip
NORMED = (vector(4) ** 2 + 0.5, vector(4, 2), vector(4, 3), vector(4, 4) ** 2 + 0.5)
HIDDEN = 3
LSTM = (
    floats(2, 4 * HIDDEN, 5),
    floats(2, 4 * HIDDEN, HIDDEN, seed=1),
    floats(2, 8 * HIDDEN, seed=2),
)
GRU = (
    floats(1, 3 * HIDDEN, 5),
    floats(1, 3 * HIDDEN, HIDDEN, seed=1),
    floats(1, 6 * HIDDEN, seed=2),
)
UP = np.array([1, 1, 2, 2], np.float32)
ODD = np.array([1, 1, 1.5, 2.4], np.float32)

CASES = [
    *(case(name) for name in UNARY if name != "Tan"),
    *(case(name, positive=True) for name in ("Sqrt", "Log", "Reciprocal")),
    *(case(name, keepdims=k, axes=[2, 3], opset=11) for name in REDUCED for k in (0, 1)),
    *(case(name, whole(1, -1), label="input") for name in ("ReduceMean", "ReduceMax")),
    case("ReduceLogSum", whole(1), positive=True),
    *(case(name, floats(4, 1, 1)) for name in ("Add", "Sub", "Mul", "Div", "Max", "Min", "Mean", "Sum")),
    *(case(name, np.float32(0.7), label="one") for name in ("Add", "Sub", "Mul", "Div", "Max", "Min")),
    case("Pow", np.float32(2.0)),
    case("Mod", np.float32(0.7), fmod=1),
    case("PRelu", floats(4, 1, 1)),
    case("PRelu", floats(1), label="one"),
    case("Clip", np.float32(-0.5), np.float32(1.0)),
    case("Clip", None, np.float32(1.0), label="above"),
    case("Clip", opset=10, min=-0.5, max=0.5),
    case("Softmax", opset=11, axis=1),
    case("LogSoftmax", opset=11, axis=2),
    case("Softmax", axis=1),
    case("Gelu", opset=20),
    case("Gelu", opset=20, approximate="tanh"),
    case("HardSigmoid", alpha=1 / 6, beta=0.5),
    case("ArgMax", axis=1),
    case("ArgMin", axis=2, keepdims=0),
    case("TopK", whole(2), axis=1, outputs=2),
    case("CumSum", np.int64(1)),
    case("Reshape", whole(0, -1, 3)),
    case("Transpose", perm=[0, 2, 3, 1]),
    case("Transpose"),
    case("Flatten", axis=2),
    case("Squeeze", whole(1), shape=(2, 1, 5)),
    case("Squeeze", opset=11, axes=[1], shape=(2, 1, 5)),
    case("Unsqueeze", whole(1, -1)),
    case("Unsqueeze", opset=11, axes=[2]),
    case("Concat", floats(2, 3, 6, 5), axis=1),
    case("Split", whole(1, 3), axis=1, outputs=2),
    case("Split", opset=11, axis=1, split=[1, 3], outputs=2),
    case("Split", axis=1, num_outputs=2, outputs=2),
    case("Slice", whole(1, 0), whole(3, 2**62), whole(1, 2), whole(1, 2)),
    case("Slice", whole(-1), whole(-(2**62)), whole(3), whole(-1), label="flip"),
    case("Slice", whole(1), whole(-1), shape=(4, 3), label="plain"),
    case("Slice", opset=9, starts=[1], ends=[3], axes=[1]),
    case("Gather", whole(2, 0), axis=1),
    case("Gather", np.int64(-1), axis=2),
    case("Gather", whole([0, 1], [1, 0]), axis=3),
    case("GatherElements", np.zeros((2, 4, 6, 1), np.int64), axis=3),
    case("Expand", whole(2, 4, 6, 5), shape=(2, 1, 6, 1)),
    case("Expand", whole(3, 1, 1, 1, 1)),
    case("Tile", whole(1, 2, 1, 2)),
    case("Pad", whole(0, 0, 1, 2, 0, 0, 0, 1), np.float32(0.5)),
    case("Pad", whole(0, 0, 1, 2, 0, 0, 0, 1), mode="reflect"),
    case("Pad", whole(0, 0, 1, 2, 0, 0, 0, 1), mode="edge"),
    case("Pad", opset=10, pads=[0, 1, 0, 0, 0, 2, 0, 0], value=0.25),
    case("Pad", whole(1, 2), None, whole(-1), label="axes"),
    case("DepthToSpace", blocksize=2),
    case("DepthToSpace", blocksize=2, mode="CRD"),
    case("SpaceToDepth", blocksize=2, shape=(2, 3, 6, 4)),
    case("Trilu", shape=(3, 4, 4)),
    case("Trilu", np.int64(1), shape=(3, 4, 4), upper=0),
    case("EyeLike", shape=(4, 5)),
    case("Shape"),
    case("Shape", start=1, end=3),
    case("Size"),
    case("Cast", to=6),
    case("CastLike", np.float64(1)),
    case("IsNaN"),
    *(case(n, np.float32(0.3)) for n in ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")),
    # layers
    case("Conv", floats(6, 4, 3, 3), vector(6), pads=[1, 1, 1, 1]),
    case("Conv", floats(6, 4, 3, 3), pads=[0, 1, 1, 0], strides=[2, 1]),
    case("Conv", floats(4, 1, 3, 3), vector(4), group=4, auto_pad="SAME_UPPER", strides=[2, 2]),
    case("Conv", floats(6, 2, 3, 2), group=2, auto_pad="SAME_LOWER"),
    case("Conv", floats(6, 4, 3), shape=(2, 4, 9), dilations=[2]),
    case("Conv", floats(6, 4, 2, 2, 2), shape=(1, 4, 3, 4, 5)),
    case("Conv", floats(6, 4, 3, 3), kernel_shape=[3, 3], auto_pad="VALID", label="valid"),
    case("Clip", np.float32(1.0), np.float32(-0.5), label="crossed"),
    case("Pad", whole(0, 0, -1, 2, 0, 0, 0, -2), np.float32(0.5), label="cropped"),
    case("BatchNormalization", *NORMED, epsilon=0.0),
    case("ConvTranspose", floats(4, 3, 2, 2), vector(3), strides=[2, 2]),
    case("ConvTranspose", floats(4, 3, 3, 3), strides=[2, 2], auto_pad="VALID"),
    case("ConvTranspose", floats(4, 3, 3, 3), strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1]),
    case("ConvTranspose", floats(4, 3, 3, 3), strides=[2, 2], pads=[0, 1, 1, 0], group=2),
    case("Gemm", floats(4, 6), vector(6), shape=(3, 4)),
    case("Gemm", floats(6, 4), vector(6), shape=(3, 4), transB=1, alpha=0.5, beta=2.0),
    case("Gemm", floats(4, 6), floats(3, 1), shape=(3, 4), label="odd"),
    case("Gemm", floats(4, 6), shape=(4, 3), transA=1),
    case("MatMul", floats(5, 7)),
    case("MatMul", floats(4, 5, 7), label="stack"),
    case("BatchNormalization", *NORMED, epsilon=1e-3),
    case("InstanceNormalization", *NORMED[:2]),
    case("LayerNormalization", floats(5), vector(5)),
    case("LayerNormalization", floats(6, 5), axis=2),
    case("GroupNormalization", *NORMED[:2], num_groups=2, opset=21),
    case("LRN", size=3),
    case("LpNormalization", axis=1),
    case("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    case("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1]),
    case("MaxPool", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
    case("MaxPool", kernel_shape=[3, 3], auto_pad="SAME_UPPER"),
    case("AveragePool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    case("AveragePool", kernel_shape=[3, 3], pads=[0, 0, 1, 1]),
    case("AveragePool", kernel_shape=[3, 3], pads=[0, 0, 1, 1], count_include_pad=1),
    case("Einsum", floats(5, 7), equation="nchw,wk->nchk"),
    case("GridSample", np.clip(floats(2, 3, 3, 2) / 2, -1, 1), opset=16),
    case("LSTM", *LSTM, shape=(7, 2, 5), direction="bidirectional", hidden_size=HIDDEN, outputs=3),
    case("LSTM", *(v[:1] for v in LSTM), shape=(7, 2, 5), direction="reverse", hidden_size=HIDDEN),
    case("GRU", *GRU, shape=(7, 2, 5), hidden_size=HIDDEN, linear_before_reset=1, outputs=2),
    # sizes
    case("Upsample", UP, opset=9),
    case("Upsample", UP, opset=9, mode="linear"),
    case("Resize", UP, opset=10),
    *(
        case("Resize", None, scales, mode=mode, coordinate_transformation_mode=where, **more)
        for scales in (UP, ODD)
        for mode, more in (
            ("linear", {}), ("nearest", {}), ("nearest", {"nearest_mode": "floor"}),
            ("nearest", {"nearest_mode": "ceil"}),
        )
        for where in ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel")
    ),
    case("Resize", None, UP, mode="cubic"),
    case("Resize", None, None, whole(2, 4, 9, 11), mode="linear"),
    case("Resize", None, None, whole(9, 11), mode="nearest", axes=[2, 3]),
]  # fmt: skip
COMPOSED = {  # tried in networks, or in test_read.py: they need several nodes
    "And",
    "Or",
    "Xor",
    "Not",
    "Where",
    "ConstantOfShape",
    "Range",
    "Tan",
    "Asin",
    "Acos",
}


def model_of(tried: Case) -> onnx.ModelProto:
    names, held = ["x"], []
    for i, value in enumerate(tried.constants):
        names.append("" if value is None else f"c{i}")
        if value is not None:
            held.append(numpy_helper.from_array(np.asarray(value), f"c{i}"))
    outputs = [f"y{i}" for i in range(tried.outputs)]
    node = helper.make_node(tried.operator, names, outputs, name="tried", **tried.attributes)
    graph = helper.make_graph(
        [node], "one", [helper.make_tensor_value_info("x", 1, list(tried.shape))],
        [onnx.ValueInfoProto(name=n) for n in outputs], held,
    )  # fmt: skip
    opsets = [helper.make_opsetid("", tried.opset)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    model = onnx.shape_inference.infer_shapes(model)
    for output in model.graph.output:
        kind = output.type.tensor_type
        kind.elem_type = kind.elem_type or 1
        kind.shape.SetInParent()
        if not kind.shape.dim:
            kind.ClearField("shape")
            kind.shape.dim.add()
    return model


@pytest.mark.parametrize("tried", CASES, ids=str)
def test_an_operator_gives_what_onnxruntime_gives(tried: Case, tmp_path: Path) -> None:
    path = tmp_path / "one.onnx"
    path.write_bytes(model_of(tried).SerializeToString())
    x = floats(*tried.shape, seed=9)
    x = np.abs(x) + np.float32(0.1) if tried.positive else x
    wanted = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(
        None, {"x": x}
    )
    with torch.no_grad():
        found = read(path)(torch.from_numpy(x))
    found = (found,) if isinstance(found, Tensor) else found[: tried.outputs]
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours.shape == theirs.shape
        if theirs.dtype == np.float32:
            scale = max(float(np.abs(theirs).max()), 1e-6)
            assert float(np.abs(ours.numpy() - theirs).max()) <= 2e-6 * scale
        else:
            assert np.array_equal(ours.numpy(), theirs)


def test_every_operator_is_tried() -> None:
    assert set(ROWS) == {c.operator for c in CASES} | COMPOSED
