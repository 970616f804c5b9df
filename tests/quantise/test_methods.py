"""What each step wins back, on networks that were made to need it; and what it must not change."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from edgeprune import export, quantise
from edgeprune.errors import EdgepruneError
from edgeprune.export import parity
from edgeprune.graph.operators import OPERATORS
from edgeprune.quantise import grid, make
from edgeprune.quantise.equalise import _largest, stretch, tied
from edgeprune.quantise.network import clipped, look, network, rounding, rounds
from edgeprune.quantise.ranges import minmax
from edgeprune.quantise.repair import STEPS
from edgeprune.quantise.sensitive import sensitive
from tests.quantise.nets import Narrow, answers, examples, file, kept, quantised


@pytest.fixture
def unequal(tmp_path: Path) -> Path:
    return file(Narrow(spread=100.0), tmp_path / "float.onnx")


def lost(source: Path, method: str) -> float:
    return 1 - kept(source, quantised(source, source.with_name("int8.onnx"), method))


def written(source: Path, step: str, name: str = "changed.onnx") -> Path:
    """The float file as a step leaves it."""
    found = network(quantise.prepared(source), examples())
    STEPS[step](found, minmax)
    quantise.save(found.written(), source.with_name(name))
    return source.with_name(name)


def test_equalisation_saves_a_network_of_unequal_channels(unequal: Path) -> None:
    assert lost(unequal, "minmax") > 0.04
    assert lost(unequal, "equalise+minmax") < 0.012


@pytest.mark.parametrize("clip", [None, 0.5])
def test_equalisation_gives_what_the_float_file_gives(clip: float | None, tmp_path: Path) -> None:
    source = file(Narrow(clip, spread=30.0), tmp_path / "float.onnx")
    changed = written(source, "equalise")
    for x in examples():  # those that were looked at
        np.testing.assert_allclose(answers(changed, x), answers(source, x), atol=2e-5)
    assert kept(source, changed) > 0.9999  # others
    before, after = (
        {t.name: numpy_helper.to_array(t) for t in onnx.load(p).graph.initializer}
        for p in (source, changed)
    )
    assert not np.allclose(before["deep.weight"], after["deep.weight"])


def test_a_channel_that_met_the_clip_is_left_alone_and_others_stay_below_it(tmp_path: Path) -> None:
    source = file(Narrow(0.5, spread=30.0), tmp_path / "float.onnx")
    found = network(quantise.prepared(source), examples())
    graph = found.whole
    clips = 0
    for each in tied(graph):
        largest = _largest(graph, each.maps, found.images.batches)
        s = stretch(graph, each, largest)
        assert (s >= 1).all()
        for m in each.maps:
            if clipped(m) is not None:
                met = largest[m.name] >= 0.45
                assert (s[met] == 1).all()
                assert (largest[m.name] * s)[~met].max() <= 0.4501
                clips += int(met.any()) + int((s[~met] > 2).any())
    assert clips >= 2  # both kinds of channels were there


def test_maps_are_tied_through_sums_and_clips_and_by_nothing_else(tmp_path: Path) -> None:
    found = network(quantise.prepared(file(Narrow(), tmp_path / "f.onnx")), examples(1))
    layers = {
        frozenset(m.layer for m in t.makers): frozenset(r.layer for r in t.readers)
        for t in tied(found.whole)
    }
    assert layers == {
        frozenset({"widen"}): frozenset({"deep"}),
        frozenset({"deep"}): frozenset({"narrow"}),
        frozenset({"stem", "narrow"}): frozenset({"widen", "last"}),
    }  # what `last` makes is read by a slice


def test_what_holds_8_bits(tmp_path: Path) -> None:
    found = network(quantise.prepared(file(Narrow(0.5), tmp_path / "f.onnx")), examples(1))
    nodes = list(found.whole.module.graph.nodes)
    inside = [n for n in nodes if any(clipped(u) for u in n.users)]
    assert len(inside) == 3
    assert not any(rounds(n) for n in inside)  # the clip's result is held instead
    assert all(rounds(u) for n in inside for u in n.users)
    assert [n.name for n in nodes if n.op == "placeholder" and rounds(n)]
    assert not any(rounds(n) for n in nodes if n.op == "get_attr")
    x = torch.linspace(-0.2, 0.7, 100)
    ends = {name: OPERATORS[name].clips for name in ("relu", "relu6", "hardtanh", "clamp")}
    assert ends["relu"](x) == (0.0, float("inf"))
    assert ends["relu6"](x) == (0.0, 6.0)
    assert ends["hardtanh"](x) == ends["hardtanh"](x, -1.0, 1.0) == (-1.0, 1.0)
    assert ends["clamp"](x, None, 6.0) == (-float("inf"), 6.0)
    assert ends["clamp"](x, min=0.0, max=None) == (0.0, float("inf"))


def test_the_walk_rounds_as_onnxruntime_does(tmp_path: Path) -> None:
    source = file(Narrow(0.5), tmp_path / "f.onnx")
    found = network(quantise.prepared(source), examples())
    seen = look(found.whole, found.images)
    passed = rounding(seen, minmax)
    node = next(n for n in found.whole.module.graph.nodes if clipped(n) is not None)
    x = torch.linspace(-0.1, 0.7, 1000)
    y = passed(node, x)
    step = seen[node.name].high / 255
    assert len(y.unique()) <= 256
    assert float((y - x.clamp(0, seen[node.name].high)).abs().max()) <= 0.501 * step
    conv = next(a for a in node.all_input_nodes if a.op == "call_function")
    assert passed(conv, x) is x


def test_least_squares_wins_back_more_than_the_mean_does(tmp_path: Path) -> None:
    """Where a weight's rounding is coarse: each filter has one large tap on a channel that is nearly 0."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 12, 3), nn.ReLU(), nn.Conv2d(12, 12, 3), nn.ReLU(), nn.Conv2d(12, 8, 3),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 4),
    )  # fmt: skip
    for layer in (net[2], net[4]):
        layer.weight.data[:, 1:3] = layer.weight.data[:, :1] * 0.6  # inputs that say the same
        layer.weight.data[:, 0] *= 30
    net[0].weight.data[0] *= 0.02
    net[2].weight.data[0] *= 0.02
    source = file(net, tmp_path / "float.onnx")
    bare, mean, solved = (lost(source, m) for m in ("minmax", "bias+minmax", "lstsq+minmax"))
    assert mean < bare
    assert solved < 0.9 * bare


