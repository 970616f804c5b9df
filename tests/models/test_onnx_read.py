"""An .onnx file as a module: the same outputs, names of its layers, cut = masked, and what is refused."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from edgeprune.errors import EdgepruneError
from edgeprune.graph import trace
from edgeprune.models.onnx import OnnxNetwork, file, read
from edgeprune.prune import masked, narrow

RELATIVE = 1e-5


class Net(nn.Module):
    """Everything that shapes are computed of: a residual, a gate, a depthwise, an upsampling, a head."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Hardswish())
        self.gate = nn.Conv2d(8, 8, 1)
        self.deep = nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.up = nn.Upsample(scale_factor=2, mode="bilinear")
        self.head = nn.Linear(16, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        gated = x * torch.sigmoid(self.gate(x.mean((2, 3), keepdim=True)))
        x = torch.cat([self.norm(self.deep(x)) + gated, self.up(x)[:, :, ::2, ::2]], 1)
        n, c, h, w = x.shape
        return self.head(x.view(n, c, h * w).mean(2))


def shaken(net: nn.Module) -> nn.Module:
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)  # type: ignore[union-attr, operator]
            module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr, operator]
    return net.eval()


def exported(path: Path, opset: int, *, dynamo: bool, open_axes: bool = True) -> Path:
    torch.manual_seed(0)
    net, x = shaken(Net()), torch.randn(2 if open_axes else 1, 3, 16, 16)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dynamo:
            shapes: Any = ({0: torch.export.Dim.DYNAMIC},) if open_axes else None
            torch.onnx.export(
                net, (x,), path, input_names=["image"], output_names=["scores"], verbose=False,
                opset_version=opset, dynamic_shapes=shapes, external_data=False, dynamo=True,
            )  # fmt: skip
        else:
            axes = {"image": {0: "N", 2: "H", 3: "W"}, "scores": {0: "N"}} if open_axes else None
            torch.onnx.export(
                net, (x,), str(path), input_names=["image"], output_names=["scores"],
                opset_version=opset, dynamic_axes=axes, dynamo=False,
            )  # fmt: skip
    return path


def running(path: Path, *inputs: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, dict(zip((i.name for i in session.get_inputs()), inputs, strict=True)))


def gap(ours: Tensor, theirs: Any) -> float:
    theirs = torch.as_tensor(theirs)
    assert ours.shape == theirs.shape
    return float((ours.detach() - theirs).abs().max() / theirs.abs().max())


@pytest.mark.parametrize(
    ("opset", "dynamo", "open_axes"),
    [(13, False, True), (16, False, True), (17, False, False), (18, True, True), (20, True, False)],
)
def test_imported_is_original_and_cut_is_masked(
    opset: int, dynamo: bool, open_axes: bool, tmp_path: Path
) -> None:
    path = exported(tmp_path / "net.onnx", opset, dynamo=dynamo, open_axes=open_axes)
    net = read(path)
    for batch, side in ((1, 16), (3, 16), (2, 24)):
        if (not open_axes and (batch, side) != (1, 16)) or (dynamo and side != 16):
            continue
        x = torch.randn(batch, 3, side, side)
        with torch.no_grad():
            assert gap(net(x), running(path, x.numpy())[0]) <= RELATIVE
    graph = trace(net, torch.randn(2, 3, 16, 16))  # batch 2 also of a file for one image
    assert {"stem.0", "gate"} <= {p for g in graph.groups.values() for p in g.producers}
    keep = {name: list(range(0, g.width, 2)) for name, g in graph.groups.items()}
    small, x = narrow(graph, keep), torch.randn(3, 3, 16, 16)
    assert sum(p.numel() for p in small.model.parameters()) < 0.6 * sum(
        p.numel() for p in net.parameters()
    )
    with torch.no_grad():
        assert gap(small.model(x), masked(graph, keep)(x)) <= RELATIVE


