"""Height and width are open in the file where they were asked for and can be; else one line says why."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from edgeprune import cut, export, plan, trace
from edgeprune.bench import subject
from edgeprune.errors import EdgepruneError
from edgeprune.export import again, axes, parity
from edgeprune.export import onnx as exporting
from tests.graph.test_opening import Anchored, UNet


def sides(value: Any) -> list[str | int]:
    return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]


def smaller(build: type[nn.Module], loader: list[Tensor]) -> nn.Module:
    torch.manual_seed(0)
    graph = trace(build().eval(), loader[0])
    return cut(graph, plan(graph, keep_flops=0.5))


@pytest.mark.parametrize("build", [UNet, Anchored])
def test_the_file_of_a_cut_network_runs_at_other_sizes(
    build: type[nn.Module], tmp_path: Path
) -> None:
    loader = [torch.randn(5, 3, 32, 48)]
    small = smaller(build, loader)
    done = export(small, tmp_path / "x.onnx", loader, open=("height", "width"))
    assert done.open == ("batch", "height", "width")
    assert [shape[2:] != (32, 48) for shape in done.parity.also] == [True]
    (given,) = onnx.load(done.path).graph.input
    assert sides(given) == ["N", 3, "height", "width"]
    running = parity.session(done.path, threads=1)
    for size in ((1, 3, 32, 48), (3, 3, 64, 32), (2, 3, 24, 40)):
        x = torch.randn(size)
        wanted = small(x)
        first = wanted if isinstance(wanted, Tensor) else wanted[0]
        got = running.run(None, {given.name: x.numpy()})[0]
        np.testing.assert_allclose(got, first.detach(), rtol=1e-3, atol=1e-5)
    assert subject.recorded(done.path, 3) == {given.name: (3, 3, 32, 48)}


def test_only_what_was_asked_for_is_open(tmp_path: Path) -> None:
    loader = [torch.randn(4, 3, 32, 48)]
    net = UNet().eval()
    closed = export(net, tmp_path / "closed.onnx", loader)
    assert closed.open == ("batch",)
    assert closed.parity.also == ()
    assert subject.recorded(closed.path, 1) == {}
    some = export(net, tmp_path / "some.onnx", loader, open=["batch", "3"])
    assert some.open == ("batch", "width")
    assert sides(onnx.load(some.path).graph.input[0]) == ["N", 3, 32, "width"]


class Fixed(nn.Module):
    """Reads every place by a weight of its own; the width alone is pooled away."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.out = nn.Conv2d(1, 6, 3, padding=1), nn.Linear(6 * 20, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.conv(x).mean(3).flatten(1))


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("height", "height cannot be open: at another size its forward raises"),
        ("heigth", "open 'heigth': did you mean height?"),
        ("1", "open '1'"),
        ("length", "open 'length': known: batch, height, width"),
    ],
)
def test_what_cannot_be_open_is_refused_in_one_line(word: str, said: str, tmp_path: Path) -> None:
    loader = [torch.randn(4, 1, 20, 30)]
    with pytest.raises(EdgepruneError) as e:
        export(Fixed().eval(), tmp_path / "x.onnx", loader, open=(word,))
    assert str(e.value).startswith(said)
    assert "\n" not in str(e.value)
    assert list(tmp_path.iterdir()) == []
    export(Fixed().eval(), tmp_path / "x.onnx", loader, open="width")


class Wide(nn.Module):
    """Gives another answer than its operators where the map is larger than those recorded."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return y * 2 if type(x) is Tensor and x.shape[-1] > 40 else y


def test_a_file_that_differs_at_another_size_is_not_left(tmp_path: Path) -> None:
    loader = [torch.randn(4, 3, 32, 32)]
    with pytest.raises(EdgepruneError, match="torch and onnxruntime differ"):
        export(Wide().eval(), tmp_path / "x.onnx", loader, open=("height", "width"))
    assert list(tmp_path.iterdir()) == []


class Two(nn.Module):
    def forward(self, image: Tensor, other: Tensor) -> Tensor:
        return image.mean((2, 3)) + other.mean((2, 3))


def test_several_inputs_and_signals(tmp_path: Path) -> None:
    pair = [(torch.randn(4, 3, 16, 24), torch.randn(4, 3, 16, 24))]
    done = export(Two().eval(), tmp_path / "two.onnx", pair, open=("height", "width"))
    first, second = onnx.load(done.path).graph.input
    assert sides(first)[2:] == ["height", "width"]
    assert all(isinstance(n, str) for n in sides(second)[2:])
    net = nn.Sequential(nn.Conv1d(2, 6, 5), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten()).eval()
    done = export(net, tmp_path / "one.onnx", [torch.randn(4, 2, 100)], open=("length",))
    assert sides(onnx.load(done.path).graph.input[0]) == ["N", 2, "length"]


@pytest.mark.parametrize("told", ["[]", "{", '{"images": 3}', '{"images": ["x"]}', '{"b": [1]}'])
def test_sizes_that_somebody_else_wrote_are_passed_over(told: str, tmp_path: Path) -> None:
    done = export(UNet().eval(), tmp_path / "x.onnx", [torch.randn(4, 3, 16, 16)], open="height")
    proto = onnx.load(done.path)
    for entry in proto.metadata_props:
        entry.value = told if entry.key == axes.SIZES else entry.value
    onnx.save(proto, done.path)
    assert subject.recorded(done.path, 1) == {}


@pytest.mark.parametrize(
    ("asked", "hard", "trials"),
    [
        ((), {2}, [(2, 3), (2,), (3,)]),
        ((), {3}, [(2, 3), (2,)]),
        ((), {2, 3}, [(2, 3), (2,), (3,), ()]),
        ((3,), {2}, [(2, 3), (3,)]),
    ],
)
def test_what_the_exporter_cannot_solve_is_shut_unless_it_was_asked_for(
    asked: tuple[int, ...],
    hard: set[int],
    trials: list[tuple[int, ...]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A file's open axes are tried together, then one by one; what is beyond those that were asked for
    gives way, with the reason."""
    proto, tried, left = onnx.ModelProto(), [], trials[-1]

    def exported(taken: Any, outputs: list[str], opset: int) -> onnx.ModelProto:
        tried.append(taken.axes)
        if hard & set(taken.axes):
            raise EdgepruneError("this network cannot be exported", "cannot be solved")
        return proto

    monkeypatch.setattr(exporting, "_exported", exported)
    taken = exporting._Taken(None, None, [], (2, 3), {4: "made for one size"}, asked)  # type: ignore[arg-type]
    found, told = exporting._as_open_as_it_can(taken, [], 18)
    assert found is proto
    assert tried == trials
    shut = {axis: "cannot be solved" for axis in (2, 3) if axis not in left}
    assert (told.axes, told.shut) == (left, {4: "made for one size", **shut})
    with pytest.raises(EdgepruneError, match="cannot be solved"):
        exporting._as_open_as_it_can(replace(taken, asked=(2, 3)), [], 18)


