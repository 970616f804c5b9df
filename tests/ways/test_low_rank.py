"""Layers as pairs, as a run: written, read again, exported, and pruned besides."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from edgeprune import checkpoint, records, runs
from edgeprune.cli import app, errors
from edgeprune.doctor.fix import fix
from edgeprune.errors import EdgepruneError
from edgeprune.graph import cost
from edgeprune.prices import Target
from edgeprune.prune import low_rank
from edgeprune.ways import Settings, result, way_of
from edgeprune.ways.low_rank import LowRank

from . import tiny

HALF = Target("flops", 0.5)


def test_words() -> None:
    assert way_of({"target": HALF, "energy": 0.9}, None, "low-rank") == LowRank(
        Settings(target=HALF), 0.9
    )
    for typed, said in (
        ({}, "--way low-rank: no target"),
        ({"energy": 1.5}, "--energy 1.5: must lie in"),
        ({"target": Target("bytes", 0.5)}, "ranks are chosen by FLOPs or parameters"),
        ({"target": HALF, "retrain_epochs": 3}, "--way low-rank does none"),
    ):
        with pytest.raises(EdgepruneError, match=said):
            way_of(typed, None, "low-rank")


def test_the_most_energy_that_a_target_leaves() -> None:
    """Two layers of 100 each, squares of the values 8 4 2 1 and 1 1 1 1; a rank costs a fifth of a layer."""
    seen = {
        name: (low_rank.Spectrum("channels", torch.tensor(squares).sqrt(), 100, 20),)
        for name, squares in (("a", [8.0, 4.0, 2.0, 1.0]), ("b", [1.0, 1.0, 1.0, 1.0]))
    }
    costs = {"a": 100.0, "b": 100.0}
    # half of 400 is left of both layers and of 200 that cannot: nothing of them; 0.75: one rank, and four
    assert low_rank.energy_for(seen, costs, 400, 0.5) is None
    energy = low_rank.energy_for(seen, costs, 400, 0.75)
    assert energy is not None
    # up to 0.25 one rank each: (200 + 20 + 20) / 400 = 0.6; to 0.5: a 1, b 2: 0.65; to 0.5333: a 1, b 3: 0.7;
    # to 0.75: a 2, b 3: 0.75; above it b 4
    assert energy == pytest.approx(0.75, abs=1e-6)
    assert {n: f.rank for n, f in low_rank.chosen(seen, energy).items()} == {"a": 2, "b": 3}
    assert {n: f.rank for n, f in low_rank.chosen(seen, 0.5, 2).items()} == {"a": 2, "b": 2}


def test_a_run_of_pairs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = tiny.prepare(tmp_path).replace("prune ", "train ")
    for left_out in (
        "--retrain-epochs 2",
        "--step 0.25",
        "--max-steps 3",
        "--max-drop 60",
        "--round-to 1",
    ):
        words = words.replace(left_out, "")
    assert errors.run(app.app, words.split()) == 0

    assert (
        errors.run(
            app.app, "prune r --way low-rank --keep-flops 0.8 --round-to 1 --name low".split()
        )
        == 0
    )
    low = runs.named("low")
    spec = checkpoint.read_spec(low)
    assert spec.factored
    assert set(spec.factored) <= {"0", "3", "8"}
    loaded, dense = checkpoint.load(low, "pruned"), checkpoint.load(low, "dense")
    left = cost(loaded.graph).flops / cost(dense.graph).flops
    assert left <= 0.82
    assert result(low, "pruned").flops == cost(loaded.graph).flops
    assert f"{100 * left:.1f} % of the FLOPs (80.0 % asked)" in str(result(low, "pruned").stopped)
    x = torch.randn(4, 3, 16, 16)
    assert torch.equal(loaded.model(x), checkpoint.load(low, "pruned").model(x))
    assert loaded.model(x).isfinite().all()
    assert errors.run(app.app, "export low".split()) == 0
    with pytest.raises(EdgepruneError, match="written as pairs"):
        fix(low, 8)

    command = (
        "prune r --way low-rank --energy 0.9 --keep-flops 0.4 --round-to 1 --floor 0.05 --name both"
    )
    assert errors.run(app.app, command.split()) == 0
    both = checkpoint.load(runs.named("both"), "pruned")
    small = cost(both.graph).flops / cost(dense.graph).flops
    assert small == pytest.approx(0.4, abs=0.08)
    whole = dense.graph.widths
    names = {n: n.removesuffix(".1") for n in both.kept}
    assert any(len(both.kept[n]) < whole[name] for n, name in names.items() if name in whole)

    path = low.spec_path
    written = json.loads(path.read_text())
    path.write_text(json.dumps(written | {"factored": {"5": "channels"}}))
    with pytest.raises(EdgepruneError, match="'5' is no layer"):
        checkpoint.load(low, "pruned")
    path.write_text(json.dumps(written | {"factored": {"0": "tucker"}}))
    with pytest.raises(EdgepruneError, match="factored"):
        records.read(path, records.Spec)
    capsys.readouterr()
    assert (
        errors.run(app.app, "prune r --way low-rank --energy 1 --round-to 1 --name none".split())
        == 2
    )
    assert "no layer has a pair that is smaller" in capsys.readouterr().err
    assert not runs.named("none").path.exists()
