"""Splits by class: the same for the same seed, nothing lost, nothing twice."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.data.splits import carve, order, subset
from edgeprune.errors import EdgepruneError

SHARES = {"test": 0.2, "validation": 0.1}


@given(st.lists(st.integers(0, 5), min_size=3, max_size=200), st.integers(0, 3))
def test_every_image_is_in_exactly_one_part(labels: list[int], seed: int) -> None:
    parts, _ = carve(np.array(labels), SHARES, seed)
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(len(labels)))
    assert all(len(p) for p in parts.values())
    assert all((np.diff(p) > 0).all() for p in parts.values())


def test_shares_hold_in_every_class() -> None:
    labels = np.repeat([0, 1, 2], [100, 50, 200])
    parts, notes = carve(labels, SHARES, 0)
    assert {p: np.bincount(labels[i]).tolist() for p, i in parts.items()} == {
        "train": [70, 35, 140],
        "test": [20, 10, 40],
        "validation": [10, 5, 20],
    }
    assert notes == []


def test_seed_decides() -> None:
    labels = np.repeat(np.arange(10), 50)
    first, again, other = (carve(labels, SHARES, seed)[0]["test"] for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_permutation_is_pinned() -> None:
    """Were it to change, runs of earlier versions could not go on with their own split."""
    assert order(8, 0).tolist() == PINNED
    assert order(8, 0).tolist() != order(8, 1).tolist()
    assert order(50, 3, 1).tolist() != order(50, 3, 2).tolist()


PINNED = [3, 2, 1, 6, 0, 7, 4, 5]


def test_small_classes() -> None:
    labels = np.repeat([0, 1, 2, 3], [1, 2, 3, 30])
    parts, notes = carve(labels, SHARES, 0)
    counts = {p: np.bincount(labels[i], minlength=4).tolist() for p, i in parts.items()}
    assert counts["train"][0] == 1
    assert counts["train"][1] == 1
    assert (counts["train"][2], counts["test"][2], counts["validation"][2]) == (1, 1, 1)
    assert notes == ["1 classes have one image only: it stays in training"]


def test_one_image_in_every_class() -> None:
    parts, notes = carve(np.arange(100), SHARES, 0)
    assert {p: len(i) for p, i in parts.items()} == {"train": 70, "test": 20, "validation": 10}
    assert "not class by class" in notes[0]


def test_too_few() -> None:
    with pytest.raises(EdgepruneError, match="too few"):
        carve(np.array([0, 1]), SHARES, 0)


def test_nothing_to_carve() -> None:
    parts, notes = carve(np.array([0, 1, 1]), {}, 0)
    assert parts["train"].tolist() == [0, 1, 2]
    assert notes == []


@given(st.lists(st.integers(0, 5), min_size=1, max_size=100), st.integers(1, 120))
def test_subset_is_exact_and_fair(labels: list[int], limit: int) -> None:
    kept = subset(np.array(labels), limit, 0)
    n, kinds = min(limit, len(labels)), len(set(labels))
    assert len(kept) == len(set(kept.tolist())) == n
    assert len({labels[i] for i in kept}) == min(n, kinds) or n < kinds
    if n >= kinds:
        assert {labels[i] for i in kept} == set(labels)


def test_subset_keeps_the_rarest_class() -> None:
    """Two of 5 and 1: by proportion alone 1.67 and 0.33, and the second class would be gone."""
    labels = np.array([0, 0, 0, 0, 0, 1])
    assert np.bincount(labels[subset(labels, 2, 0)]).tolist() == [1, 1]


def test_subset_in_proportion() -> None:
    labels = np.repeat([0, 1], [300, 100])
    assert np.bincount(labels[subset(labels, 40, 0)]).tolist() == [30, 10]
    assert np.array_equal(subset(labels, 40, 0), subset(labels, 40, 0))
    assert not np.array_equal(subset(labels, 40, 0), subset(labels, 40, 1))
    with pytest.raises(EdgepruneError, match="--limit 0"):
        subset(labels, 0, 0)
