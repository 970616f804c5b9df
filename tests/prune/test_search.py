"""The search over weights: what a judge likes is found, as often asked as was said, by the seed alone."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest

from edgeprune.prune.search import search, weighted

NAMES = [f"g{i}" for i in range(8)]
WANTED = {name: 0.6 if i % 2 else -0.4 for i, name in enumerate(NAMES)}  # logarithms


def near(weights: Mapping[str, float]) -> float:
    return -sum((math.log(w) - WANTED[name]) ** 2 for name, w in weights.items())


def test_what_the_judge_likes_is_found() -> None:
    found = search(NAMES, near, 300, seed=0)
    assert found.even == near(dict.fromkeys(NAMES, 1.0))
    assert found.value == near(found.weights) > 0.05 * found.even


def test_it_asks_as_often_as_it_may_and_the_seed_decides() -> None:
    asked: list[dict[str, float]] = []
    told: list[int] = []

    def judge(weights: Mapping[str, float]) -> float:
        asked.append(dict(weights))
        return near(weights)

    first = search(NAMES, judge, 12, seed=3, told=told.append)
    assert asked[0] == dict.fromkeys(NAMES, 1.0)
    assert first.judgements == len(asked) == 12
    assert told == list(range(1, 13))
    assert first == search(NAMES, near, 12, seed=3)
    assert first != search(NAMES, near, 12, seed=4)


def test_nothing_better_leaves_all_alike() -> None:
    found = search(NAMES, lambda weights: -max(abs(w - 1) for w in weights.values()), 30, seed=0)
    assert found.weights == dict.fromkeys(NAMES, 1.0)
    assert found.value == found.even == 0


def test_a_move_changes_some_weights_of_the_best_so_far() -> None:
    asked: list[dict[str, float]] = []

    def judge(weights: Mapping[str, float]) -> float:
        asked.append(dict(weights))
        return float(len(asked) == 5)  # the fifth is the best

    search(NAMES, judge, 9, seed=1)
    for child in asked[5:]:
        same = sum(child[name] == asked[4][name] for name in NAMES)
        assert 0 < same < len(NAMES)
    assert all(math.exp(-3) <= w <= math.exp(3) for child in asked for w in child.values())


def test_curves_are_weighted() -> None:
    assert weighted({"a": [1, 0.5, 0]}, {"a": 3.0}) == {"a": [3.0, 1.5, 0.0]}
    with pytest.raises(KeyError):
        weighted({"a": [1, 0]}, {})
