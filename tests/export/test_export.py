"""The file gives what the network gives, its names lead back to the layers, or there is no file."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeprune import export
from edgeprune.errors import EdgepruneError
from edgeprune.export import parity
from edgeprune.records import Convention, plain

CONVENTION = Convention(size=16)
CLASSES = ["ant", "bee", 'Käfer "x"']


class Block(nn.Module):
    """Depthwise and pointwise with batch norm, functional activations, a residual and a gate."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dw = nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False)
        self.bn = nn.BatchNorm2d(width)
        self.pw = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + F.relu6(self.bn(self.dw(x))) * torch.sigmoid(self.pw(x))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2), Block(8)
        )
        self.classifier = nn.Sequential(
            nn.Linear(8, 6), nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, len(CLASSES))
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean((2, 3)))


def network() -> Net:
    torch.manual_seed(0)
    net = Net()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    return net


def images(n: int) -> Tensor:
    return torch.randn(n, 3, 16, 16, generator=torch.Generator().manual_seed(n))


def write(net: nn.Module, path: Path, **more: object) -> export.Exported:
    given: dict[str, object] = {
        "real": export.Real(images(9)),
        "card": export.Card(
            CONVENTION, CLASSES, {"edgeprune.network": "dense", "edgeprune.flops": "7"}
        ),
    }  # fmt: skip
    return export.write(net, path, **(given | more))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[export.Exported, onnx.ModelProto]:
    path = tmp_path_factory.mktemp("export") / "net.onnx"
    batches = [(images(8), torch.zeros(8, dtype=torch.long)), (images(3), torch.ones(3).long())]
    done = write(network(), path, real=export.Real(images(9), batches))
    return done, onnx.load(path)


def test_one_whole_file_with_open_batch(
    written: tuple[export.Exported, onnx.ModelProto],
) -> None:
    done, model = written
    assert [p.name for p in done.path.parent.iterdir()] == ["net.onnx"]
    onnx.checker.check_model(model, full_check=True)
    (given,), (made,) = model.graph.input, model.graph.output
    sides = [d.dim_param or d.dim_value for d in given.type.tensor_type.shape.dim]
    assert (given.name, sides) == ("images", ["N", 3, 16, 16])
    sides = [d.dim_param or d.dim_value for d in made.type.tensor_type.shape.dim]
    assert (made.name, sides) == ("logits", ["N", 3])
    assert [o.version for o in model.opset_import if o.domain == ""] == [18]
    assert model.ir_version == 8
    running = parity.session(done.path, threads=1)
    net = network().eval()
    for n in (1, 2, 7):
        got = running.run(None, {"images": images(n).numpy()})[0]
        np.testing.assert_allclose(got, net(images(n)).detach(), rtol=1e-4, atol=1e-5)


def test_what_it_found(written: tuple[export.Exported, onnx.ModelProto]) -> None:
    done, _ = written
    assert done.parity.images == 11
    assert 0 <= done.parity.difference <= parity.TOLERANCE
    assert done.parity.torch_correct == done.parity.onnx_correct
    assert json.loads(json.dumps(plain(done)))["bytes"] == done.path.stat().st_size


def test_metadata(written: tuple[export.Exported, onnx.ModelProto]) -> None:
    _, model = written
    found = {p.key: p.value for p in model.metadata_props}
    assert Convention.from_json(json.loads(found["edgeprune.input"])) == CONVENTION
    assert json.loads(found["edgeprune.classes"]) == CLASSES
    assert found["edgeprune.network"] == "dense"
    assert found["edgeprune.flops"] == "7"
    text = model.SerializeToString()
    assert b"stack_trace" not in text
    assert __file__.encode() not in text


def test_names_lead_back_to_the_layers(written: tuple[export.Exported, onnx.ModelProto]) -> None:
    _, model = written
    by_layer: dict[str, list[str]] = {}
    for node in model.graph.node:
        assert node.output[0] in (node.name, "logits")
        by_layer.setdefault(export.layer_of(node.name), []).append(node.op_type)
    assert by_layer["features.0"] == ["Conv", "Relu"]
    assert by_layer["features.3.dw"] == ["Conv", "Clip"]
    assert by_layer["features.3.pw"] == ["Conv", "Sigmoid"]
    assert by_layer["classifier.0"] == ["Gemm", "Relu"]
    assert by_layer["classifier.3"] == ["Gemm"]
    assert "MaxPool" in by_layer["features.2"]