def test_a_file_is_read_as_the_layers_that_it_was_made_of(tmp_path: Path) -> None:
    net = read(exported(tmp_path / "net.onnx", 16, dynamo=False))
    assert net.interface.opset == 16
    assert [p.name for p in net.interface.inputs] == ["image"]
    assert net.interface.inputs[0].axes == ("N", 3, "H", "W")
    assert [p.name for p in net.interface.outputs] == ["scores"]
    state = net.state_dict()
    assert tuple(state["head.weight"].shape) == (5, 16)
    assert {"gate.weight", "gate.bias", "deep.weight"} <= set(state)
    assert not any("running" in name for name, _ in net.named_parameters())


def one(
    nodes: list[Any], *, x: Any = ("N", 4, 8, 8), held: Any = (), out: Any = None
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes, "one", [helper.make_tensor_value_info("x", 1, list(x))],
        [helper.make_tensor_value_info("y", 1, out or [None])], list(held),
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def saved(model: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def numbers(name: str, *values: Any) -> TensorProto:
    return numpy_helper.from_array(np.array(values, np.int64), name)


def test_sizes_are_reckoned_in_python(tmp_path: Path) -> None:
    """Reshape to a size that is chosen by Where of comparisons, Range and ConstantOfShape of shapes."""
    make = helper.make_node
    nodes = [
        make("Shape", ["x"], ["s"]),
        make("Cast", ["whole"], ["one"], to=1),
        make("ConstantOfShape", ["four"], ["m"], value=numbers("", -1)),
        make("Equal", ["asked", "m"], ["open"]),
        make("Not", ["open"], ["shut"]),
        make("And", ["shut", "shut"], ["both"]),
        make("Or", ["both", "both"], ["either"]),
        make("Xor", ["either", "none"], ["wrong"]),
        make("Where", ["wrong", "asked", "s"], ["sizes"]),
        make("Expand", ["x", "sizes"], ["grown"]),
        make("Gather", ["s", "three"], ["w"]),
        make("Range", ["zero", "w", "step"], ["r"]),
        make("Cast", ["r"], ["f"], to=1),
        make("Tan", ["f"], ["t"]),
        make("Asin", ["zeros"], ["u"]),
        make("Acos", ["u"], ["v"]),
        make("Exp", ["one"], ["e"]),
        make("Mul", ["t", "e"], ["te"]),
        make("Add", ["grown", "te"], ["a"]),
        make("Add", ["a", "v"], ["y"]),
    ]
    held = [
        numbers("four", 4), numbers("asked", -1, 4, -1, -1),
        numpy_helper.from_array(np.array(3), "three"), numpy_helper.from_array(np.array(0), "zero"),
        numpy_helper.from_array(np.array(1), "step"), numpy_helper.from_array(np.int32(1), "whole"),
        numpy_helper.from_array(np.zeros(4, bool), "none"),
        numpy_helper.from_array(np.zeros((1, 4, 1, 1), np.float32), "zeros"),
    ]  # fmt: skip
    path = saved(one(nodes, x=("N", 1, 8, "W"), held=held), tmp_path / "sizes.onnx")
    x = torch.randn(2, 1, 8, 6)
    assert gap(read(path)(x), running(path, x.numpy())[0]) <= 1e-6


def convolution(path: Path, *, dtype: Any = np.float32, shared: bool = False) -> Path:
    weight = np.random.default_rng(0).normal(0, 0.3, (4, 4, 1, 1)).astype(dtype)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="first"),
        helper.make_node("Conv", ["a", "w" if shared else "v"], ["y"], name="second"),
    ]
    held = [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(weight[::-1].copy(), "v")]
    model = one(nodes, held=held)
    if dtype == np.float16:
        for port in (*model.graph.input, *model.graph.output):
            port.type.tensor_type.elem_type = TensorProto.FLOAT16
    return saved(model, path)


def test_a_half_precision_file_is_reckoned_with_in_float32(tmp_path: Path) -> None:
    path = convolution(tmp_path / "half.onnx", dtype=np.float16)
    net, x = read(path), torch.randn(2, 4, 8, 8)
    assert {p.dtype for p in net.parameters()} == {torch.float32}
    assert net.interface.inputs[0].element == TensorProto.FLOAT16
    assert gap(net(x), running(path, x.half().numpy())[0].astype(np.float32)) < 3e-3


