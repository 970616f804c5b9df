"""Odd modules and files through the true command line: one line each, exit code 2, nothing written.

    python benchmarks/refusals.py [NAME ...]   what refusals.jsonl lacks, or these
    python benchmarks/refusals.py table        only the table, from what is there

Each case is a process in a fresh folder: a fork of this one, which has imported all of edgeprune, that calls
the command line's door as ``python -m edgeprune ...`` does. *right*: it ends with code 2, stdout is empty,
stderr has one ``error:`` line with a remedy behind a dash that names what is expected here, no traceback,
and the folder holds what it held before.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "COLUMNS": "200"}
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import numpy as np  # noqa: E402
import onnx  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from edgeprune import bench, checkpoint, export, files, models, report, ways  # noqa: E402, F401
from edgeprune.cli import app, errors  # noqa: E402
from edgeprune.models import onnx as onnx_files  # noqa: E402, F401

RESULTS = HERE / "results"
LONGEST = 600  # characters of the line
LONG = 120  # seconds
NETWORK = """
import torch, torch.nn as nn, torch.nn.functional as F

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 4)
    def body(self, x):
        return self.b(self.a(x).relu()).relu()
    def forward(self, x):
        return self.head(self.body(x).mean((2, 3)))
"""


@dataclass(frozen=True)
class Case:
    """``words`` after ``edgeprune``, and words that the line must hold."""

    words: str
    named: tuple[str, ...]
    python: str = ""  # the class ``Odd(Net)``, or what ``make`` is, in net.py
    make: Callable[[Path], Any] | None = None  # files
    images: str = ""  # f.py


def odd(forward: str, *named: str, init: str = "pass", words: str = "") -> Case:
    """A network whose forward is this."""
    body = f"""
class Odd(Net):
    def __init__(self):
        super().__init__()
        {init}
    def forward(self, x):
        {forward}
make = Odd
"""
    return Case(words or "inspect --model net.py:make --size 32", named, body)


def built(body: str, *named: str, words: str = "") -> Case:
    """A function ``make``."""
    return Case(words or "inspect --model net.py:make --size 32", named, body)


PRUNE = "prune --post-training --images x.npy --keep-flops 0.7 --name a --model"
GOOD = f"{PRUNE} net.py:make --weights good.pth --round-to 1"
OBSERVED = """
import torch.ao.quantization as q
class Floats(Net):
    def __init__(self):
        super().__init__()
        self.into, self.out = q.QuantStub(), q.DeQuantStub()
    def forward(self, x):
        return self.out(super().forward(self.into(x)))
def observed():
    net = Floats().eval()
    net.qconfig = q.get_default_qconfig("fbgemm")
    net = q.prepare(net)
    net(torch.randn(2, 3, 32, 32))
    return net