def test_rows_of_the_runtimes_profile_lead_back_too(
    written: tuple[export.Exported, onnx.ModelProto], tmp_path: Path
) -> None:
    import onnxruntime

    done, _ = written
    options = onnxruntime.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(tmp_path / "p")
    running = onnxruntime.InferenceSession(done.path, options)
    running.run(None, {"images": images(1).numpy()})
    rows = json.loads(Path(running.end_profiling()).read_text())
    kernels = [
        (r["name"].removesuffix("_kernel_time"), r["args"]["op_name"])
        for r in rows
        if r["cat"] == "Node" and r["name"].endswith("_kernel_time")
    ]
    layers = {export.layer_of(name) for name, kind in kernels if "Conv" in kind}
    assert layers == {"features.0", "features.3.dw", "features.3.pw"}


def test_a_graph_module_keeps_its_names_and_its_state(tmp_path: Path) -> None:
    net = network().eval()
    shapes = ({0: torch.export.Dim.DYNAMIC},)
    graph = torch.export.export(net, (images(2),), dynamic_shapes=shapes).module()
    done = write(graph, tmp_path / "g.onnx")
    layers = {export.layer_of(n.name) for n in onnx.load(done.path).graph.node}
    assert {"features.0", "features.3.dw", "features.3.pw", "classifier.0"} <= layers


def test_the_network_is_left_as_it_was(tmp_path: Path) -> None:
    net = network().train()
    net.features[3].eval()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    modes = [m.training for m in net.modules()]
    write(net, tmp_path / "x.onnx")
    assert [m.training for m in net.modules()] == modes
    for key, value in net.state_dict().items():
        assert torch.equal(value, before[key])


class Lying(nn.Module):
    """Gives other logits when it runs than what is exported."""

    def __init__(self, shift: float) -> None:
        super().__init__()
        self.net = network()
        self.shift = shift

    def forward(self, x: Tensor) -> Tensor:
        y = self.net(x)
        return y + self.shift if type(x) is Tensor else y


def test_beyond_tolerance_no_file_is_left(tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(b"an older export")
    with pytest.raises(EdgepruneError, match="torch and onnxruntime differ"):
        write(Lying(1e-2), path)
    assert list(tmp_path.iterdir()) == []


def test_a_batch_that_is_baked_in_is_refused(tmp_path: Path) -> None:
    class Baked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = network()

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x).reshape(2, 3)

    with pytest.raises(EdgepruneError) as e:
        write(Baked(), tmp_path / "x.onnx")
    assert "\n" not in str(e.value)
    assert list(tmp_path.iterdir()) == []


def test_logits_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    net = network()
    net.classifier[3].bias.data[0] = float("nan")
    with pytest.raises(EdgepruneError, match="not finite"):
        write(net, tmp_path / "x.onnx")


def test_too_few_samples(tmp_path: Path) -> None:
    with pytest.raises(EdgepruneError, match="needs 4 images"):
        write(network(), tmp_path / "x.onnx", real=export.Real(images(3)))


class Running:
    """A session that answers with what it is given, plus ``shift``."""

    def __init__(self, shift: list[float]) -> None:
        self.shift = np.array(shift, np.float32)

    def get_inputs(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(name="images")]

    def run(self, _: None, given: dict[str, np.ndarray]) -> list[np.ndarray]:
        return [given["images"] + self.shift]