def test_a_weight_that_two_layers_share_stays_one(tmp_path: Path) -> None:
    path = convolution(tmp_path / "tied.onnx", shared=True)
    net, x = read(path), torch.randn(2, 4, 8, 8)
    assert list(net.state_dict()) == ["first.weight"]
    assert gap(net(x), running(path, x.numpy())[0]) <= RELATIVE


def test_external_data_are_read(tmp_path: Path) -> None:
    plain = convolution(tmp_path / "plain.onnx")
    onnx.save(onnx.load(plain), tmp_path / "out.onnx", save_as_external_data=True, location="out.data",
              size_threshold=0)  # fmt: skip
    x = torch.randn(2, 4, 8, 8)
    assert torch.equal(read(tmp_path / "out.onnx")(x), read(plain)(x))


def external(path: Path, location: str, **more: str) -> Path:
    model = onnx.load(convolution(path))
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **more}.items():
        tensor.external_data.add(key=key, value=value)
    return saved(model, path)


def linked(folder: Path) -> Path:
    (folder / "secret").write_bytes(bytes(64))
    (folder / "in").mkdir()
    os.symlink(folder / "secret", folder / "in" / "data")
    return external(folder / "in" / "net.onnx", "data")


def node(name: str, *inputs: str, **attributes: Any) -> Any:
    return helper.make_node(name, list(inputs), ["y"], name="odd", **attributes)


def changed(folder: Path, change: Callable[[onnx.ModelProto], None]) -> Path:
    path = convolution(folder / "net.onnx")
    model = onnx.load(path)
    change(model)
    return saved(model, path)


def lying(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[0] = 1 << 40


def cyclic(model: onnx.ModelProto) -> None:
    model.graph.node[0].input[0] = "y"


def nowhere(model: onnx.ModelProto) -> None:
    model.graph.node[1].input[0] = "nothing"


def huge_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 1 << 40


def old(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 3


def filled(folder: Path) -> Path:
    held = [numbers("sizes", 1 << 20, 1 << 20)]
    return saved(one([node("ConstantOfShape", "sizes")], held=held), folder / "net.onnx")


def branch() -> onnx.ModelProto:
    inner = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["z"])], "inner", [],
        [helper.make_tensor_value_info("z", 1, None)],
    )  # fmt: skip
    inner.output[0].type.tensor_type.shape.dim.add()
    held = [numpy_helper.from_array(np.array(True), "yes")]
    return one([node("If", "yes", then_branch=inner, else_branch=inner)], held=held)


def quantised() -> onnx.ModelProto:
    held = [numpy_helper.from_array(np.float32(0.1), "s"), numpy_helper.from_array(np.int8(0), "z")]
    first = helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], name="quantise")
    return one([first, node("DequantizeLinear", "q", "s", "z")], held=held)


def fused() -> onnx.ModelProto:
    model = one([node("FusedConv", "x", domain="com.microsoft")])
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return model


def scales(*values: float) -> Any:
    return numpy_helper.from_array(np.array(values, np.float32), "s")


def functions(itself: bool) -> onnx.ModelProto:
    """x -> me.F, of which Relu is the body, or F again."""
    inner = helper.make_node("F", ["x"], ["y"], domain="me") if itself else node("Relu", "x")
    own = [helper.make_opsetid("", 18), helper.make_opsetid("me", 1)]
    model = one([node("F", "x", domain="me")])
    model.opset_import.append(own[1])
    model.functions.append(helper.make_function("me", "F", ["x"], ["y"], [inner], own))
    return model


def sparse(model: onnx.ModelProto) -> None:
    del model.graph.initializer[0]
    held = onnx.SparseTensorProto(dims=[4, 4, 1, 1])
    held.values.CopyFrom(numpy_helper.from_array(np.ones(2, np.float32), "w"))
    held.indices.CopyFrom(numbers("", 0, 5))
    model.graph.sparse_initializer.append(held)


def borrowed(model: onnx.ModelProto) -> None:
    """An attribute that only the body of a function may have."""
    model.graph.node[0].attribute.append(
        onnx.AttributeProto(name="strides", ref_attr_name="q", type=onnx.AttributeProto.INTS)
    )