def test_weights_that_were_repaired_lie_on_the_grid_that_the_file_has(unequal: Path) -> None:
    changed = written(unequal, "lstsq")
    held = {t.name: numpy_helper.to_array(t) for t in onnx.load(changed).graph.initializer}
    for name in ("widen.weight", "deep.weight", "narrow.weight"):
        W = torch.from_numpy(held[name].reshape(1, len(held[name]), -1)).double()
        W = W.transpose(0, 1) if name == "deep.weight" else W
        step = grid.steps(W)
        assert (W / step - (W / step).round()).abs().max() < 1e-3


def spoilt(tmp_path: Path) -> Path:
    """A layer that 8 bits destroy: each filter's step is set by a tap on a channel that is always 0."""
    net = Narrow()
    net.stem.weight.data[0], net.stem.bias.data[0] = 0.0, 0.0
    net.narrow.weight.data[0], net.narrow.bias.data[0] = 0.0, 0.0
    net.last.weight.data[:, 0] = 500.0
    return file(net, tmp_path / "spoilt.onnx")


def test_a_layer_that_8_bits_destroy_stays_in_float(tmp_path: Path) -> None:
    source = spoilt(tmp_path)
    made = quantise.of_file(source, examples(), "minmax")
    assert [k.layer for k in made.in_float] == ["last"]
    assert made.in_float[0].loss > 0.5
    quantise.save(made.proto, tmp_path / "int8.onnx")
    assert kept(source, tmp_path / "int8.onnx") > 0.98
    kinds = {t.name: t.data_type for t in made.proto.graph.initializer}
    assert kinds["last.weight"] == onnx.TensorProto.FLOAT
    assert "widen.weight_quantized" in kinds


def test_no_layer_is_looked_at_where_8_bits_cost_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proto = quantise.prepared(file(Narrow(), tmp_path / "f.onnx"))
    ranges = {name: minmax(s) for name, s in quantise.observe(proto, examples()).items()}
    calls = []
    real = quantise.quantised
    monkeypatch.setattr(
        "edgeprune.quantise.sensitive.quantised", lambda *a: calls.append(1) or real(*a)
    )
    assert sensitive(proto, ranges, examples()) == []
    assert len(calls) == 1


def test_methods_are_steps_and_a_rule() -> None:
    assert make.checked("equalise+lstsq+mse") == "equalise+lstsq+mse"
    for word, hint in (("equalize+mse", "equalise"), ("lstsq", "mse"), ("mse+lstsq", "lstsq")):
        with pytest.raises(EdgepruneError, match="int8 method") as e:
            make.checked(word)
        assert hint in str(e.value)


def test_a_single_example_sets_the_ranges_and_repairs_nothing(unequal: Path) -> None:
    made = quantise.of_file(unequal, [examples(1)[0][:1]])
    assert made.note.startswith("its layers are not repaired: ")
    assert (made.examples, made.worst) == (1, [])
    made = quantise.of_file(unequal, examples(1))
    assert made.note == ""
    layers = {"stem", "widen", "deep", "narrow", "last", "head"}
    assert len(made.worst) == 3
    assert {k.layer for k in made.worst} <= layers
    assert made.worst[0].loss >= made.worst[1].loss >= made.worst[2].loss


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.head = nn.Conv2d(3, 6, 3), nn.Linear(4, 6), nn.Linear(12, 3)

    def forward(self, image: torch.Tensor, more: torch.Tensor) -> torch.Tensor:
        maps = torch.relu(self.a(image)).amax((2, 3))
        return self.head(torch.cat([maps, torch.relu(self.b(more))], 1))


def test_a_network_of_two_inputs(tmp_path: Path) -> None:
    pairs = [(x, torch.randn(8, 4)) for x in examples()]
    path = tmp_path / "two.onnx"
    export(Two().eval(), path, pairs)
    made = quantise.of_file(path, pairs)
    assert made.note == ""
    assert len(made.repaired) == 3
    quantise.save(made.proto, tmp_path / "int8.onnx")
    a, b = (
        np.concatenate([parity.run_on(parity.session(p, 1), x)[0] for x in pairs])
        for p in (path, tmp_path / "int8.onnx")
    )
    assert np.square(a - b).sum() < 0.01 * np.square(a - a.mean(0)).sum()
