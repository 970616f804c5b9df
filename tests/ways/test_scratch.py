"""The control: the pruned shape from random weights, for as many epochs or as much computing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from edgeprune import files, records, runs
from edgeprune.cli import app, errors
from edgeprune.train import RECIPES, named
from edgeprune.train.recipes import from_random
from edgeprune.ways import result
from edgeprune.ways.scratch import longer_by, refanned

from . import tiny


def test_how_long_it_is_trained() -> None:
    assert longer_by("epochs", 2.5) == 1
    assert longer_by("compute", 2.5) == 2.5
    assert longer_by("compute", 0.5) == 1  # never shorter


def test_the_learning_rate_is_that_of_random_weights() -> None:
    tuned = named("default", pretrained=True)
    assert from_random(tuned) == named("default", pretrained=False) == RECIPES["default"]
    plain = named("default", pretrained=True, normalised=False)
    assert from_random(plain) == named("default", pretrained=False, normalised=False)
    assert from_random(RECIPES["paper"]) == RECIPES["paper"]
    typed = RECIPES["default"].but(lr=0.02)
    assert from_random(typed) == typed


def test_weights_are_drawn_for_the_inputs_that_are_left() -> None:
    """A layer of 8 of 32 inputs: deviation 1/sqrt(3 * 8) of the whole one's 1/sqrt(3 * 32)."""
    torch.manual_seed(0)
    whole, small = nn.Linear(32, 2000), nn.Linear(8, 2000)
    with torch.no_grad():
        small.weight.copy_(whole.weight[:, :8])
        small.bias.copy_(whole.bias)
        refanned(small, {"weight": whole.weight, "bias": whole.bias})
    assert small.weight.std().item() == pytest.approx((3 * 8) ** -0.5, rel=0.03)
    assert small.bias.std().item() == pytest.approx((3 * 8) ** -0.5, rel=0.05)


def test_the_pruned_shape_from_random_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert errors.run(app.app, tiny.prepare(tmp_path).split()) == 0
    plan = "--plan runs/r/plan.json"
    assert errors.run(app.app, "prune r --way scratch --name s".split()) == 2
    assert "no target" in capsys.readouterr().err
    assert errors.run(app.app, f"prune r --way scratch {plan} --budget time --name s".split()) == 2
    assert "--budget 'time'" in capsys.readouterr().err
    assert errors.run(app.app, f"prune r --way scratch {plan} --step 0.5 --name s".split()) == 2
    assert "--step" in capsys.readouterr().err
    assert not Path("runs/s").exists()
    for name, budget in (("s", "epochs"), ("t", "compute")):
        words = f"prune r --way scratch {plan} --budget {budget} --name {name}"
        assert errors.run(app.app, words.split()) == 0, capsys.readouterr().err
    pruned, same, longer = (runs.Run(Path("runs") / n) for n in "rst")
    dense, small = (result(pruned, n) for n in ("dense", "pruned"))
    for run, epochs in ((same, 3), (longer, round(3 * dense.flops / small.flops))):
        assert result(run, "pruned").widths == small.widths
        assert files.read_json(run.spec_path)["kept"] == files.read_json(pruned.spec_path)["kept"]
        retrained = [e for e in run.history(records.Epoch) if e.phase == "retrain"]
        assert len(retrained) == epochs == retrained[0].epochs
        weights = [
            files.read_tensors(r.weights_path("pruned"))[0]["0.weight"] for r in (run, pruned)
        ]
        assert not torch.equal(*weights)
    assert epochs > 3