def calling(*bodies: list[Any], opset: int = 18) -> onnx.ModelProto:
    """x -> me.F0; each body is a function's, x to y, and may call the next."""
    own = [helper.make_opsetid("", opset), helper.make_opsetid("me", 1)]
    model = one([node("F0", "x", domain="me")])
    model.opset_import.append(own[1])
    model.functions.extend(
        helper.make_function("me", f"F{i}", ["x"], ["y"], body, own)
        for i, body in enumerate(bodies)
    )
    return model


def laughing(depth: int = 40) -> onnx.ModelProto:
    """Each function calls the next twice: 2**depth nodes when they are put in their places."""
    make = helper.make_node
    bodies = [
        [make(f"F{i + 1}", ["x"], ["a"], domain="me"), make(f"F{i + 1}", ["a"], ["y"], domain="me")]
        for i in range(depth)
    ]
    return calling(*bodies, [node("Relu", "x")])


def heavy() -> onnx.ModelProto:
    """A constant of 64 kB that 2**15 calls repeat, which are few nodes enough."""
    weight = numpy_helper.from_array(np.ones((1 << 14), np.float32), "")
    model = laughing(15)
    body = [helper.make_node("Constant", [], ["c"], value=weight), node("Relu", "x")]
    del model.functions[-1].node[:]
    model.functions[-1].node.extend(body)
    return model


def reading() -> onnx.ModelProto:
    """A function whose constant is in a file elsewhere."""
    there = numpy_helper.from_array(np.ones(4, np.float32), "")
    there.ClearField("raw_data")
    there.data_location = TensorProto.EXTERNAL
    there.external_data.add(key="location", value="/etc/passwd")
    constant = helper.make_node("Constant", [], ["c"], value=there)
    return calling([constant, node("Relu", "x")])


def recurrent(operator: str, gates: int, **attributes: Any) -> onnx.ModelProto:
    held = [floats("w", 1, gates * 4, 8), floats("r", 1, gates * 4, 4), floats("b", 1, 8)]
    return one(
        [helper.make_node(operator, ["x", "w", "r"], ["", "y"], **attributes)], x=(6, "N", 8),
        held=held,
    )  # fmt: skip


def floats(name: str, *shape: int) -> TensorProto:
    return numpy_helper.from_array(np.full(shape, 0.1, np.float32), name)


