"""``export --int8`` and what bench makes of it, on a run of a small network that was trained a little."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from edgeprune import records, runs
from edgeprune.cli import doctor, errors
from edgeprune.cli.app import app
from edgeprune.doctor import sweep
from edgeprune.errors import EdgepruneError
from edgeprune.export import parity
from edgeprune.report import eight_bits
from edgeprune.ways import quantising
from tests.cli.test_ways_to_prune import TO_HALF, WHOLE, done, place, refused
from tests.doctor.test_findings import PEAKS

__all__ = ["place"]
QUICK = "--rounds 4 --passes 2 --seconds 0.1"


@pytest.fixture
def run(place: Path, capsys: pytest.CaptureFixture[str]) -> runs.Run:
    done(f"prune {WHOLE} --images photos {TO_HALF} --name r", capsys)
    return runs.Run(Path("runs/r"))


def test_both_networks_in_8_bits(run: runs.Run, capsys: pytest.CaptureFixture[str]) -> None:
    out, err = done("export r --int8 --calibrate 40 --json", capsys)
    networks = json.loads(out)["networks"]
    assert list(networks) == ["dense", "pruned", "dense-int8", "pruned-int8"]
    for name in ("dense-int8", "pruned-int8"):
        told = records.read(run.record_path(name), records.Int8)
        parent = records.parent_of(name)
        assert (told.network, told.parent) == (name, parent)
        assert (told.calibrated, told.images) == (40, 16)
        assert told.bytes == run.onnx_path(name).stat().st_size
        assert told.float_bytes == run.onnx_path(parent).stat().st_size
        weights = run.weights_path(parent).read_bytes()
        assert told.weights == hashlib.sha256(weights).hexdigest()
        assert told.accuracy is None  # no labels here
        assert told.beside_float[0].variance_kept > 0.95
        assert networks[name]["beside_float"][0]["measures"] == told.beside_float[0].measures
        kept = f"{100 * told.beside_float[0].measures['agreement']:.0f}"
        line = next(line for line in err.splitlines() if line.startswith(f"{name}: agreement kept"))
        assert kept in line
    ours, dense = told.beside_float[0].variance_kept, told.beside_dense[0].variance_kept
    assert dense < ours  # pruning costs more than rounding
    assert run.exported == list(networks)


def test_bench_measures_all_there_are(run: runs.Run, capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = done("export r --int8", capsys)
    assert "In 8 bits" in out
    assert "pruned-int8.onnx" in out
    assert max(map(len, out.splitlines())) <= 80
    document = json.loads(done(f"bench r --json {QUICK}", capsys)[0])
    found = {n["name"]: n for n in document["networks"]}
    assert list(found) == ["dense", "pruned", "dense-int8", "pruned-int8"]
    told = records.read(run.record_path("pruned-int8"), records.Int8)
    assert found["pruned-int8"]["outputs"][0]["measures"] == told.beside_dense[0].measures
    assert found["pruned-int8"]["flops"] == found["pruned"]["flops"]
    out, _ = done(f"bench r {QUICK}", capsys)
    assert "dense-int8" in out
    run.weights_path("pruned").write_bytes(run.weights_path("dense").read_bytes())
    save = run.onnx_path("pruned")
    save.unlink()
    assert "no pruned.onnx" in refused(f"bench r {QUICK}", capsys)


def test_a_file_of_other_weights_is_not_measured(
    run: runs.Run, capsys: pytest.CaptureFixture[str]
) -> None:
    done("export r --int8 --calibrate 8", capsys)
    old = run.onnx_path("dense-int8").read_bytes()
    run.onnx_path("pruned-int8").write_bytes(old)  # it says whose weights it has
    record = json.loads(run.record_path("pruned-int8").read_text())
    run.record_path("pruned-int8").write_text(json.dumps(record | {"sha256": ""}))  # an old one
    said = refused(f"bench r {QUICK}", capsys)
    assert "made from other weights" in said
    assert said.endswith("edgeprune export r --int8")


def test_a_command_that_dies_leaves_what_was_there(
    run: runs.Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    done("export r --int8 --calibrate 8", capsys)
    before = {p.name: p.read_bytes() for p in run.path.glob("*int8*")}
    assert len(before) == 4

    def dies(*_: object) -> None:
        raise EdgepruneError("judging", "the lights went out")

    monkeypatch.setattr(quantising, "judged", dies)
    assert "lights went out" in refused("export r --int8 --calibrate 16", capsys)
    assert {p.name: p.read_bytes() for p in run.path.glob("*int8*")} == before
    assert not list(run.path.glob(".*part*"))


def test_examples_that_calibrate_do_not_judge(
    run: runs.Run, capsys: pytest.CaptureFixture[str]
) -> None:
    from edgeprune.ways import exporting

    mine = np.concatenate([x.numpy() for x in quantising.calibrating(run, 1000)])
    assert len(mine) == 64
    theirs = np.concatenate([x.numpy() for x, _ in exporting.judging(run).batches(64)])
    assert len(theirs) == 16
    assert not any((mine == x).all(axis=(1, 2, 3)).any() for x in theirs)
    assert len(np.concatenate([x.numpy() for x in quantising.calibrating(run, 10)])) == 10


def test_the_mobile_format(run: runs.Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert "did you mean" in refused("export r --format orts", capsys)
    assert not run.exported
    out, err = done("export r --int8 --calibrate 16 --format ort", capsys)
    names = [*run.exported]
    assert len(names) == 4
    for name in names:
        assert f"{name}.ort" in out
        made = parity.session(run.path / f"{name}.ort")
        x = next(iter(quantising.calibrating(run, 4)))
        own = parity.run_on(parity.session(run.onnx_path(name)), x)[0]
        assert np.abs(parity.run_on(made, x)[0] - own).max() < 0.03 * np.abs(own).max()
    listed = (run.path / "operators.config").read_text()
    assert "QLinearConv" in listed
    assert str(run.path.resolve()) not in listed
    assert "operators.config" in err


def test_without_images(run: runs.Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert "add --int8" in refused("export r --calibrate 5", capsys)
    recipe = json.loads(run.recipe_path.read_text())
    run.recipe_path.write_text(json.dumps(recipe | {"images": None}))
    assert errors.run(app, ["export", "r", "--int8"]) == 2
    with pytest.raises(EdgepruneError, match="no images to take the ranges from"):
        quantising.calibrating(run, 5)


def test_a_method_that_is_not_there_is_refused_before_anything_is_written(
    run: runs.Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "did you mean lstsq?" in refused("export r --int8 --int8-method lsts+mse", capsys)
    assert "add --int8" in refused("export r --int8-method mse", capsys)
    assert not run.exported


def test_doctor_compares_8_bits_with_the_network_that_they_came_from(
    run: runs.Run,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(sweep, "peaks", lambda **how: PEAKS)
    done("export r --int8 --calibrate 8", capsys)
    out, _ = done("doctor r --json", capsys)
    told = {n["name"]: n["findings"][0] for n in json.loads(out)["networks"] if n["findings"]}
    for name in ("dense-int8", "pruned-int8"):
        assert told[name]["kind"] in ("int8", "int8 slower")
        assert f"than {records.parent_of(name)}, which" in told[name]["seen"]
    assert "than dense where" in told["pruned"]["seen"]
    seen: list[str] = []
    monkeypatch.setattr(doctor, "repair", lambda run, case, as_json: seen.append(case.network.name))
    done("doctor r --fix", capsys)
    assert seen == ["pruned"]
    out, _ = done(f"doctor {run.onnx_path('pruned-int8')} --json", capsys)  # alone
    assert [n["name"] for n in json.loads(out)["networks"]] == ["pruned-int8"]


def test_a_network_that_8_bits_do_not_hold_is_said_to_be_so(
    run: runs.Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(eight_bits, "HELD", 1.1)  # more than there is
    _, err = done("export r --int8 --calibrate 16", capsys)
    told = records.read(run.record_path("dense-int8"), records.Int8)
    assert told.worst
    layers = ", ".join(k.layer for k in told.worst)
    assert "dense-int8: 8 bits do not hold this network" in err
    assert f"furthest off: {layers}. Deploy the float file" in err