"""
MODULES = {
    "an if on the data": odd("return super().forward(x) if x.sum() > 0 else x", "net.py"),
    "a number out of a tensor": odd("return super().forward(x * x.abs().max().item())", "net.py"),
    "a list of a tensor's numbers": odd(
        "return sum(v * super(Odd, self).forward(x) for v in x.mean((0, 2, 3)).tolist())", "net.py"
    ),
    "numpy in the forward": odd(
        "return torch.from_numpy(super().forward(x).detach().numpy() * 2)", "numpy"
    ),
    "as many steps as data say": odd(
        "y = super().forward(x)\n        while y.norm() > 1: y = y / 2\n        return y", "net.py"
    ),
    "a choice of places": odd("return self.body(x)[x.mean(1, keepdim=True).expand(-1, 8, -1, -1) > 0]"),
    "chance in the forward": odd("return super().forward(x + torch.rand_like(x))", "for the same input"),
    "dropout that never ends": odd("return F.dropout(super().forward(x), 0.5)", "for the same input"),
    "a forward that counts": odd(
        "self.n += 1; return super().forward(x) * self.n", "for the same input", init="self.n = 0"
    ),
    "no tensor out": odd("return 'a cat'", "returns a str"),
    "nothing out": odd("super().forward(x)", "returns None"),
    "no parameters": built(
        "make = lambda: nn.Sequential(nn.ReLU(), nn.AvgPool2d(2))", "no parameters", words=GOOD
    ),
    "a forward that fails": odd("raise ValueError('not today')", "not today"),
    "a batch of two only": odd("return super().forward(x.view(2, 3, 32, 32))", "batch"),
    "quantised": built(OBSERVED + "make = lambda: q.convert(observed())", "float network"),
    "observed": built(OBSERVED + "make = observed", "float network"),
    "quantised dynamically": built(
        "make = lambda: torch.ao.quantization.quantize_dynamic(Net().eval(), {nn.Linear})", "float network"
    ),
    "sparse weights": built(
        "def make():\n    net = Net(); net.head.weight = nn.Parameter(net.head.weight.data.to_sparse())\n"
        "    return net", "sparse",
    ),
    "complex weights": built(
        "def make():\n    net = Net(); net.head = nn.Linear(8, 4, dtype=torch.cfloat)\n    return net",
        "complex",
    ),
    "complex numbers out": odd("return torch.fft.fft(super().forward(x))", "complex", words=GOOD),
    "weights on no device": built("make = lambda: Net().to('meta')", "meta"),
    "weights that are not there yet": built(
        "make = lambda: nn.Sequential(nn.LazyConv2d(8, 3), nn.Flatten(), nn.LazyLinear(4))", "lazy"
    ),
    "a script": built("make = lambda: torch.jit.script(Net())", "script"),
    "a traced script": built(
        "make = lambda: torch.jit.trace(Net().eval(), torch.randn(2, 3, 32, 32))", "script"
    ),
    "no module": built("make = lambda: {'a': 1}", "dict"),
    "a function with arguments": built("def make(width): return Net()", "width"),
    "a function that fails": built("def make(): raise OSError('gone')", "gone"),
    "a syntax error": built("def make(: pass", "net.py", "line 14"),
    "no such function": built("make = Net", "other", words="inspect --model net.py:other"),
    "no such file": built("make = Net", "none.py", words="inspect --model none.py:make"),
    "a detector with its boxes": Case(
        "inspect --model torchvision/ssdlite320_mobilenet_v3_large", ("backbone",)
    ),
    "nan weights": built("make = Net", "nan", words=f"{PRUNE} net.py:make --weights nan.pth"),
    "weights that are code": built("make = Net", "code.pth", words=f"{PRUNE} net.py:make --weights code.pth"),
    "weights of another network": built(
        "make = Net", "other.pth", words=f"{PRUNE} net.py:make --weights other.pth"
    ),
    "arrays of another shape": built(
        "make = Net", "x.npy", words=f"{PRUNE} net.py:make --weights good.pth --shape 1x48x48"
    ),
    "two inputs": built(
        "class Odd(Net):\n    def forward(self, x, y): return super().forward(x + y)\nmake = Odd",
        "x.npy", "'y'", words=GOOD,
    ),
    "a dataclass out": odd(
        "return O(super().forward(x))", "returns a O",
        init="import dataclasses; globals()['O'] = dataclasses.make_dataclass('O', ['y'])",
    ),
    "a generator out": odd("return (y for y in super(Odd, self).forward(x))", "returns a generator"),
    "300 outputs": odd("return [super(Odd, self).forward(x) * i for i in range(300)]", "300", words=GOOD),
    "its input as it is": odd("return x", "nothing to prune", words=GOOD),
    "fewer examples out than in": odd("return super().forward(x)[:1]", "batch", words=GOOD),
    "all examples as one": odd("return super().forward(x).mean(0)", "batch", words=GOOD),
    "one example sees the others": odd(
        "y = super().forward(x)\n        return y - y.mean(0)", "those beside it", words=GOOD
    ),
    "statistics of the batch": odd(
        "return super().forward(self.norm(x))", "those beside it", words=GOOD,
        init="self.norm = nn.BatchNorm2d(3, affine=False, track_running_stats=False)",
    ),
    "weights changed in the forward": odd(
        "self.a.weight.data.mul_(0.5); return super().forward(x)", "for the same input", words=GOOD
    ),
    "an operator of its own": built(
        "@torch.library.custom_op('me::twice', mutates_args=())\n"
        "def twice(x: torch.Tensor) -> torch.Tensor: return x * 2\n"
        "class Odd(Net):\n    def forward(self, x): return twice(super().forward(x))\nmake = Odd",
        "me::twice", "register_fake", words=GOOD,
    ),
    "a card that is not there": odd("return super().forward(x.cuda())", "NVIDIA", words=GOOD),
    "layers made in the forward": odd(
        "self.late = self.late or nn.Linear(4, 4)\n        return self.late(super().forward(x))",
        "late", init="self.late = None", words=GOOD,
    ),
    "a forward that leaves": odd("import sys; sys.exit(3)", "3", words=GOOD),
    "a file that leaves": built("raise SystemExit(3)", "SystemExit", "mend net.py", words=GOOD),
    "without a forward": built("class Odd(nn.Module):\n    pass\nmake = Odd", "forward"),
    "a class that wants words": built(
        "class Odd(Net):\n    def __init__(self, depth): pass\nmake = Odd", "depth"
    ),
    "a name with control signs": built(
        "def make(): raise ValueError('\\x1b[2Jgone\\nagain')", "gone again"
    ),
    "no super().__init__": built(
        "class Odd(nn.Module):\n    def __init__(self): self.a = nn.Conv2d(3, 4, 3)\nmake = Odd", "__init__"
    ),
    "a recursion": odd("return self.forward(x)", "recursion", words=GOOD),
    "out of memory": odd(
        "return super().forward(x) + torch.zeros(1 << 44).sum()", "allocate memory", words=GOOD
    ),
    "weights of a pickled module": built(
        "make = Net", "module.pth", "state_dict", words=f"{PRUNE} net.py:make --weights module.pth"
    ),
    "weights that are a text": built(
        "make = Net", "text.pth", "state_dict", words=f"{PRUNE} net.py:make --weights text.pth"
    ),
    "weights in a folder": built("make = Net", "folder", words=f"{PRUNE} net.py:make --weights folder"),
    "answers that are all the same": built(
        "class Same(Net):\n    def forward(self, x): return super().forward(x) * 0 + 1\nmake = Same",
        "all the same",
        words=f"{PRUNE} net.py:make --weights good.pth --round-to 1",
    ),
}  # fmt: skip


IMAGES = f"{GOOD.replace('--images x.npy ', '')} --images"


def given(function: str, *named: str, words: str = "f.py:f") -> Case:
    """Batches of a user's function, or arrays of a file, for a sound network."""
    return Case(f"{IMAGES} {words}", named, "make = Net", images=function)


