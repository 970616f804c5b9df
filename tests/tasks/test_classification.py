"""Losses against their formulas, written out in NumPy; when two answers are the same one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgeprune.tasks import CLASSIFICATION
from edgeprune.tasks.classification import accuracy_at_chance, loss_at_chance


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


@pytest.fixture
def case() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(0, 3, (7, 5)), rng.normal(0, 3, (7, 5)), rng.integers(0, 5, 7)


def smoothed(logits: np.ndarray, labels: np.ndarray, e: float) -> float:
    q = (1 - e) * np.eye(5)[labels] + e / 5
    return float(-(q * np.log(softmax(logits))).sum(1).mean())


@pytest.mark.parametrize("e", [0.0, 0.1])
def test_cross_entropy(case: tuple, e: float) -> None:
    logits, _, labels = case
    got = CLASSIFICATION.loss(torch.from_numpy(logits), torch.from_numpy(labels), e)
    assert float(got) == pytest.approx(smoothed(logits, labels, e))


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("T", [1.0, 4.0])
def test_distillation(case: tuple, share: float, T: float) -> None:
    logits, taught, labels = case
    p, q = softmax(taught / T), softmax(logits / T)
    kl = float((p * (np.log(p) - np.log(q))).sum(1).mean())
    expected = (1 - share) * smoothed(logits, labels, 0.1) + share * T**2 * kl
    got = CLASSIFICATION.distillation(
        *(torch.from_numpy(v) for v in case), share=share, temperature=T, smoothing=0.1
    )
    assert float(got) == pytest.approx(expected)


def test_distillation_from_oneself_costs_nothing(case: tuple) -> None:
    logits, labels = torch.from_numpy(case[0]), torch.from_numpy(case[2])
    got = CLASSIFICATION.distillation(logits, logits, labels, share=1.0, temperature=2.0)
    assert float(got) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("e", [0.0, 0.1])
def test_no_single_answer_beats_the_loss_at_chance(e: float) -> None:
    labels = np.array([0] * 6 + [1] * 3 + [2])
    least = loss_at_chance(labels, 5, e)
    q = (1 - e) * np.bincount(labels, minlength=5) / 10 + e / 5

    def loss(p: np.ndarray) -> float:
        logits = torch.from_numpy(np.log(p)).expand(10, 5)
        return float(CLASSIFICATION.loss(logits, torch.from_numpy(labels), e))

    assert loss(q + 1e-30) == pytest.approx(least)
    rng = np.random.default_rng(0)
    assert all(loss(rng.dirichlet(np.ones(5))) >= least for _ in range(50))


def test_chance_of_balanced_classes() -> None:
    labels = np.arange(1000) % 10
    assert loss_at_chance(labels, 10) == pytest.approx(np.log(10))
    assert 0.1 < accuracy_at_chance(labels) < 0.13
