"""The two commands on a run of a small network, as a user types them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgeprune import checkpoint, graph, models, runs, ways
from edgeprune.cli import errors
from edgeprune.cli.app import app
from edgeprune.models import Convention, ModelSpec
from edgeprune.train import Recipe
from tests.tiny_onnx import conv_net, save

QUICK = ["--rounds", "4", "--passes", "2", "--seconds", "0.1"]


def call(*words: str) -> int:
    return errors.run(app, [str(w) for w in words])


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> runs.Run:
    """A run with a dense and a pruned MobileNetV1 of an eighth of the width, not trained."""
    monkeypatch.chdir(tmp_path)
    spec, convention = ModelSpec("mobilenetv1-0.125", 10), Convention(size=32)
    asked = ways.Asked(
        spec.model, "scratch", spec.head, False, "digits", 32, None, False, 0, Recipe()
    )
    made = ways.open_run(asked, "small", [])
    dense = models.fresh(spec, 0)
    traced = graph.trace(dense, checkpoint.example(convention))
    widths = {name: group.width for name, group in traced.groups.items()}
    kept = {name: list(range(width // 2)) for name, width in widths.items() if "pw" in name}
    classes = [str(i) for i in range(10)]
    checkpoint.write_spec(made, spec, convention, classes, widths, kept)
    checkpoint.write_weights(made, "dense", dense, spec, convention)
    pruned = checkpoint.prune.cut(dense, traced, kept)
    checkpoint.write_weights(made, "pruned", pruned, spec, convention)
    return made


def test_export_then_bench(run: runs.Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("bench") == 2
    assert "next" not in capsys.readouterr().out
    assert call("export", "--json") == 0
    shown = capsys.readouterr()
    exported = json.loads(shown.out)
    assert set(exported["networks"]) == {"dense", "pruned"}
    assert exported["networks"]["pruned"]["parity"]["images"] > 300
    assert "edgeprune bench small" in shown.err
    assert call("bench", "--json", *QUICK) == 0
    shown = capsys.readouterr()
    document = json.loads(shown.out)
    assert document["baseline"] == "dense"
    assert document["realised_speedup"] == pytest.approx(
        document["speedup"] / document["promised_speedup"]
    )
    dense, pruned = document["networks"]
    parity = exported["networks"]["dense"]["parity"]
    assert dense["top1"] == pytest.approx(parity["onnx_correct"] / parity["images"])
    assert dense["counted_by"] == "edgeprune"
    cost = graph.cost(
        graph.trace(*(lambda e: (e.model, e.example))(checkpoint.load(run, "pruned")))
    )
    assert (pruned["flops"], pruned["params"]) == (cost.flops, cost.params)
    (kept,) = run.bench_folder.glob("*.json")
    assert str(kept) == document["file"]
    assert call("bench", "small", "--no-accuracy", *QUICK) == 0
    shown = capsys.readouterr()
    for word in ("latency, median", "peak memory", "realised speed-up", "verdict"):
        assert word in shown.out
    assert max(map(len, shown.out.splitlines())) <= 80
    assert "edgeprune report small" in shown.err


def test_open_axes_are_exported_and_bench_knows_its_size(
    run: runs.Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("export", "--open", "heigth") == 2
    assert "did you mean height?" in capsys.readouterr().err
    assert call("export", "--open", "height,width", "--json") == 0
    shown = capsys.readouterr()
    exported = json.loads(shown.out)["networks"]["pruned"]
    assert exported["open"] == ["batch", "height", "width"]
    assert "compared at 2x3x96x224 too" in shown.err
    assert call("bench", "--json", *QUICK) == 0
    document = json.loads(capsys.readouterr().out)
    (kept,) = run.bench_folder.glob("*.json")
    asked = json.loads(kept.read_text())["request"]
    assert asked["shapes"] == {"images": [1, 3, 32, 32]}
    assert document["networks"][1]["top1"] is not None


def test_missing_files_name_the_next_command(
    run: runs.Run, capsys: pytest.CaptureFixture[str]
) -> None:
    def line() -> str:
        text = capsys.readouterr().err
        assert text.count("\n") == 1
        return text

    assert call("bench") == 2
    assert line() == "error: run small has no dense.onnx — edgeprune export small\n"
    save(run.onnx_path("dense"))
    assert call("bench") == 2
    assert "no pruned.onnx" in line()
    save(run.onnx_path("pruned"), edgeprune__weights="other")
    assert call("bench", *QUICK) == 2
    assert "made from other weights" in line()
    assert call("bench", "smal") == 2
    assert "small" in line()
    assert call("bench", "small", "other") == 2
    line()


@pytest.mark.parametrize(
    "words",
    [
        ["--device", "moon"],
        ["--threads", "0"],
        ["--shape", "images"],
        ["none.onnx"],
        ["cut.onnx"],
        ["--seconds", "nan"],
    ],
)
def test_wrong_words_end_in_one_line(
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "a.onnx")
    (tmp_path / "cut.onnx").write_bytes(conv_net().SerializeToString()[:200])
    assert call("bench", "a.onnx", *words) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert len(shown.err.strip().splitlines()) == 1
    assert [p.name for p in tmp_path.glob("*.json")] == []


def test_foreign_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "a.onnx", conv_net(width=32))
    save(tmp_path / "b.onnx")
    out = tmp_path / "deep" / "r.json"
    assert call("bench", "a.onnx", "b.onnx", "--json", "--out", str(out), *QUICK) == 0
    document = json.loads(capsys.readouterr().out)
    assert [n["name"] for n in document["networks"]] == ["a", "b"]
    assert document["networks"][1]["top1"] is None
    assert json.loads(out.read_text())["status"] == "complete"