ARRAYS = {
    "none": given("def f(): return None", "f.py:f"),
    "a text": given("def f(): return 'a cat'", "batches"),
    "no batch at all": given("def f():\n    return\n    yield", "batches"),
    "an empty batch": given("def f(): yield torch.zeros(0, 3, 32, 32)", "batches"),
    "batches of two shapes": given(
        "def f():\n    yield torch.rand(40, 3, 32, 32)\n    yield torch.rand(40, 3, 16, 16)",
        "batches",
    ),
    "batches of two kinds": given(
        "def f():\n    yield torch.rand(40, 3, 32, 32)\n    yield {'x': torch.rand(40, 3, 32, 32)}",
        "batches",
    ),
    "one that fails in the middle": given(
        "def f():\n    yield torch.rand(40, 3, 32, 32)\n    raise OSError('disk gone')", "disk gone"
    ),
    "one that wants words": given("def f(n): yield torch.rand(n, 3, 32, 32)", "'n'"),
    "one that leaves": given("def f(): import sys; sys.exit(4)", "SystemExit"),
    "no such": given("g = 3", "no function f"),
    "too few": given("def f(): yield torch.rand(3, 3, 32, 32)", "3 calibration images"),
    "not a number in one": given("def f(): yield torch.full((80, 3, 32, 32), float('nan'))", "NaN"),
    "another count of channels": given(
        "def f(): yield torch.rand(80, 4, 32, 32)", "[N, 4, 32, 32]"
    ),
    "another rank": given("def f(): yield torch.rand(80, 32)", "[N, 32]"),
    "complex": given("def f(): yield torch.rand(80, 3, 32, 32, dtype=torch.cfloat)", "complex"),
    "two inputs for one": given(
        "def f(): yield (torch.rand(80, 3, 32, 32), torch.rand(80, 3, 32, 32))", "f.py:f"
    ),
    "another keyword": given("def f(): yield {'pixels': torch.rand(80, 3, 32, 32)}", "pixels"),
    "a file that is not there": given("", "no such file", words="gone.npy"),
    "a folder that is not there": given("", "no such folder", words="gone"),
    "a folder without images": given("", "no images", words="folder"),
    "images that are none": given("", "not an image", words="broken"),
    "a text for arrays": given("", "not readable", words="text.npy"),
    "a pickle for arrays": given("", "not readable", words="pickle.npy"),
    "words for arrays": given("", "numbers", words="words.npy"),
    "arrays of rank 2": given("", "[N, 32]", words="flat.npy"),
    "an archive without arrays": given("", "no array", words="empty.npz"),
    "arrays of unlike length": given("", "length", words="unlike.npz"),
    "not a number in an array": given("", "NaN", words="nan.npy"),
}