NORM = [floats(n, 4) for n in "abcd"]
NODES: dict[str, tuple[Any, list[TensorProto], str]] = {
    "groups that do not divide": (
        node("Conv", "x", "w", group=3), [floats("w", 8, 4, 3, 3)], "has 3 groups, 4 channels"
    ),
    "groups of other weights": (
        node("Conv", "x", "w", group=2), [floats("w", 8, 4, 3, 3)], "has 2 groups, 4 channels"
    ),
    "no groups": (node("Conv", "x", "w", group=0), [floats("w", 8, 4, 3, 3)], "has 0 groups"),
    "another kernel": (
        node("Conv", "x", "w", kernel_shape=[5, 5]), [floats("w", 8, 4, 3, 3)], "has kernel_shape [5, 5]"
    ),
    "dilated by 0": (
        node("Conv", "x", "w", dilations=[0, 1]), [floats("w", 8, 4, 3, 3)], "has dilations [0, 1]"
    ),
    "strides of 0": (node("MaxPool", "x", kernel_shape=[2, 2], strides=[0, 1]), [], "has strides [0, 1]"),
    "too few pads": (
        node("Conv", "x", "w", pads=[1] * 3), [floats("w", 8, 4, 3, 3)], "has pads [1, 1, 1]; 4 from 0"
    ),
    "another padding": (
        node("Conv", "x", "w", auto_pad="FOO"), [floats("w", 8, 4, 3, 3)], "pads by 'FOO'"
    ),
    "two ways to pad": (
        node("Conv", "x", "w", auto_pad="SAME_UPPER", pads=[5] * 4), [floats("w", 8, 4, 3, 3)],
        "has both auto_pad and pads",
    ),
    "a weight of another rank": (node("Conv", "x", "w"), [floats("w", 8, 4, 3)], "a weight of 3 axes"),
    "a negative output_padding": (
        node("ConvTranspose", "x", "w", output_padding=[-1, 0]), [floats("w", 4, 3, 2, 2)],
        "has output_padding [-1, 0]",
    ),
    "a large output_padding": (
        node("ConvTranspose", "x", "w", output_padding=[5, 5]), [floats("w", 4, 3, 2, 2)],
        "output padding must be smaller",
    ),
    "an output_shape": (
        node("ConvTranspose", "x", "w", output_shape=[20, 20]), [floats("w", 4, 3, 2, 2)],
        "pads by the size of its output",
    ),
    "an epsilon of nan": (
        node("BatchNormalization", "x", *"abcd", epsilon=float("nan")), NORM, "has the epsilon nan"
    ),
    "a negative epsilon": (
        node("BatchNormalization", "x", *"abcd", epsilon=-1.0), NORM, "has the epsilon -1"
    ),
    "statistics of the batch": (
        helper.make_node(
            "BatchNormalization", ["x", *"abcd"], ["y", "m", "v"], name="odd", training_mode=1
        ),
        NORM, "takes the statistics of the batch",
    ),
    "statistics of too few": (
        node("BatchNormalization", "x", *"abcd"), [floats(n, 3) for n in "abcd"], "4 elements not 3"
    ),
    "a clip by two": (node("Clip", "x", "a"), [floats("a", 2)], "takes 2 numbers where one is wanted"),
    "more than there is cut off": (
        node("Pad", "x", "p"), [numbers("p", 0, 0, -9, 0, 0, 0, -9, 0)], "Pad 'odd'"
    ),
    "a product of lines": (node("Gemm", "x", "w"), [floats("w", 8, 3)], "a tensor of 4 axes, 2 are"),
    "both scales and sizes": (
        node("Resize", "x", "", "s", "z"), [scales(1, 1, 2, 2), numbers("z", 2, 4, 9, 9)], "not both"
    ),
    "a norm of 7": (node("LpNormalization", "x", p=7), [], "takes the norm 7"),
    "parts that nobody makes": (
        helper.make_node("Split", ["x"], ["y", "z"], name="odd", axis=1, num_outputs=3), [],
        "makes 3 parts, and 2 are named",
    ),
    "a size of nothing": (
        node("Reshape", "x", "s"), [numbers("s", 0, 0, 0, 0, 0)], "copies a size of axis 4"
    ),
    "an enormous outer product": (
        node("Einsum", "x", "x", "x", "x", equation="abcd,efgh,ijkl,mnop->abcdefghijklmnop"), [],
        "asks for a tensor of 2 x 4 x 8",
    ),
    "chance": (
        helper.make_node("Dropout", ["x", "r", "t"], ["y"], name="odd"),
        [numpy_helper.from_array(np.float32(0.5), "r"), numpy_helper.from_array(np.array(True), "t")],
        "drops at random",
    ),
}  # fmt: skip
FILES: dict[str, tuple[Callable[[], onnx.ModelProto], str]] = {
    "a hidden size of others": (
        lambda: recurrent("LSTM", 4, hidden_size=1 << 40), "says hidden_size 1099511627776"
    ),
    "two directions of one": (
        lambda: recurrent("GRU", 3, hidden_size=4, linear_before_reset=1, direction="bidirectional"),
        "'bidirectional', and its weights are (1, 12, 8)",
    ),
    "no direction": (lambda: recurrent("LSTM", 4, hidden_size=4, direction="up"), "runs 'up'"),
    "functions of another opset": (
        lambda: calling([node("Relu", "x")], opset=11), "function 'F0' is of opset 11, the file of 18"
    ),
    "functions without end": (laughing, "its functions stand for 1,099,511,627,776 nodes"),
    "functions of much data": (heavy, "its functions stand for 65,536 nodes and 2,149,"),
    "a function that reads elsewhere": (reading, "outside of its folder: '/etc/passwd'"),
    "an input of all memory": (
        lambda: one([node("Relu", "x")], x=("N", 1 << 20, 1 << 20, 1 << 20)), "has 1,152,921,504,606,846,976"
    ),
}  # fmt: skip
ODD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "no file": (lambda f: f / "none.onnx", "No such file"),
    "a folder": (lambda f: f, "directory"),
    "empty": (lambda f: _bytes(f, b""), "holds no network"),
    "no protobuf": (lambda f: _bytes(f, b"\xff" * 99), "is no ONNX file"),
    "cut short": (lambda f: _bytes(f, convolution(f / "a.onnx").read_bytes()[:-40]), "cut short"),
    "sizes that lie": (lambda f: changed(f, lying), "for the declared shape"),
    "cyclic": (lambda f: changed(f, cyclic), "not valid ONNX"),
    "a name of nothing": (lambda f: changed(f, nowhere), "not valid ONNX"),
    "a huge input": (lambda f: changed(f, huge_input), "axis of 1,099,511,627,776"),
    "an old opset": (lambda f: changed(f, old), "opset 3"),
    "a huge constant": (filled, "asks for a tensor of 1048576 x 1048576"),
    "data above": (lambda f: external(f / "net.onnx", "../secret"), "outside of its folder"),
    "data at the root": (lambda f: external(f / "net.onnx", "/etc/passwd"), "outside of its folder"),
    "data behind a link": (linked, "outside of its folder"),
    "data of a long name": (lambda f: external(f / "net.onnx", "x" * 5000), "outside of its folder"),
    "sizes that do not fit": (
        lambda f: saved(one([node("Reshape", "x", "s")], held=[numbers("s", -1, -1)]), f / "net.onnx"),
        "Reshape 'odd': only one dimension can be inferred",
    ),
    "an infinite size": (
        lambda f: saved(
            one([node("Resize", "x", "", "s")], held=[scales(1, 1, np.inf, 1)]), f / "net.onnx"
        ),
        "Resize 'odd': cannot convert float infinity",
    ),
    "a function in itself": (lambda f: saved(functions(itself=True), f / "net.onnx"), "calls itself"),
    "sparse": (lambda f: changed(f, sparse), "weight 'w' is sparse"),
    "an attribute of a function": (lambda f: changed(f, borrowed), "strides of Conv 'first'"),
    "no data": (lambda f: external(f / "net.onnx", "gone"), "not there: gone"),
    "short data": (
        lambda f: [(f / "d").write_bytes(bytes(8)), external(f / "net.onnx", "d", length="64")][1],
        "cut short",
    ),
    "quantised": (lambda f: saved(quantised(), f / "net.onnx"), "quantised network (QuantizeLinear"),
    "control flow": (lambda f: saved(branch(), f / "net.onnx"), "branches or loops in the graph (If"),
    "boxes": (lambda f: saved(one([node("NonZero", "x")]), f / "net.onnx"), "NonZero"),
    "unknown": (lambda f: saved(one([node("Det", "x")]), f / "net.onnx"), "operator Det"),
    "a runtime's": (
        lambda f: saved(fused(), f / "net.onnx"),
        "com.microsoft.FusedConv",
    ),
    "sizes from data": (
        lambda f: saved(
            one([helper.make_node("Cast", ["x"], ["s"], to=7), node("Reshape", "x", "s")]), f / "net.onnx"
        ),
        "takes sizes from the numbers of the input x",
    ),
    **{
        name: (lambda f, n=n, held=held: saved(one([n], held=held), f / "net.onnx"), said)
        for name, (n, held, said) in NODES.items()
    },
    **{
        name: (lambda f, make=make: saved(make(), f / "net.onnx"), said)
        for name, (make, said) in FILES.items()
    },
}  # fmt: skip