@pytest.mark.parametrize("ends", [{}, {"start": 2}, {"end": 3}, {"start": -3, "end": -1}])
def test_a_part_of_a_shape_is_written_as_older_files_do(
    ends: dict[str, int], tmp_path: Path
) -> None:
    """Else a network that came from opset 12 would go back as 18."""
    info = onnx.helper.make_tensor_value_info
    node = onnx.helper.make_node("Shape", ["x"], ["size"], **ends)
    graph = onnx.helper.make_graph(
        [node], "sizes", [info("x", 1, ["a", "b", "c", "d"])], [info("size", 7, ["n"])]
    )
    opsets = [onnx.helper.make_opsetid("", 18)]
    new = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8)
    old = again._converted(new, 12)
    assert [e.version for e in old.opset_import] == [12]
    onnx.save(old, tmp_path / "old.onnx")
    x = np.zeros((2, 3, 5, 7), np.float32)
    (got,) = parity.session(tmp_path / "old.onnx", threads=1).run(None, {"x": x})
    assert got.tolist() == list(x.shape)[ends.get("start") : ends.get("end")]


@pytest.mark.parametrize("left_out", [["scales"], ["sizes"]])
def test_a_resize_without_region_is_written_as_older_files_do(
    left_out: list[str], tmp_path: Path
) -> None:
    """Its region may be left out since opset 13, and had to be an empty tensor before."""
    info, tensor = onnx.helper.make_tensor_value_info, onnx.helper.make_tensor
    held = {
        "scales": tensor("scales", 1, [4], [1, 1, 2, 2]),
        "sizes": tensor("sizes", 7, [4], [1, 2, 6, 10]),
    }
    names = ["x", "", *("" if n in left_out else n for n in held)]
    node = onnx.helper.make_node("Resize", names, ["y"], mode="nearest", antialias=0)
    given = [t for n, t in held.items() if n not in left_out]
    graph = onnx.helper.make_graph(
        [node], "up", [info("x", 1, [1, 2, 3, 5])], [info("y", 1, [1, 2, 6, 10])], given
    )
    opsets = [onnx.helper.make_opsetid("", 18)]
    new = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8)
    old = again._converted(new, 12)
    assert [e.version for e in old.opset_import] == [12]
    x = np.random.default_rng(0).normal(size=(1, 2, 3, 5)).astype(np.float32)
    found = []
    for name, proto in (("new", new), ("old", old)):
        onnx.save(proto, tmp_path / f"{name}.onnx")
        found += parity.session(tmp_path / f"{name}.onnx", threads=1).run(None, {"x": x})
    assert np.array_equal(*found)


@pytest.mark.parametrize(("first", "opset"), [(3, 12), (0, 18)])
def test_a_shape_put_together_of_sizes_needs_no_allowzero(first: int, opset: int) -> None:
    """Which came with opset 14: it matters where a 0 is written, not where a size is read."""
    info, tensor = onnx.helper.make_tensor_value_info, onnx.helper.make_tensor
    held = [tensor("first", 7, [1], [first]), tensor("three", 7, [1], [3])]
    held += [tensor("four", 7, [1], [4])]
    nodes = [
        onnx.helper.make_node("Shape", ["x"], ["size"]),
        onnx.helper.make_node("Slice", ["size", "three", "four"], ["width"]),
        onnx.helper.make_node("Concat", ["first", "width"], ["shape"], axis=0),
        onnx.helper.make_node("Reshape", ["x", "shape"], ["y"], allowzero=1),
    ]
    graph = onnx.helper.make_graph(
        nodes, "lines", [info("x", 1, [1, 3, 1, "w"])], [info("y", 1, ["a", "b"])], held
    )
    new = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8
    )
    assert [e.version for e in again._converted(new, 12).opset_import] == [opset]