# -- files -----------------------------------------------------------------------------------------


def floats(name: str, *shape: int, value: float = 0.1) -> TensorProto:
    return numpy_helper.from_array(np.full(shape, value, np.float32), name)


def whole(name: str, *numbers: int) -> TensorProto:
    return numpy_helper.from_array(np.array(numbers, np.int64), name)


def node(operator: str, *inputs: str, **attributes: Any) -> Any:
    return helper.make_node(operator, list(inputs), ["y"], name="odd", **attributes)


def one(nodes: list[Any], held: Any = (), *, element: int = 1, opset: int = 18) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes, "one", [helper.make_tensor_value_info("x", element, ["N", 3, 32, 32])],
        [helper.make_tensor_value_info("y", 1, [None, None, None, None])], list(held),
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


WEIGHT = floats("w", 8, 3, 3, 3)
CONV = node("Conv", "x", "w", pads=[1] * 4)


def quantised() -> onnx.ModelProto:
    held = [numpy_helper.from_array(np.float32(0.1), "s"), numpy_helper.from_array(np.int8(0), "z")]
    first = helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], name="quantise")
    return one([first, node("DequantizeLinear", "q", "s", "z")], held)


def branches() -> onnx.ModelProto:
    inner = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["z"])], "inner", [],
        [helper.make_tensor_value_info("z", 1, [None] * 4)],
    )  # fmt: skip
    held = [numpy_helper.from_array(np.array(True), "yes")]
    return one([node("If", "yes", then_branch=inner, else_branch=inner)], held)


def suppressing() -> onnx.ModelProto:
    model = one([node("NonMaxSuppression", "b", "c")], [floats("b", 1, 9, 4), floats("c", 1, 2, 9)])
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    return model


def runtimes_own() -> onnx.ModelProto:
    model = one([node("FusedConv", "x", "w", domain="com.microsoft")], [WEIGHT])
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return model


def laughing() -> onnx.ModelProto:
    make, own = helper.make_node, [helper.make_opsetid("", 18), helper.make_opsetid("me", 1)]
    model = one([node("F0", "x", domain="me")])
    model.opset_import.append(own[1])
    for i in range(40):
        twice = [make(f"F{i + 1}", ["x"], ["a"], domain="me"),
                 make(f"F{i + 1}", ["a"], ["y"], domain="me")]  # fmt: skip
        model.functions.append(helper.make_function("me", f"F{i}", ["x"], ["y"], twice, own))
    model.functions.append(
        helper.make_function("me", "F40", ["x"], ["y"], [node("Relu", "x")], own)
    )
    return model


def beside(location: str) -> onnx.ModelProto:
    model = one([CONV], [WEIGHT])
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return model


def cut_short(folder: Path) -> None:
    (folder / "net.onnx").write_bytes(one([CONV], [WEIGHT]).SerializeToString()[:-99])


def ports(inputs: list[Any], outputs: list[Any], *nodes: Any) -> onnx.ModelProto:
    """Any inputs and outputs: ``("x", 1, shape)``."""
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        list(nodes), "ports", [info(*v) for v in inputs], [info(*v) for v in outputs]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def changed(change: Callable[[onnx.ModelProto], Any]) -> Callable[[], onnx.ModelProto]:
    """A sound file of one convolution, changed."""

    def make() -> onnx.ModelProto:
        model = one([CONV], [WEIGHT])
        change(model)
        return model

    return make


def circle() -> onnx.ModelProto:
    make = helper.make_node
    return one(
        [make("Add", ["x", "b"], ["a"]), make("Relu", ["a"], ["b"]), make("Relu", ["b"], ["y"])]
    )


