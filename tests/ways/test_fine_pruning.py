"""Fine-Pruning: what its search makes least, what stays, and that what left may come back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

pytest.importorskip("optuna", reason="pip install 'edgeprune[study]'")

from edgeprune import graph, prune, records, runs
from edgeprune.cli import app, errors
from edgeprune.errors import EdgepruneError
from edgeprune.ways import Settings
from edgeprune.ways.fine_pruning import FinePruning, doubled, give_back, kept_of, least, objective

from . import tiny

EXAMPLE = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def traced() -> graph.Graph:
    made: dict = {}
    exec(tiny.NETWORK, made)
    torch.manual_seed(0)
    return graph.trace(made["tiny"](3).eval(), EXAMPLE)


def test_the_objective_is_the_error_less_what_was_saved_is_worth() -> None:
    assert objective(0.3, 0.0, 0.1) == pytest.approx(0.3)
    assert objective(0.3, 0.5, 0.1) == pytest.approx(0.25)
    assert objective(0.0, 1.0, 2.0) == pytest.approx(-2.0)


def test_what_stays_of_a_share() -> None:
    whole = traced()
    scores = {n: torch.arange(g.width, dtype=torch.float) for n, g in whole.groups.items()}
    first, second = list(whole.groups)[:2]
    kept = kept_of(
        whole, scores, {first: 0.5, second: 1.0}, Settings(score="l1", compensate="none")
    )
    assert kept[first] == [4, 5, 6, 7]  # of 8, the highest
    assert kept[second] == list(range(12))
    assert [least(f) for f in (0.0, 0.1, 0.125, 0.13, 1.0)] == [1, 1, 1, 2, 8]


def test_trained_weights_go_back_to_where_they_came_from_and_the_others_stay() -> None:
    whole = traced()
    before = {k: v.clone() for k, v in whole.model.state_dict().items()}
    first, second = list(whole.groups)[:2]
    keep = {first: [0, 2, 5], second: [1, 3, 4, 10]}
    smaller = prune.narrow(whole, keep)
    with torch.no_grad():
        for tensor in smaller.model.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(1)
    give_back(whole, keep, smaller, doubled(EXAMPLE))
    again = prune.narrow(whole, keep).model.state_dict()
    for name, tensor in smaller.model.state_dict().items():
        assert torch.equal(again[name], tensor), name
    weight, old = whole.model.state_dict()["0.weight"], before["0.weight"]
    assert torch.equal(weight[[0, 2, 5]], old[[0, 2, 5]] + 1)
    assert torch.equal(weight[[1, 3, 4, 6, 7]], old[[1, 3, 4, 6, 7]])  # and can come back
    inner = whole.model.state_dict()["3.weight"] - before["3.weight"]
    assert inner[[1, 3, 4, 10]][:, [0, 2, 5]].mean() == pytest.approx(1, abs=1e-5)
    assert inner.sum() == pytest.approx(4 * 3 * 9, rel=1e-4)


def test_what_is_refused() -> None:
    from edgeprune.prices import Target

    for words in ({"sampler": "random"}, {"trials": 1}, {"worth": -1.0}, {"price": "gold"}):
        with pytest.raises((EdgepruneError, KeyError)):
            FinePruning(**words)
    with pytest.raises(EdgepruneError, match="leave the target out"):
        FinePruning(Settings(score="l1", compensate="none", target=Target("flops", 0.5)))


def test_a_network_is_searched_and_tuned_in_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    typed, _, _ = tiny.prepare(tmp_path).partition(" --retrain-epochs")
    words = (
        f"{typed} --precision fp32 --retrain-epochs 1 --round-to 1 --way fine-pruning --rounds 2"
    )
    words += " --trials 4 --worth 5 --name f"  # anything that is saved is worth it
    assert errors.run(app.app, words.split()) == 0, capsys.readouterr().err
    run = runs.Run(Path("runs/f"))
    steps = run.history(records.Step)
    assert [s.step for s in steps] == [1, 2]
    dense, pruned = run.history(records.Result)
    assert pruned.flops < dense.flops
    assert pruned.flops == steps[-1].flops
    assert "2 rounds of search and fine-tuning" in str(pruned.stopped)
    assert not run.state_folder.exists()
    assert errors.run(app.app, ["export", "f"]) == 0
