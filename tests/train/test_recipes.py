"""Recipes and schedules: values, checked against their formulas."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune import records
from edgeprune.errors import EdgepruneError
from edgeprune.train import RECIPES, Recipe
from edgeprune.train.recipes import learning_rate, lowest_lr, named


@pytest.mark.parametrize(
    ("epochs", "lowest"),
    [(1, 1e-3), (40, 1e-3), (41, 1e-4), (80, 1e-4), (81, 1e-5), (120, 1e-5)],
)
def test_the_papers_lowest_rate(epochs: int, lowest: float) -> None:
    assert lowest_lr(RECIPES["paper"], epochs) == pytest.approx(lowest)


def test_the_papers_rate_falls_at_40_and_80() -> None:
    rates = [learning_rate(RECIPES["paper"], t) for t in (0, 39.99, 40, 79.99, 80, 119)]
    assert rates == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5])


@given(st.integers(1, 200), st.floats(0, 50), st.sampled_from(["steps", "cosine", "constant"]))
def test_rates_stay_within_their_bounds(epochs: int, warm: float, schedule: str) -> None:
    recipe = Recipe(epochs=epochs, warmup_epochs=warm, schedule=schedule, lr=0.1, floor=0.05)
    warm_for = min(warm, epochs / 4)
    rates = [learning_rate(recipe, epochs * i / 50) for i in range(51)]
    assert all(0 < r <= 0.1 * (1 + 1e-9) for r in rates)
    after = [r for i, r in enumerate(rates) if epochs * i / 50 >= warm_for]
    assert after == sorted(after, reverse=True)
    assert lowest_lr(recipe, epochs) == pytest.approx(
        min(learning_rate(recipe, t) for t in (warm_for, epochs - 1e-9) if t >= warm_for)
    )


def test_cosine_is_half_a_cosine_between_lr_and_its_floor() -> None:
    recipe = Recipe(epochs=12, warmup_epochs=2, lr=1.0, floor=0.1)
    assert learning_rate(recipe, 2) == pytest.approx(1.0)
    assert learning_rate(recipe, 7) == pytest.approx((1 + 0.1) / 2)
    assert learning_rate(recipe, 12) == pytest.approx(0.1)
    assert learning_rate(recipe, 1) == pytest.approx(0.505)
    quarter = 0.1 + 0.9 * (1 + math.cos(math.pi / 4)) / 2
    assert learning_rate(recipe, 4.5) == pytest.approx(quarter)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_survives_json(name: str) -> None:
    recipe = named(name, pretrained=True)
    assert records.parse(json.dumps(records.plain(recipe)), Recipe, "") == recipe


@pytest.mark.parametrize(
    "wrong",
    [
        {"optimizer": "adamm"},
        {"schedule": "cos"},
        {"precision": "int8"},
        {"epochs": 0},
        {"batch_size": 0},
        {"lr": 0.0},
        {"lr": math.nan},
        {"clip": -1.0},
        {"label_smoothing": 1.5},
        {"temperature": 0.0},
        {"patience": -1},
    ],
)
def test_nonsense_is_refused_in_one_line(wrong: dict) -> None:
    with pytest.raises(EdgepruneError, match=next(iter(wrong))) as caught:
        Recipe(**wrong)
    assert "\n" not in str(caught.value)


def test_unknown_words_are_refused() -> None:
    with pytest.raises(EdgepruneError, match="did you mean paper"):
        named("papr", pretrained=False)
    with pytest.raises(EdgepruneError, match="learning_rate: Unexpected keyword"):
        records.value({"learning_rate": 1}, Recipe, "")


def test_pre_trained_weights_are_trained_more_gently() -> None:
    scratch, tuned = (named("default", pretrained=p) for p in (False, True))
    assert tuned.lr < scratch.lr
    paper = [named("paper", pretrained=p) for p in (False, True)]
    assert paper == [RECIPES["paper"]] * 2


def test_the_default_is_fitted_to_the_network_and_the_set() -> None:
    plain = named("default", pretrained=False, images=50_000)
    assert plain == RECIPES["default"]
    tuned = named("default", pretrained=True, images=50_000)
    assert tuned == plain.but(lr=0.3 * plain.lr)
    small = [named("default", pretrained=False, images=n).batch_size for n in (3999, 4000)]
    assert small == [32, 64]
    bare = named("default", pretrained=False, normalised=False, images=50_000)
    assert bare == plain.but(optimizer="sgd", lr=0.05, weight_decay=5e-4)
    assert named("default", pretrained=True, normalised=False).lr == pytest.approx(0.015)


def test_a_short_training_warms_up_for_a_quarter_of_it() -> None:
    """Two epochs were asked for; of four epochs one is a quarter."""
    recipe = Recipe(epochs=4, warmup_epochs=2, schedule="constant", lr=1.0)
    rates = [learning_rate(recipe, t) for t in (0, 0.5, 1, 3)]
    assert rates == pytest.approx([0.01, 0.505, 1.0, 1.0])


def test_a_number_beyond_all_bounds_is_one_line() -> None:
    with pytest.raises(EdgepruneError, match="cannot be"):
        records.value(records.plain(Recipe()) | {"epochs": 10**400}, Recipe, "")