def trained() -> onnx.ModelProto:
    held = [WEIGHT, *(floats(n, 8) for n in "smbv")]
    norm = helper.make_node(
        "BatchNormalization",
        ["c", "s", "b", "m", "v"],
        ["y", "m2", "v2"],
        name="odd",
        training_mode=1,
    )
    return one([helper.make_node("Conv", ["x", "w"], ["c"], pads=[1] * 4), norm], held)


def looped() -> onnx.ModelProto:
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["c2"]), helper.make_node("Relu", ["v"], ["v2"])], "body",
        [helper.make_tensor_value_info("i", 7, []), helper.make_tensor_value_info("c", 9, []),
         helper.make_tensor_value_info("v", 1, None)],
        [helper.make_tensor_value_info("c2", 9, []), helper.make_tensor_value_info("v2", 1, None)],
    )  # fmt: skip
    held = [whole("n", 3), numpy_helper.from_array(np.array(True), "yes")]
    return one([node("Loop", "n", "yes", "x", body=body)], held)


def set_(name: str, value: Any) -> Callable[[onnx.ModelProto], Any]:
    return lambda m: setattr(m.graph.initializer[0], name, value)


FILES: dict[str, tuple[Callable[[], onnx.ModelProto], tuple[str, ...]]] = {
    "quantised": (quantised, ("quantised", "float network")),
    "branches": (branches, ("If",)),
    "boxes chosen": (suppressing, ("NonMaxSuppression", "backbone")),
    "sequences": (
        lambda: one([helper.make_node("SequenceConstruct", ["x"], ["s"], name="odd"),
                     helper.make_node("ConcatFromSequence", ["s"], ["y"], axis=0)]),
        ("SequenceConstruct", "sequences"),
    ),
    "an operator that is not read": (lambda: one([node("Det", "x")]), ("Det",)),
    "a runtime's operator": (runtimes_own, ("com.microsoft.FusedConv",)),
    "weights beside it that are gone": (lambda: beside("gone.data"), ("gone.data",)),
    "weights elsewhere": (lambda: beside("../../etc/passwd"), ("outside",)),
    "functions without end": (laughing, ("1,099,511,627,776 nodes",)),
    "an old opset": (lambda: one([CONV], [WEIGHT], opset=5), ("opset 5",)),
    "a text goes in": (lambda: one([node("Relu", "x")], element=8), ("x", "type")),
    "sizes from data": (
        lambda: one([helper.make_node("Cast", ["x"], ["s"], to=7), node("Reshape", "x", "s")]),
        ("takes sizes from the numbers of",),
    ),
    "groups that do not divide": (
        lambda: one([node("Conv", "x", "w", group=2)], [WEIGHT]), ("2 groups",)
    ),
    "a huge tensor": (
        lambda: one([node("ConstantOfShape", "s")], [whole("s", 1 << 20, 1 << 20)]), ("1048576 x",)
    ),
    "no layer to prune": (lambda: one([node("Relu", "x")]), ("net.onnx",)),
    "a circle": (circle, ("net.onnx",)),
    "a weight that is not there": (lambda: one([CONV]), ("w",)),
    "a loop": (looped, ("Loop",)),
    "norms in training": (trained, ("BatchNormalization", "odd")),
    "chance": (lambda: one([node("RandomNormalLike", "x")]), ("RandomNormalLike",)),
    "dropout in training": (
        lambda: one([node("Dropout", "x", "r", "t")],
                    [numpy_helper.from_array(np.float32(0.5), "r"),
                     numpy_helper.from_array(np.array(True), "t")]),
        ("Dropout",),
    ),
    "places where it is not zero": (lambda: one([node("NonZero", "x")]), ("NonZero",)),
    "quantised convolution": (
        lambda: one([node("ConvInteger", "x", "w")], [WEIGHT]), ("ConvInteger", "float network"),
    ),
    "a later opset": (lambda: one([CONV], [WEIGHT], opset=99), ("opset 99",)),
    "a weight of negative size": (changed(lambda m: m.graph.initializer[0].dims.__setitem__(0, -8)), ("w",)),
    "a weight of another size": (changed(lambda m: m.graph.initializer[0].dims.__setitem__(0, 9)), ("w",)),
    "a weight of a size without end": (
        changed(lambda m: m.graph.initializer[0].dims.__setitem__(0, 1 << 62)), ("w",)
    ),
    "a weight of no type": (changed(set_("data_type", 77)), ("net.onnx",)),
    "a weight of texts": (changed(set_("data_type", 8)), ("net.onnx",)),
    "a name twice": (
        changed(lambda m: m.graph.initializer.append(m.graph.initializer[0])), ("net.onnx",)
    ),
    "no output": (changed(lambda m: m.graph.ClearField("output")), ("net.onnx",)),
    "no input": (changed(lambda m: m.graph.ClearField("input")), ("net.onnx",)),
    "an output that nothing makes": (
        changed(lambda m: setattr(m.graph.output[0], "name", "z")), ("z",)
    ),
    "no opset": (changed(lambda m: m.ClearField("opset_import")), ("opset",)),
    "a huge axis": (
        changed(lambda m: setattr(
            m.graph.input[0].type.tensor_type.shape.dim[2], "dim_value", 1 << 40)), ("x",),
    ),
    "control signs in names": (
        changed(lambda m: setattr(m.graph.input[0], "name", "\x1b[2J\n../../x")), ("net.onnx",)
    ),
    "two inputs and one array": (
        lambda: ports([("a", 1, ["N", 3, 8, 8]), ("b", 1, ["N", 3, 8, 8])], [("y", 1, [None] * 4)],
                      helper.make_node("Add", ["a", "b"], ["y"])),
        ("x.npy",),
    ),
    "another size": (
        lambda: ports([("x", 1, ["N", 3, 8, 8])], [("y", 1, None)], node("Flatten", "x"),
                      ), ("net.onnx",),
    ),
    "a batch of its own": (
        lambda: ports([("x", 1, [1, 3, 32, 32])], [("y", 1, None)],
                      helper.make_node("Reshape", ["x", "s"], ["y"])), ("s",),
    ),
    "nan weights": (lambda: one([CONV], [floats("w", 8, 3, 3, 3, value=float("nan"))]), ("NaN",)),
}  # fmt: skip


