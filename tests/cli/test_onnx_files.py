"""``--model FILE.onnx`` through the commands: nothing of it runs, and it comes back as it was."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from edgeprune import records, runs
from edgeprune.cli import app, errors


@pytest.fixture
def given(empty_home: Path) -> Path:
    """A small classifier of opset 13 with open height and width and metadata, and 100 arrays for it."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, stride=2), nn.Hardsigmoid(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4),
    ).eval()  # fmt: skip
    axes = {"photo": {0: "many", 2: "high", 3: "wide"}, "answer": {0: "many"}}
    torch.onnx.export(
        net, (torch.randn(2, 3, 16, 16),), "net.onnx", input_names=["photo"],
        output_names=["answer"], dynamic_axes=axes, opset_version=13, dynamo=False,
    )  # fmt: skip
    model = onnx.load("net.onnx")
    model.metadata_props.add(key="maker", value="somebody")
    onnx.save(model, "net.onnx")
    np.save("x.npy", np.random.default_rng(0).normal(0, 1, (100, 3, 16, 16)).astype(np.float32))
    return Path("net.onnx")


def call(words: str, capsys: pytest.CaptureFixture[str], code: int = 0) -> str:
    found = errors.run(app.app, words.split())
    seen = capsys.readouterr()
    assert found == code, seen.err
    return seen.err if code else seen.out


POST = "prune --post-training --model net.onnx --images x.npy --keep-flops 0.7 --name a"


def dims(port: onnx.ValueInfoProto) -> list[str | int]:
    return [d.dim_param or d.dim_value for d in port.type.tensor_type.shape.dim]


def test_inspect_and_cost_read_the_file(given: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(call("inspect --model net.onnx --size 24 --json", capsys))
    assert found["input"] == [3, 24, 24]
    assert [group["width"] for group in found["groups"]] == [16, 16]
    counted = json.loads(call("cost --model net.onnx --size 24 --json", capsys))
    assert counted["params"] == 3 * 16 * 9 + 16 + 16 * 16 * 9 + 16 + 16 * 4 + 4


def test_prune_export_bench_and_the_file_comes_back(
    given: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call(f"{POST} --round-to 1", capsys)
    given.unlink()  # the run has its own copy
    call("export a", capsys)
    for name in ("dense", "pruned"):
        made = onnx.load(f"runs/a/{name}.onnx")
        assert [v.name for v in made.graph.input] == ["photo"]
        assert [v.name for v in made.graph.output] == ["answer"]
        assert dims(made.graph.input[0]) == ["many", 3, "high", "wide"]
        assert dims(made.graph.output[0]) == ["many", 4]
        assert made.opset_import[0].version == 13
        assert {p.key: p.value for p in made.metadata_props}["maker"] == "somebody"
    measured = json.loads(call("bench a --rounds 4 --passes 2 --seconds 0.1 --json", capsys))
    dense, pruned = runs.Run(Path("runs/a")).history(records.Result)
    assert [n["params"] for n in measured["networks"]] == [dense.params, pruned.params]
    assert pruned.flops < 0.75 * dense.flops


def test_an_axis_that_cannot_stay_open_is_told(
    empty_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file may call a height open that its dense layer fixes."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 12 * 12, 4)
    )
    axes = {"photo": {0: "many", 2: "high", 3: "wide"}}
    torch.onnx.export(
        net, (torch.randn(2, 3, 12, 12),), "net.onnx", input_names=["photo"],
        output_names=["answer"], dynamic_axes=axes, opset_version=13, dynamo=False,
    )  # fmt: skip
    np.save("x.npy", np.random.default_rng(0).normal(0, 1, (100, 3, 12, 12)).astype(np.float32))
    call(f"{POST} --round-to 1", capsys)
    assert errors.run(app.app, ["export", "a"]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "pruned.onnx has one height only, which the file left open: " in said
    assert "pruned.onnx has one width only" in said
    assert dims(onnx.load("runs/a/pruned.onnx").graph.input[0]) == ["many", 3, 12, 12]


def test_a_copy_that_was_changed_is_refused(
    given: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call(f"{POST} --round-to 1", capsys)
    copy = Path("runs/a/code/net.onnx")
    model = onnx.load(copy)
    model.producer_name = "somebody else"
    onnx.save(model, copy)
    said = call("export a", capsys, code=2)
    assert "not the one that its spec.json names" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    "command", ["inspect", "cost", "prune --post-training --images x.npy --keep-flops 0.5"]
)
def test_a_file_that_cannot_be_read_ends_with_one_line(
    command: str, given: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given.write_bytes(given.read_bytes()[:-100])
    said = call(f"{command} --model net.onnx", capsys, code=2)
    assert "cut short" in said
    assert "Traceback" not in said
    assert not Path("runs").exists()
    assert "no such file" in call(f"{command} --model gone.onnx", capsys, code=2)
