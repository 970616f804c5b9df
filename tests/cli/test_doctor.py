"""``edgeprune doctor`` on a run of a small network, as a user types it, ``--fix`` included."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from edgeprune import checkpoint, graph, models, runs, ways
from edgeprune.cli import errors
from edgeprune.cli.app import app
from edgeprune.doctor import fix, rounding, sweep
from edgeprune.doctor import probe as probes
from edgeprune.models import Convention, ModelSpec
from edgeprune.runtime import channel_block
from edgeprune.runtime.device import Device, Error
from edgeprune.runtime.predictor import NONE, Model
from edgeprune.train import Recipe
from tests.doctor.test_findings import PEAKS


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
def _there(run: runs.Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(run.path.parents[1])
    monkeypatch.setenv("EDGEPRUNE_HOME", str(tmp_path))
    monkeypatch.setattr(sweep, "peaks", lambda **how: PEAKS)  # what they are is not asked here


def test_a_ledger_for_every_reader(run: runs.Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("doctor", "small") == 0
    shown = capsys.readouterr()
    assert max(map(len, shown.out.splitlines())) <= 80
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
    assert fixed.recipe()["fixed_from"] == "small"
    # a second time nothing is overwritten
    weights = fixed.weights_path("pruned").read_bytes()
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

    def probe(device: str) -> rounding.Rounding:
        asked.append(device)
        return rounding.Rounding(4, "measured", device)

    def measure(device: str, note: Any) -> Device:
        asked.append(device)
        error = Error(0.03, 0.1, None, 64)
        model = Model(1, NONE, {}, (0.0, 0.0), (0.0, 0.0, 0.0))
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