def _bytes(folder: Path, data: bytes) -> Path:
    (folder / "net.onnx").write_bytes(data)
    return folder / "net.onnx"


@pytest.mark.parametrize("name", ODD)
def test_an_odd_file_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    make, said = ODD[name]
    path = make(tmp_path)
    with pytest.raises(EdgepruneError) as error:
        read(path)(torch.randn(2, 4, 8, 8))
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500


def test_a_file_of_functions_is_read(tmp_path: Path) -> None:
    x = torch.randn(2, 4, 8, 8)
    code = f"from edgeprune.models.onnx import read; read({str(tmp_path / 'net.onnx')!r})"
    net = saved(functions(itself=False), tmp_path / "net.onnx")
    assert (
        subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    )  # no other import
    assert torch.equal(read(net)(x), x.relu())


def test_bytes_that_many_tensors_name_are_counted_for_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file, "LARGEST", 10_000)
    (tmp_path / "d").write_bytes(bytes(4096))
    path = external(tmp_path / "net.onnx", "d")
    model = onnx.load(path, load_external_data=False)
    for i in range(3):
        model.graph.initializer.add().CopyFrom(model.graph.initializer[0])
        model.graph.initializer[-1].name = f"again{i}"
    with pytest.raises(EdgepruneError, match="more than 2 GiB"):
        read(saved(model, path))


