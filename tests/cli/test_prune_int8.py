"""``prune --int8``, and what was never told of int8: the list of a run, its page; a file that is renamed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeprune import records, report, runs
from edgeprune.bench import subject, warnings
from edgeprune.report import page
from tests.cli.test_ways_to_prune import TO_HALF, WHOLE, done, place, refused
from tests.tiny_onnx import save

__all__ = ["place"]
QUICK = "--rounds 4 --passes 2 --seconds 0.1"


def test_pruned_and_in_8_bits_by_one_command(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = f"prune {WHOLE} --images photos {TO_HALF} --name r --int8"
    assert "leave one out" in refused(f"{words} --dry-run", capsys)
    out, err = done(words, capsys)
    run = runs.Run(Path("runs/r"))
    assert run.exported == ["dense", "pruned", "dense-int8", "pruned-int8"]
    assert "next: edgeprune bench r" in err
    told = records.read(run.record_path("pruned-int8"), records.Int8)
    agreement = f"{100 * told.beside_float[0].measures['agreement']:.1f} %"
    assert "pruned-int8: agreement kept" in err
    for shown in (out, page.html(report.read(run))):
        row = next(line for line in shown.splitlines() if "In 8 bits: as its float file" in line)
        assert agreement in (row if "<td" not in row else shown)
        assert "In 8 bits: .onnx file" in shown
    document = json.loads(done("runs r --json", capsys)[0])
    found = {row["quantity"]: row for row in document["comparison"]}
    assert found["In 8 bits: .onnx file"]["pruned"] == told.bytes
    assert any(note.startswith("pruned-int8: agreement kept") for note in document["notes"])
    done(f"bench r {QUICK}", capsys)
    found = {row["quantity"]: row for row in report.comparison(run).records()}
    assert found["In 8 bits: latency, median"]["pruned"] > 0
    renamed(run, capsys)


def renamed(run: runs.Run, capsys: pytest.CaptureFixture[str]) -> None:
    """A file is believed by what is in it."""
    own = run.onnx_path("dense-int8").read_bytes()
    run.onnx_path("dense-int8").write_bytes(run.onnx_path("dense").read_bytes())
    said = refused(f"bench r {QUICK}", capsys)
    assert "dense-int8.onnx: holds a float network, its name says a network in 8 bits" in said
    assert said.endswith("edgeprune export --int8")
    assert "not the file that dense-int8.json tells of" in done("runs r", capsys)[0]
    run.onnx_path("dense-int8").write_bytes(run.onnx_path("pruned-int8").read_bytes())
    assert "not the file that dense-int8.json tells of" in refused(f"doctor r {''}", capsys)
    run.onnx_path("dense-int8").write_bytes(own)
    kept = run.onnx_path("dense").read_bytes()
    run.onnx_path("dense").write_bytes(own)
    assert "holds a network in 8 bits, its name says a float network" in refused(
        f"bench r {QUICK}", capsys
    )
    run.onnx_path("dense").write_bytes(kept)
    run.weights_path("pruned").write_bytes(run.weights_path("dense").read_bytes())
    assert "pruned-int8.onnx left out: it was made from other weights" in done("runs r", capsys)[0]


def judged(name: str, seconds: float, int8: bool) -> records.Judged:
    return records.Judged(name=name, int8=int8, latency=records.Latency(median_s=seconds))


def test_slower_than_float_is_said_of_what_computes_in_8_bits(tmp_path: Path) -> None:
    listed = subject.inspect([save(tmp_path / "dense-int8.onnx")])[0]
    assert not listed.int8
    measured = None

    def said(*networks: records.Judged) -> str | None:
        found = warnings._slower(networks, measured)  # type: ignore[arg-type]
        return found.seen if found else None

    assert said(judged("dense", 1, False), judged("dense-int8", 2, False)) is None  # renamed
    assert said(judged("dense", 1, False), judged("dense-int8", 2, True)) == (
        "dense-int8 is 2.00x slower than dense"
    )
    assert said(judged("a", 1, False), judged("b", 3, True)) == "b is 3.00x slower than a"
    assert said(judged("a", 1, True), judged("b", 3, True)) is None