@pytest.mark.parametrize(
    ("shift", "ties", "right"), [([2e-5, 0.0, 0.0], 1, 1), ([0.0, 0.0, 0.0], 0, 2)]
)
def test_ties_are_fair(
    shift: list[float], ties: int, right: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two logits closer together than the tolerance may change places; the tie is counted."""
    monkeypatch.setattr(parity, "session", lambda path: Running(shift))
    x = torch.tensor([[1.0, 1.0 + 1e-5, 0.0], [5.0, 1.0, 0.0]])
    real = export.Real(x[:0], [(x, torch.tensor([1, 0]))])
    found = parity.check(nn.Identity(), Path("x"), real)
    assert (found.images, found.ties, found.torch_correct) == (2, ties, 2)
    assert found.onnx_correct == right


def test_another_class_is_refused_and_one_output_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parity, "session", lambda path: Running([0.0, 4.5, 0.0]))
    x = torch.tensor([[5.0, 1.0, 0.0]])
    with pytest.raises(EdgepruneError, match="differ"):
        parity.check(nn.Identity(), Path("x"), export.Real(x[:0], [(x, torch.tensor([0]))]))
    monkeypatch.setattr(parity, "session", lambda path: Running([0.0]))
    found = parity.check(nn.Identity(), Path("x"), export.Real(x[:0], [(x[:, :1], torch.zeros(1))]))
    assert (found.images, found.ties, found.onnx_correct) == (1, None, None)


def test_it_is_quiet(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing on stdout or stderr, not even from C++, and both work again afterwards."""
    write(network(), tmp_path / "x.onnx")
    print("after", flush=True)
    assert capfd.readouterr() == ("after\n", "")


@pytest.mark.parametrize(
    ("row", "layer"),
    [
        ("features.3.pw.conv/Relu_nchwc", "features.3.pw.conv"),
        ("features.0_nchwc", "features.0"),
        ("features.0", "features.0"),
        ("shared#2", "shared"),
        ("shared/Relu#2", "shared"),
        ("/MaxPool", ""),
    ],
)
def test_layer_of(row: str, layer: str) -> None:
    assert export.layer_of(row) == layer


def test_the_memory_layout_of_the_examples_leaves_no_trace(tmp_path: Path) -> None:
    """Pooling of a channels_last tensor ends in strides, which would be Range and Gather in the file."""
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)
    )  # fmt: skip
    real = export.Real(images(9).contiguous(memory_format=torch.channels_last))
    done = write(net, tmp_path / "net.onnx", real=real)
    found = [node.op_type for node in onnx.load(done.path).graph.node]
    assert found[:2] == ["Conv", "Relu"]
    assert not {"Shape", "Range", "Gather"} & set(found)


class Cancelling(nn.Module):
    """What is left of large numbers that cancel: float32 knows few of its digits."""

    def __init__(self, large: float = 1e4) -> None:
        super().__init__()
        self.large = large

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.large) - self.large


def judged(net: nn.Module, path: Path, x: Tensor, shift: float) -> parity.Parity:
    """As if onnxruntime gave what ``net`` gives in float64, ``shift`` further."""
    exact = net.double()(x.double()) + shift
    real = SimpleNamespace(
        get_inputs=lambda: [SimpleNamespace(name="x")],
        run=lambda _, feed: [exact[: len(feed["x"])].float().numpy()],
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parity, "session", lambda path: real)
        return parity.check(net.float(), path, export.Real(x[:0], [(x, None)]))


def test_a_difference_within_the_rounding_of_the_network_itself_is_none(tmp_path: Path) -> None:
    """Float64 decides: the file may be as far from it as float32 carries torch, and twice that."""
    x = images(2)
    found = judged(Cancelling(), tmp_path, x, 0.0)
    assert found.rounding is not None
    assert parity.TOLERANCE < found.difference == pytest.approx(found.rounding, rel=0.1)
    with pytest.raises(EdgepruneError, match=r"float32 itself explains 0\.0"):
        judged(Cancelling(), tmp_path, x, 3 * found.rounding * float(x.abs().max()))
    with pytest.raises(EdgepruneError, match="parity"):
        judged(nn.Identity(), tmp_path, x, 0.01)
    assert judged(nn.Identity(), tmp_path, x, 0.0).rounding is None


def test_one_lucky_batch_is_no_yardstick(tmp_path: Path) -> None:
    """Whole numbers cancel exactly: there torch is right by chance; the samples say how far it is else."""
    x, samples, shift = torch.arange(1.0, 9.0).reshape(2, 4), torch.rand(8, 4) * 8, 3e-3

    def file(_: object, given: Tensor) -> list[np.ndarray]:
        return [(given.double() + shift * (given is x)).float().numpy()]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parity, "run_on", file)
        patch.setattr(parity, "session", lambda path: None)
        found = parity.check(Cancelling(1e5), tmp_path, export.Real(samples, [(x, None)]))
        assert found.difference > parity.TOLERANCE
        assert found.rounding is not None
        with pytest.raises(EdgepruneError, match="parity"):
            parity.check(Cancelling(1e5), tmp_path, export.Real(samples[:0], [(x, None)]))


def test_whatever_its_rounding_a_file_is_never_off_by_a_hundredth() -> None:
    exact = torch.ones(3, dtype=torch.float64)
    with pytest.raises(EdgepruneError, match="parity"):
        parity.rounding("", torch.full((3,), 1.5), torch.full((3,), 1.02), exact, 0.5, 2)
    with pytest.raises(EdgepruneError, match=r"0\.0001 is allowed"):  # and without float64 none
        parity.rounding("", torch.ones(3), torch.full((3,), 1.001), None, 0.0, 2)
