"""Descriptors and mean average precision, by hand on a few numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgeprune.tasks import retrieval


def test_mean_average_precision_by_hand() -> None:
    """Five vectors on a quarter of the circle, at 0, 10, 25, 45 and 70 degrees; labels a b a b c."""
    at = np.deg2rad([0, 10, 25, 45, 70])
    vectors = torch.tensor(np.stack([np.cos(at), np.sin(at)], 1))
    # a at 0: b, a, ... -> 1/2; a at 25: b (15), b (20), a (25) -> 1/3
    # b at 10: a (10), a (15), b (35) -> 1/3; b at 45: a (20), c (25), b (35) -> 1/3; c has no other
    expected = (1 / 2 + 1 / 3 + 1 / 3 + 1 / 3) / 4
    found = retrieval.mean_average_precision(vectors, np.array([0, 1, 0, 1, 2]))
    assert found == pytest.approx(expected)


def test_average_precision_of_two_that_are_found() -> None:
    """At places 1 and 3: (1/1 + 2/3) / 2."""
    at = np.deg2rad([0, 5, 10, 20])
    vectors = torch.tensor(np.stack([np.cos(at), np.sin(at)], 1))
    labels = np.array([0, 0, 1, 0])
    one = (1 + 2 / 3) / 2  # of the first; of the second: at 5 both sides are equally far
    each = []
    for i in range(4):
        order = sorted((j for j in range(4) if j != i), key=lambda j: abs(at[j] - at[i]))
        hits = [k for k, j in enumerate(order) if labels[j] == labels[i]]
        each.append(np.mean([(n + 1) / (k + 1) for n, k in enumerate(hits)]) if hits else None)
    assert each[0] == one
    assert each[2] is None
    vectors[1] = torch.tensor([np.cos(np.deg2rad(4)), np.sin(np.deg2rad(4))])  # no tie
    found = retrieval.mean_average_precision(vectors, labels)
    assert found == pytest.approx(np.mean([one, 5 / 6, (1 / 2 + 2 / 3) / 2]))


def test_pools_by_hand() -> None:
    maps = torch.tensor([[[[1.0, 3.0], [0.0, 0.0]], [[2.0, 2.0], [2.0, 2.0]]]])
    torch.testing.assert_close(retrieval.gap(maps), torch.tensor([[1.0, 2.0]]) / 5**0.5)
    torch.testing.assert_close(retrieval.largest(maps), torch.tensor([[3.0, 2.0]]) / 13**0.5)
    # sides 2, 1, 1: the whole; four single places; nine of which the middle ones fall on the first
    places = {(0, 0): (1.0, 2.0), (0, 1): (3.0, 2.0), (1, 0): (0.0, 2.0), (1, 1): (0.0, 2.0)}
    total = torch.zeros(2)
    for y, x, side in retrieval.regions(2, 2):
        part = torch.tensor((3.0, 2.0) if side == 2 else places[y, x])
        total += part / part.norm()
    torch.testing.assert_close(retrieval.rmac(maps)[0], total / total.norm())


def test_regions_cover_the_map() -> None:
    """A square of 12: sides 12, 8, 6; one, four and nine of them, from end to end."""
    found = retrieval.regions(12, 12)
    assert found[:5] == [(0, 0, 12), (0, 0, 8), (0, 4, 8), (4, 0, 8), (4, 4, 8)]
    assert found[5:8] == [(0, 0, 6), (0, 3, 6), (0, 6, 6)]
    assert len(found) == 14
    wide = retrieval.regions(
        10, 16
    )  # two along the longer side: squares of 10 at 0 and 6 share 0.4
    assert [r for r in wide if r[2] == 10] == [(0, 0, 10), (0, 6, 10)]
    assert all(y + side <= 10 and x + side <= 16 for y, x, side in wide)


def test_triplets_by_hand() -> None:
    """At 0, 30, 40, 100 degrees, labels a a b b, and c alone at 200: each one's farthest and nearest."""
    at = np.deg2rad([0, 30, 40, 100, 200])
    vectors = torch.tensor(np.stack([np.cos(at), np.sin(at)], 1), requires_grad=True)
    labels = torch.tensor([0, 0, 1, 1, 2])
    a, p, n = retrieval.triplets(vectors, labels)
    assert (a.tolist(), p.tolist(), n.tolist()) == ([0, 1, 2, 3], [1, 0, 3, 2], [2, 2, 1, 1])
    farther = torch.cat(
        [vectors, torch.tensor([[np.cos(1.0), np.sin(1.0)]])]
    )  # at 57 degrees, of a
    _, p, _ = retrieval.triplets(farther, torch.tensor([0, 0, 1, 1, 2, 0]))
    assert p.tolist() == [5, 0, 3, 2, 0]

    def apart(one: float, other: float) -> float:
        return 2 * np.sin(np.deg2rad(abs(one - other)) / 2)

    pairs = [(0, 30, 40), (30, 0, 40), (40, 100, 30), (100, 40, 30)]
    expected = np.mean([max(0, 0.5 + apart(x, y) - apart(x, z)) for x, y, z in pairs])
    loss = retrieval.triplet_loss(vectors, labels, margin=0.5)
    assert loss.item() == pytest.approx(expected, abs=1e-5)
    loss.backward()
    assert vectors.grad is not None
    assert vectors.grad.abs().sum() > 0
    alone = retrieval.triplet_loss(vectors, torch.tensor([0, 1, 2, 3, 4]))
    assert alone.item() == 0
