"""What the rounds of the ways decide: rates, teachers, who judges, targets, moments, sensitive layers."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from edgeprune import prune
from edgeprune.graph import Graph, cost, trace
from edgeprune.prices import PRICES, Target
from edgeprune.records import Result
from edgeprune.train import Recipe
from edgeprune.train.recipes import learning_rate
from edgeprune.ways import gradual, rounds, sensitivity
from edgeprune.ways.post_training import Settings
from edgeprune.ways.sensitivity import Curve

TRAINED = Recipe(lr=4e-3, epochs=40, patience=15, weight_decay=0.02)


def work(**way: Any) -> Any:
    """A pruning whose dense training came down to 2e-5 in bfloat16."""
    results = [
        Result(network="pruned", params=1, flops=1, precision="fp32"),
        Result(network="dense", params=1, flops=1, precision="bf16", lowest_lr=2e-5),
    ]
    run = SimpleNamespace(history=lambda kind: results, state_folder=Path("state"))
    return SimpleNamespace(
        run=run,
        way=SimpleNamespace(**{"distil": False, "retrain_epochs": 5} | way),
        asked=SimpleNamespace(training=TRAINED, seed=7),
        dense=SimpleNamespace(model="the dense network", convention="convention"),
        labelled=SimpleNamespace(train="train", validation="validation", test="test"),
        watch=None,
        task="task",
    )


def test_the_paper_retrains_at_the_lowest_rate_to_the_end() -> None:
    recipe = rounds.retraining(work(), 5, "paper")
    assert [learning_rate(recipe, t) for t in (0, 0.1, 2.5, 4.99)] == [2e-5] * 4
    assert (recipe.epochs, recipe.patience, recipe.precision) == (5, 0, "bf16")
    assert (recipe.weight_decay, recipe.batch_size) == (0.02, 64)  # the rest as it was trained
    assert rounds.retraining(work(distil=True), 5, "paper").teacher_share == 0.9


def test_healing_restarts_at_three_tenths_and_falls_to_a_hundredth() -> None:
    recipe = rounds.retraining(work(), 5, "restart")
    highest = 0.3 * 4e-3
    assert learning_rate(recipe, 0.1) == pytest.approx(highest)
    assert learning_rate(recipe, 5) == pytest.approx(0.01 * highest)
    assert learning_rate(recipe, 2.55) == pytest.approx(0.505 * highest)  # in the middle of the two
    assert (recipe.epochs, recipe.patience, recipe.precision) == (5, 0, "bf16")


@pytest.mark.parametrize("distil", [False, True])
def test_who_teaches_and_who_judges(distil: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: dict[str, Any] = {}

    def heal(
        pruned: Any, teacher: Any, data: Any, convention: Any, recipe: Recipe, **_: Any
    ) -> Any:
        heard.update(pruned=pruned, teacher=teacher, seed=recipe.seed)
        return SimpleNamespace(best_validation=0.8)

    def evaluate(model: Any, split: Any, convention: Any, *, precision: str, task: str) -> Any:
        heard.update(judged=(model, split, precision, task))
        return SimpleNamespace(score=0.6)

    monkeypatch.setattr(rounds, "heal", heal)
    monkeypatch.setattr(rounds.train, "evaluate", evaluate)
    means = rounds.Means(TRAINED.but(precision="bf16"), None, 0.9)
    pruned = SimpleNamespace(model="the pruned network")
    assert rounds.judged(work(distil=distil), means, pruned, 3) == (0.6, 0.8)  # type: ignore[arg-type]
    assert heard.pop("judged") == ("the pruned network", "validation", "bf16", "task")
    teacher = "the dense network" if distil else None
    assert heard == {"pruned": "the pruned network", "teacher": teacher, "seed": 7 + 3}
    heard.clear()
    assert rounds.judged(work(retrain_epochs=0), means, pruned, 3) == (0.6, 0.6)  # type: ignore[arg-type]
    assert "pruned" not in heard  # nothing is retrained


@pytest.fixture(scope="module")
def three() -> Graph:
    """Three equal layers of 16 filters and a last one that stays."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for width in (3, 16, 16):
        layers += [nn.Conv2d(width, 16, 3, padding=1), nn.ReLU()]
    return trace(nn.Sequential(*layers, nn.Conv2d(16, 4, 1)).eval(), torch.zeros(2, 3, 8, 8))


def test_a_round_counts_from_the_dense_network(three: Graph) -> None:
    """Half of it is there; 0.4 of the dense one is then 0.8 of what is there, and 0.6 is all of it."""
    made = prune.plan.make(
        three, {n: prune.l1(three, n) for n in three.groups}, target=Target("flops", 0.5)
    )
    small = prune.narrow(three, made.keep)
    there = cost(small).flops / cost(three).flops
    for settings in (
        Settings(target=Target("flops", 0.4)),
        Settings(target=Target("params", 0.4)),
    ):
        left = rounds.share_left(settings, three, small, 0.4, PRICES)
        what = settings.target.price
        of = getattr(cost(small), what) / getattr(cost(three), what)
        assert left == pytest.approx(0.4 / of)
        assert rounds.share_left(settings, three, small, 0.6, PRICES) == 1.0
    assert there == pytest.approx(0.5, abs=0.02)


def test_cuts_are_evenly_spaced_until_their_time() -> None:
    """Four cuts until 0.6 of the training: at 0.15, 0.3, 0.45 and 0.6."""
    way = gradual.Gradual(
        Settings(target=Target("flops", 0.5), score="l1", compensate="none"),
        rounds=4,
        until=0.6,
    )
    moments = (0.0, 0.149, 0.15, 0.29, 0.3, 0.45, 0.59, 0.6, 0.99)
    assert [gradual.due(way, t) for t in moments] == [0, 0, 1, 1, 2, 3, 3, 4, 4]


@pytest.mark.parametrize("tender", ["0", "2", "4"])
def test_a_layer_that_was_measured_as_sensitive_is_spared(three: Graph, tender: str) -> None:
    """Its accuracy falls to 0.2 at once; the others give for nothing, so one of them gives."""
    falls = {True: (0.9, 0.2, 0.1, 0.1, 0.1), False: (0.9,) * 5}
    curves = [Curve(n, (0.0, 0.125, 0.25, 0.5, 0.75), falls[n == tender]) for n in three.groups]
    widths = rounds.widths(three)
    losses = sensitivity.losses(curves, widths, widths)
    scores = {n: prune.l1(three, n) for n in three.groups}
    made = prune.plan.make(
        three, scores, method="sensitivity", target=Target("flops", 0.6), curves=losses
    )
    assert made.widths[tender] == 16
    assert sum(made.widths.values()) < 48