def test_what_grows_from_node_to_node_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeprune.models.onnx.module.LIMIT", 10_000)
    make = helper.make_node
    names = ["x", *(f"v{i}" for i in range(30)), "y"]
    nodes = [make("Concat", [a, a], [b], axis=1) for a, b in pairwise(names)]
    with pytest.raises(EdgepruneError, match=r"Concat 'v5': makes a tensor of \(2, 256, 8, 8\)"):
        read(saved(one(nodes), tmp_path / "net.onnx"))(torch.randn(2, 4, 8, 8))


def test_many_layers_of_one_name_are_read_soon(tmp_path: Path) -> None:
    make, n = helper.make_node, 4000
    names = ["x", *(f"v{i}" for i in range(n - 1)), "y"]
    nodes = [make("Conv", [names[i], f"w{i}"], [names[i + 1]], name="a") for i in range(n)]
    held = [floats(f"w{i}", 4, 4, 1, 1) for i in range(n)]
    path = saved(one(nodes, held=held), tmp_path / "net.onnx")
    started = time.process_time()
    net = read(path)
    assert time.process_time() - started < 10
    assert [name for name, _ in net.named_parameters()][:: n - 1] == ["a.weight", f"a_{n}.weight"]


@pytest.mark.parametrize("name", ["....", ".".join("a" * 3000), "forward.weight"])
def test_odd_names_of_weights(name: str, tmp_path: Path) -> None:
    held = [numpy_helper.from_array(np.ones((8, 4, 3, 3), np.float32), name)]
    net = read(saved(one([node("Conv", "x", name)], held=held), tmp_path / "net.onnx"))
    assert [p.shape for p in net.parameters()] == [(8, 4, 3, 3)]
    assert net(torch.randn(2, 4, 8, 8)).shape == (2, 8, 6, 6)


def test_several_inputs_and_outputs_keep_their_order(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Sub", ["a", "b"], ["d"]), helper.make_node("Mul", ["a", "b"], ["p"])],
        "two", [helper.make_tensor_value_info(n, 1, ["N", 3]) for n in "ab"],
        [helper.make_tensor_value_info(n, 1, ["N", 3]) for n in "dp"],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    net = read(saved(model, tmp_path / "two.onnx"))
    a, b = torch.randn(2, 3), torch.randn(2, 3)
    difference, product = net(a, b)
    assert torch.equal(difference, a - b)
    assert torch.equal(product, a * b)
    with pytest.raises(TypeError, match="2 inputs"):
        net(a)


PRINT = Path(os.environ.get("EDGEPRUNE_PPOCR", "no folder")).expanduser()


@pytest.mark.parametrize(
    ("name", "shape", "groups"),
    [("cls_infer", (48, 192), 26), ("det_infer", (64, 96), 36), ("rec_infer", (48, 160), 25)],
)
def test_the_networks_of_pp_ocr(name: str, shape: tuple[int, int], groups: int) -> None:
    found = [p for p in sorted(PRINT.glob("*.onnx")) if name in p.name]
    if not found:
        pytest.skip("EDGEPRUNE_PPOCR names no folder with the .onnx files of rapidocr-onnxruntime")
    net, x = read(found[0]), torch.randn(2, 3, *shape)
    assert isinstance(net, OnnxNetwork)
    theirs = torch.from_numpy(running(found[0], x.numpy())[0])
    with torch.no_grad():
        assert float((net(x) - theirs).abs().max()) <= max(
            RELATIVE * float(theirs.abs().max()), 1e-6
        )
    assert len(trace(net, torch.randn(2, 3, *shape)).groups) >= groups
