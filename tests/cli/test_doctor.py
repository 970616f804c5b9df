"""``edgeprune doctor`` on a run of a small network, as a user types it, ``--fix`` included."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from edgeprune import checkpoint, files, graph, models, runs, ways
from edgeprune.bench.devices.base import Ended
from edgeprune.cli import errors
from edgeprune.cli.app import app
from edgeprune.doctor import fix, profile, rounding
from edgeprune.doctor import probe as probes
from edgeprune.models import Convention, ModelSpec
from edgeprune.runtime import channel_block
from edgeprune.runtime.device import Device, Error
from edgeprune.runtime.predictor import NONE, Model
from edgeprune.train import Recipe
from tests.tiny_onnx import conv_net, save


def call(*words: str) -> int:
    return errors.run(app, [str(w) for w in words])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> runs.Run:
    """A MobileNetV1 of a quarter of the width, cut to odd widths, exported; not trained."""
    folder = tmp_path_factory.mktemp("doctor")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        spec, convention = ModelSpec("mobilenetv1-0.25", 10), Convention(size=32)
        asked = ways.Asked(
            spec.model, "scratch", spec.head, False, "digits", 32, None, False, 0, Recipe()
        )
        made = ways.open_run(asked, "small", [])
        dense = models.fresh(spec, 0)
        traced = graph.trace(dense, checkpoint.example(convention))
        widths = {name: group.width for name, group in traced.groups.items()}
        kept = {n: list(range(width // 2 + 1)) for n, width in widths.items() if "pw" in n}
        classes = [str(i) for i in range(10)]
        checkpoint.write_spec(made, spec, convention, classes, widths, kept)
        checkpoint.write_weights(made, "dense", dense, spec, convention)
        pruned = checkpoint.prune.cut(dense, traced, kept)
        checkpoint.write_weights(made, "pruned", pruned, spec, convention)
        assert call("export", "small", "--json") == 0
    return runs.Run(folder / "runs" / "small")


@pytest.fixture(autouse=True)
def _there(
    run: runs.Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, quick_doctor: None
) -> None:
    monkeypatch.chdir(run.path.parents[1])
    monkeypatch.setenv("EDGEPRUNE_HOME", str(tmp_path))


def test_a_ledger_for_every_reader(run: runs.Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("doctor", "small") == 0
    shown = capsys.readouterr()
    assert max(map(len, shown.out.splitlines())) <= 80
    assert "profiling dense, pruned: about" in shown.err
    for word in ("where the time goes", "likely cause", "do next", "roofline"):
        assert word in shown.out
    folder = run.path / "doctor"
    told = json.loads((folder / "doctor.json").read_text())
    assert [n["name"] for n in told["networks"]] == ["dense", "pruned"]
    with open(folder / "ledger.csv", newline="") as f:
        rows = list(csv.DictReader(f))
    assert len(rows) == len(told["ledger"])
    assert float(rows[1]["measured_1"]) > 0
    assert "| layer |" in (folder / "ledger.md").read_text()
    assert (folder / "ledger.png").read_bytes()[:4] == b"\x89PNG"
    _in_the_report(run, told, capsys)


def _in_the_report(run: runs.Run, told: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert call("report", "small") == 0
    page = run.report_path.read_text()
    assert "Where the time goes" in page
    assert "features.1.pw.conv" in page
    path = run.path / "doctor" / "doctor.json"
    other = [told["networks"][0] | {"sha256": "of another network"}]
    for broken in ({"networks": other}, {"networks": 3}, {"version": 99}, {"ledger": None}):
        path.write_text(json.dumps(told | broken))
        assert call("report", "small") == 0
        assert "Where the time goes</h2>" not in run.report_path.read_text()
    odd = [{"layer": "<script>", "measured_0": "<b>", "measured_1": 1e-3}]
    path.write_text(json.dumps(told | {"ledger": odd}))
    assert call("report", "small") == 0
    page = run.report_path.read_text()
    assert "&lt;script&gt;" in page
    assert "<script>" not in page
    path.write_text(json.dumps(told))
    capsys.readouterr()


@pytest.mark.slow
def test_fix(run: runs.Run, capsys: pytest.CaptureFixture[str]) -> None:
    """Widths are on the grid again, the answers are the same, and what came is measured."""
    if channel_block() == 1:
        pytest.skip("this CPU's runtime has no blocked layout")
    assert call("doctor", "small", "--fix", "--json") == 0
    shown = capsys.readouterr()
    found = json.loads(shown.out)
    block = channel_block()
    fixed = runs.Run(Path(found["run"]))
    assert found["widths"]
    for before, after in found["widths"].values():
        assert after > before
        assert after % block == 0 or after == before
    assert found["before"] > 0
    assert found["after"] > 0
    assert found["came"] == pytest.approx(found["before"] - found["after"])
    a, b = (checkpoint.load(r, "pruned") for r in (run, fixed))
    expected, got = (loaded.model(loaded.example) for loaded in (a, b))
    assert float((expected - got).abs().max()) <= 1e-4 * float(expected.abs().max())
    assert fixed.onnx_path("pruned").is_file()
    assert fixed.recipe().fixed_from == "small"
    # a second time nothing is overwritten
    weights = fixed.weights_path("pruned").read_bytes()
    assert call("doctor", "small", "--fix", "--json") == 0  # typed again it finds what it made
    assert json.loads(capsys.readouterr().out)["widths"] == found["widths"]
    recipe = files.read_json(fixed.recipe_path)
    files.write_json(fixed.recipe_path, recipe | {"fixed_from": "another"})
    assert call("doctor", "small", "--fix") == 2
    assert "is there already" in capsys.readouterr().err
    assert fixed.weights_path("pruned").read_bytes() == weights
    assert fix.fix(fixed, block) == (None, {})  # nothing is off the grid any more
    assert not Path("runs/small-fixed-fixed").exists()


def test_fix_wants_a_pruned_network(capsys: pytest.CaptureFixture[str], run: runs.Run) -> None:
    assert call("doctor", str(run.onnx_path("pruned")), "--fix") == 2
    assert "needs a run with a pruned network" in capsys.readouterr().err


def test_probe_of_another_device(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def probe(device: str, watch: Any) -> rounding.Rounding:
        asked.append(device)
        return rounding.Rounding(4, "measured", device)

    def measure(device: str, note: Any, watch: Any, threads: int) -> Device:
        asked.append(device)
        error = Error(0.03, 0.1, None, 64)
        model = Model(threads, NONE, {}, (0.0, 0.0), (0.0, 0.0, 0.0))
        return Device("a board", "1", model, error, "now")

    monkeypatch.setattr(rounding, "probe", probe)
    monkeypatch.setattr(probes, "measure", measure)
    assert call("doctor", "--probe", "--device", "ssh://board", "--json") == 0
    shown = capsys.readouterr()
    found = json.loads(shown.out)
    assert found["multiple"] == 4
    assert found["predictor"]["worst"] == 0.1
    assert "--round-to auto is 4 (measured)" in shown.err
    assert "off by 3.0 % (median), 10.0 % at worst" in shown.err
    assert asked == ["ssh://board", "ssh://board"]


def open_net(path: Path) -> Path:
    """A model whose height and width are open, as detectors are exported."""
    model = conv_net(batch=1)
    dims = model.graph.input[0].type.tensor_type.shape.dim
    dims[2].dim_param, dims[3].dim_param = "h", "w"
    return save(path, model)


def test_open_sizes_are_asked_for_and_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = open_net(tmp_path / "open.onnx")
    assert call("doctor", model) == 2
    line = " ".join(capsys.readouterr().err.split())
    assert "open.onnx: input images" in line
    assert "--shape images=3xhxw" in line
    assert "profiling" not in line  # refused before
    assert "Traceback" not in line
    assert call("doctor", "--model", "vgg16") == 2
    assert "looks at .onnx files" in " ".join(capsys.readouterr().err.split())
    assert call("doctor", "--model", model, "--shape", "1x3x24x16", "--json") == 0
    shown = capsys.readouterr()
    told = json.loads(shown.out)
    flops = {row["layer"]: row["flops_0"] for row in told["ledger"]}
    assert 2 * 8 * 24 * 16 * 27 in flops.values()  # 8 filters of 3x3x3 at each place
    assert "--shape 1x3x24x16: its 1 is the batch; --shape 3x24x16 says the same" in shown.err
    assert call("doctor", model, "--shape", "images=3x24x16", "--json") == 0
    assert (
        json.loads(capsys.readouterr().out)["ledger"][0]["flops_0"] == told["ledger"][0]["flops_0"]
    )
    for shape, said in (("images=1x3", "3 axes"), ("x=3x8x8", "no such input"), ("3", "3 axes"),
                        ("3xh", "not 3x480x640"), ("2x3x8x8", "--shape 3x8x8 (bench: --batch 2)"),
                        ("images=3x8x8,x=4", "no such input, but: images")):  # fmt: skip
        assert call("doctor", model, "--shape", shape) == 2
        assert said in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(("code", "lines"), [(-9, []), (1, ['{"profiler": 1}']), (0, ["{"])])
def test_a_profiling_process_that_fell_over_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], code: int,
    lines: list[str],
) -> None:  # fmt: skip
    def stream(command: Any, on_line: Any, **more: Any) -> Ended:
        for line in lines:
            on_line(line)
        return Ended(code, "")

    monkeypatch.setattr(profile, "stream", stream)
    assert call("doctor", save(tmp_path / "m.onnx")) == 2
    assert f"m.onnx: the profiling process ended with code {code}" in capsys.readouterr().err
