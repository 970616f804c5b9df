"""From a float file to int8: what onnxruntime then gives, and what the file keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from edgeprune import export, quantise
from edgeprune.errors import EdgepruneError
from edgeprune.export import parity
from tests.tiny_onnx import conv_net, save

EXAMPLES = [torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(i)) for i in range(8)]


def answers(path: Path, x: torch.Tensor) -> np.ndarray:
    return parity.run_on(parity.session(path, 1), x)[0]


def made(source: Path, path: Path, method: str = quantise.USUAL) -> onnx.ModelProto:
    quantise.save(quantise.of_file(source, EXAMPLES, method).proto, path, {"more": "yes"})
    return onnx.load(path)


def kept(source: Path, path: Path) -> float:
    """Share of the float outputs' variance, on other examples."""
    x = torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(99))
    a, b = answers(source, x), answers(path, x)
    return 1 - float(np.square(a - b).sum() / np.square(a - a.mean(0)).sum())


@pytest.mark.parametrize("method", quantise.RANGES)
def test_it_gives_what_the_float_file_gives(method: str, tmp_path: Path) -> None:
    source = save(tmp_path / "f.onnx", made_by="hand")
    proto = made(source, tmp_path / "q.onnx", method)
    assert kept(source, tmp_path / "q.onnx") > 0.97
    weights = {t.name: t for t in proto.graph.initializer}
    assert weights["c.weight_quantized"].data_type == onnx.TensorProto.INT8
    assert len(numpy_helper.to_array(weights["c.weight_scale"])) == 8  # one a filter
    assert {p.key: p.value for p in proto.metadata_props} == {"made_by": "hand", "more": "yes"}
    assert [n.name for n in proto.graph.input] == ["images"]
    assert proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"
    assert answers(tmp_path / "q.onnx", EXAMPLES[0][:3]).shape == (3, 4)
    assert onnx.load(source).graph == conv_net().graph  # left as it was


def test_filters_of_different_size_have_their_own_steps(tmp_path: Path) -> None:
    net = conv_net()
    weight = next(t for t in net.graph.initializer if t.name == "c.weight")
    large = numpy_helper.to_array(weight) * np.logspace(0, 4, 8)[:, None, None, None]
    weight.CopyFrom(numpy_helper.from_array(large.astype(np.float32), "c.weight"))
    prepared = quantise.prepared(save(tmp_path / "f.onnx", net))
    seen = quantise.observe(prepared, EXAMPLES)
    proto = quantise.quantised(prepared, {n: quantise.RANGES["minmax"](s) for n, s in seen.items()})
    held = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    steps = held["c.weight_scale"].reshape(-1, 1, 1, 1)
    error = np.abs(held["c.weight_quantized"] * steps - large).max(axis=(1, 2, 3))
    assert (error <= 0.51 * steps.reshape(-1)).all()
    largest = np.abs(large).max(axis=(1, 2, 3)) / 127
    assert (steps.reshape(-1) <= 2 * largest).all()  # one's own, not the largest filter's


def test_an_older_opset_goes_up_to_what_int8_needs(tmp_path: Path) -> None:
    source = save(tmp_path / "f.onnx", conv_net(opset=11), made_by="hand")
    proto = made(source, tmp_path / "q.onnx")
    assert proto.opset_import[0].version == 13
    assert {p.key for p in proto.metadata_props} == {"made_by", "more"}
    assert kept(source, tmp_path / "q.onnx") > 0.99


def refused(source: Path, examples: Any = EXAMPLES) -> str:
    with pytest.raises(EdgepruneError) as e:
        quantise.of_file(source, examples)
    return str(e.value)


def test_what_cannot_be_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = save(tmp_path / "f.onnx")
    assert "no examples" in refused(source, [])
    assert "NaN" in refused(source, [EXAMPLES[0] * float("nan")])
    odd = [torch.zeros(2, 3, 9, 9), torch.zeros(2, 5)]
    assert "the network fails on the examples" in refused(source, odd)
    with pytest.raises(EdgepruneError, match="onnxruntime fails on the examples"):
        quantise.of_file(source, odd, "minmax")
    made(source, tmp_path / "q.onnx")
    assert "is quantised already (DequantizeLinear)" in refused(tmp_path / "q.onnx")
    net = conv_net()
    del net.graph.node[1:]
    net.graph.node[0].op_type, net.graph.node[0].input[1:] = "Relu", []
    del net.graph.node[0].attribute[:], net.graph.initializer[:]
    net.graph.node[0].output[0] = "logits"
    assert "no convolution" in refused(save(tmp_path / "relu.onnx", net))
    with pytest.raises(EdgepruneError, match="mse"):
        quantise.of_file(source, EXAMPLES, "mes")

    def cannot(*_: object) -> None:
        raise RuntimeError("no adapter")

    monkeypatch.setattr(onnx.version_converter, "convert_version", cannot)
    assert "edgeprune export --opset 18" in refused(save(tmp_path / "o.onnx", conv_net(opset=11)))


def test_maps_are_looked_at_from_end_to_end(tmp_path: Path) -> None:
    """A value that occurs once among all examples is the end of its tensor's range."""
    few = [x.clone() for x in EXAMPLES]
    few[5][2, 1, 3, 3] = 40.0
    proto = quantise.prepared(save(tmp_path / "f.onnx"))
    found = quantise.observe(proto, few)
    assert found["images"].high == 40.0
    assert found["images"].low == pytest.approx(min(float(x.min()) for x in few))
    assert set(found) == {"images", "c", "r", "p", "f", "logits"}


class Gated(torch.nn.Module):
    """What EfficientNet and MobileNetV3 have and ReLU networks do not: SiLU, hard-swish, a gate."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = torch.nn.Conv2d(3, 8, 3, padding=1)
        self.deep = torch.nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.squeeze = torch.nn.Conv2d(8, 4, 1)
        self.excite = torch.nn.Conv2d(4, 8, 1)
        self.head = torch.nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.nn.functional.silu(self.stem(x))
        x = torch.nn.functional.hardswish(self.deep(x))
        gate = self.excite(torch.relu(self.squeeze(x.mean((2, 3), keepdim=True))))
        x = x * torch.nn.functional.hardsigmoid(gate)
        return self.head(x.amax((2, 3)))


@pytest.mark.parametrize("opset", [18, 21])
def test_networks_with_gates_and_swish(opset: int, tmp_path: Path) -> None:
    source = tmp_path / "f.onnx"
    export(Gated().eval(), source, [EXAMPLES[0]], opset=opset)
    made = quantise.of_file(source, EXAMPLES)
    assert made.note == ""  # every layer was repaired
    quantise.save(made.proto, tmp_path / "q.onnx")
    assert kept(source, tmp_path / "q.onnx") > 0.97