def cases() -> dict[str, Case]:
    found = {f"module: {name}": case for name, case in MODULES.items()}
    found |= {f"arrays: {name}": case for name, case in ARRAYS.items()}
    for name, (make, named) in FILES.items():
        found[f"file: {name}"] = Case(
            f"{PRUNE} net.onnx", named, make=lambda f, make=make: onnx.save(make(), f / "net.onnx")
        )
    found["file: cut short"] = Case(f"{PRUNE} net.onnx", ("cut short",), make=cut_short)
    found["file: empty"] = Case(
        f"{PRUNE} net.onnx", ("no ONNX",), make=lambda f: (f / "net.onnx").touch()
    )
    found["file: a folder"] = Case(
        f"{PRUNE} net.onnx", ("net.onnx",), make=lambda f: (f / "net.onnx").mkdir()
    )
    found["file: none"] = Case(f"{PRUNE} gone.onnx", ("no such file", "gone.onnx"))
    found["file: a link to itself"] = Case(
        f"{PRUNE} net.onnx", ("net.onnx",), make=lambda f: (f / "net.onnx").symlink_to("net.onnx")
    )
    for command in ("export", "bench", "doctor", "cost --model", "inspect --model"):
        found[f"file: cut short, {command}"] = Case(
            f"{command} net.onnx", ("net.onnx",), make=cut_short
        )
    found["file: no ONNX"] = Case(
        f"{PRUNE} net.onnx", ("no ONNX",), make=lambda f: (f / "net.onnx").write_text("a text")
    )
    return found


# -- running ---------------------------------------------------------------------------------------


def prepare(folder: Path, case: Case) -> None:
    import torch

    (folder / "net.py").write_text(NETWORK + case.python)
    rng = np.random.default_rng(0)
    np.save(folder / "x.npy", rng.normal(0, 1, (80, 3, 32, 32)).astype(np.float32))
    scope: dict[str, Any] = {}
    exec(NETWORK, scope)
    state = scope["Net"]().state_dict()
    torch.save(state, folder / "good.pth")
    torch.save({k: v * float("nan") for k, v in state.items()}, folder / "nan.pth")
    torch.save(torch.nn.Linear(9, 9).state_dict(), folder / "other.pth")
    torch.save(os.path.join, folder / "code.pth")  # a pickle that names a function
    torch.save(torch.nn.Linear(9, 9), folder / "module.pth")
    (folder / "text.pth").write_text("a text")
    (folder / "f.py").write_text(f"import torch\n{case.images}\n")
    (folder / "folder").mkdir()
    (folder / "folder" / "a.txt").write_text("a text")
    (folder / "broken").mkdir()
    for i in range(9):
        (folder / "broken" / f"{i}.jpg").write_bytes(b"no image")
    (folder / "text.npy").write_text("a text")
    np.save(folder / "pickle.npy", np.array([{}, []], object), allow_pickle=True)
    np.save(folder / "words.npy", np.array(["a", "b"]))
    np.save(folder / "flat.npy", np.zeros((80, 32), np.float32))
    np.save(folder / "nan.npy", np.full((80, 3, 32, 32), np.nan, np.float32))
    np.savez(folder / "empty.npz")
    np.savez(folder / "unlike.npz", x=np.zeros((80, 3, 32, 32)), y=np.zeros((9, 4)))
    if case.make is not None:
        case.make(folder)


def held(folder: Path) -> list[str]:
    return sorted(
        str(p.relative_to(folder)) for p in folder.rglob("*") if "__pycache__" not in p.parts
    )


def typed(words: list[str], folder: Path) -> tuple[int, str, str]:
    """The exit code, stdout and stderr of these words in a process of their own; -9 after LONG seconds."""
    import time

    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        if not (child := os.fork()):
            code = 99
            try:
                os.chdir(folder)
                os.dup2(out.fileno(), 1)
                os.dup2(err.fileno(), 2)
                sys.argv = ["edgeprune", *words]
                code = errors.run(app.app, words)
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        until = time.monotonic() + LONG
        while not (ended := os.waitpid(child, os.WNOHANG))[0]:
            time.sleep(0.05)
            if time.monotonic() > until:
                os.kill(child, 9)
        texts = []
        for stream in (out, err):
            stream.seek(0)
            texts.append(stream.read().decode(errors="replace"))
        return os.waitstatus_to_exitcode(ended[1]), texts[0], texts[1]


def run(case: Case) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="edgeprune-refusals-") as name:
        folder = Path(name)
        prepare(folder, case)
        before = held(folder)
        code, out, err = typed(case.words.split(), folder)
        more = sorted(set(held(folder)) - set(before))
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    said = lines[0].removeprefix("error: ") if lines else err.strip()[-300:]
    wrong = [
        word
        for word, bad in (
            (f"ends with {code}", code != 2),
            (f"{len(lines)} lines", len(lines) != 1),
            ("no remedy", " — " not in said),
            ("long", len(said) > LONGEST),
            ("a fault of edgeprune", "fault of edgeprune" in said or "Traceback" in err),
            (f"does not say {', '.join(case.named)}", not all(n in said for n in case.named)),
            ("prints", bool(out.strip())),
            (f"writes {', '.join(more[:3])}", bool(more)),
        )
        if bad
    ]
    return {"words": case.words, "said": said.replace(name, "..."), "wrong": wrong}


def main(words: list[str]) -> None:
    path = RESULTS / "refusals.jsonl"
    known = {row["name"] for row in rows()}
    for name, case in cases().items():
        if words[:1] == ["table"] or (name not in words and (words or name in known)):
            continue
        row = {"name": name} | run(case)
        files.append_line(path, row)
        print(name, "|", row["said"], "|", row["wrong"] or "right", flush=True)
    table()


def rows() -> list[dict[str, Any]]:
    """The last line of each case that there is still."""
    path, there = RESULTS / "refusals.jsonl", cases()
    found = files.read_lines(path) if path.is_file() else []
    last = {row["name"]: row for row in found}
    return [last[name] for name in there if name in last]


def table() -> None:
    found = rows()
    right = sum(not row["wrong"] for row in found)
    said = [
        "# What is refused, and in which words", "",
        f"`python benchmarks/refusals.py`: {len(found)} odd modules, arrays, files through the command line, "
        f"{right} of them refused with one line that names the thing and the remedy, exit code 2, nothing "
        "printed or written.", "",
        "| odd | command | line | |", "| :-- | :-- | :-- | :-- |",
        *(
            f"| {row['name']} | `{row['words']}` | {row['said'].replace('|', '/')} | "
            f"{', '.join(row['wrong']) or 'right'} |"
            for row in found
        ),
    ]  # fmt: skip
    files.write_text(RESULTS / "refusals.md", "\n".join(said) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
