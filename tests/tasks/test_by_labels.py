"""Losses and scores by labels, task by task, as a hand computes them; labels that do not fit are refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from edgeprune.errors import EdgepruneError
from edgeprune.records import Port
from edgeprune.tasks import TASKS
from edgeprune.tasks.maps import UNLABELLED


def scored(task: str, outputs: Tensor, targets: Tensor) -> float:
    """The score, in one piece and in two, which must be the same."""
    measure = TASKS[task].by_labels
    half = len(outputs) // 2
    parts = measure.parts(outputs[:half], targets[:half])
    whole = measure.value(parts + measure.parts(outputs[half:], targets[half:]))
    assert whole == pytest.approx(measure.value(measure.parts(outputs, targets)))
    assert whole is not None
    assert 0 <= whole <= 1
    return whole


def test_numbers_by_the_variance_that_is_explained() -> None:
    y, out = torch.tensor([[1.0], [2], [3], [6]]), torch.tensor([[1.0], [2], [4], [4]])
    assert float(TASKS["number"].loss(out, y, 0.0)) == pytest.approx(5 / 4)
    assert scored("number", out, y) == pytest.approx(1 - 5 / 14)
    assert scored("number", 100 * out, y) == 0  # worse than their mean
    assert scored("number", torch.zeros(4, 1), torch.ones(4, 1)) == 0  # nothing to explain
    (mae,) = TASKS["number"].told
    assert mae.value(mae.parts(out, y)) == pytest.approx(3 / 4)


def test_masks_by_their_overlap_without_unlabelled_pixels() -> None:
    y = torch.tensor([[[0, 1], [1, UNLABELLED]], [[0, 0], [2, 2]]])
    picked = torch.tensor([[[0, 1], [2, 2]], [[0, 1], [2, 2]]])
    out = torch.nn.functional.one_hot(picked, 3).permute(0, 3, 1, 2).float() * 5
    # class 0: 2 of 3 pixels, class 1: 1 of 3, class 2: 2 of 3
    assert scored("segmentation", out, y) == pytest.approx((2 / 3 + 1 / 3 + 2 / 3) / 3)
    sure = math.log(1 + 2 * math.exp(-5))  # of a right pixel; 5 more of a wrong one
    loss = TASKS["segmentation"].loss(out, y, 0.0)
    assert float(loss) == pytest.approx((7 * sure + 2 * 5) / 7, rel=1e-5)


def test_one_channel_of_a_mask_is_on_or_off() -> None:
    y = torch.tensor([[[0, 1]], [[1, UNLABELLED]]])
    out = torch.tensor([[[[-3.0, 3]]], [[[-3, -3]]]])
    assert scored("segmentation", out, y) == pytest.approx((1 / 2 + 1 / 2) / 2)
    right, wrong = math.log(1 + math.exp(-3)), math.log(1 + math.exp(3))
    assert float(TASKS["segmentation"].loss(out, y, 0.0)) == pytest.approx((2 * right + wrong) / 3)


def test_labels_as_shares_and_as_logits() -> None:
    y, logits = torch.tensor([[1.0, 0], [0, 0]]), torch.tensor([[2.0, -1], [1, -4]])
    loss = TASKS["labels"].loss
    assert float(loss(logits, y, 0.0)) == pytest.approx(float(loss(logits.sigmoid(), y, 0.0)))
    expected = sum(math.log(1 + math.exp(v)) for v in (-2, -1, 1, -4)) / 4
    assert float(loss(logits, y, 0.0)) == pytest.approx(expected)
    assert scored("labels", logits, y) == scored("labels", logits.sigmoid(), y) == 3 / 4


def test_restored_images_in_decibels_of_the_labels_range() -> None:
    y = torch.linspace(0, 1, 48).reshape(4, 3, 2, 2)
    task = TASKS["restoration"]
    assert float(task.loss(y + 0.1, y, 0.0)) == pytest.approx(0.1)
    (psnr,) = task.told
    assert psnr.value(psnr.parts(y + 0.1, y)) == pytest.approx(20, abs=1e-4)
    assert scored("restoration", y + 0.1, y) == pytest.approx(1 - 0.01 / float(y.var(correction=0)))


@pytest.mark.parametrize("name", [n for n, task in TASKS.items() if task.trains])
def test_a_teacher_that_says_the_same_has_no_gradient(name: str) -> None:
    shape = {"segmentation": (2, 3, 4, 4), "restoration": (2, 3, 4, 4), "depth": (2, 1, 4, 4)}
    out = torch.randn(shape.get(name, (2, 5)), generator=torch.Generator().manual_seed(0))
    out.requires_grad_()
    TASKS[name].taught(out, out.detach(), 2.0).backward()
    assert out.grad is not None
    assert float(out.grad.abs().max()) < 1e-6


def fitted(task: str, port: Port, labels: np.ndarray) -> np.ndarray:
    return TASKS[task].fitted(port, labels)


def test_labels_take_the_form_of_the_loss() -> None:
    assert fitted("number", Port("", (1,)), np.arange(4)).shape == (4, 1)
    assert fitted("number", Port("", ()), np.arange(4)[:, None]).shape == (4,)
    assert fitted("number", Port("", (1,)), np.arange(4)).dtype == np.float32
    assert fitted("classification", Port("", (3,)), np.array([[0], [2]])).tolist() == [0, 2]
    masks = np.full((2, 1, 4, 4), UNLABELLED, np.uint8)
    masks[0] = 2
    assert fitted("segmentation", Port("", (3, 4, 4)), masks).shape == (2, 4, 4)


@pytest.mark.parametrize(
    ("task", "port", "labels"),
    [
        ("number", Port("", (1,)), np.ones((4, 2))),
        ("number", Port("", (1,)), np.array([1, np.nan])),
        ("labels", Port("", (3,)), np.full((4, 3), 0.5)),
        ("labels", Port("", (3,)), np.ones((4, 2))),
        ("classification", Port("", (3,)), np.array([0, 3])),
        ("classification", Port("", (3,)), np.array([0.5, 1])),
        ("segmentation", Port("", (3, 4, 4)), np.full((2, 4, 4), 3)),
        ("segmentation", Port("", (3, 4, 4)), np.zeros((2, 5, 4), int)),
        ("segmentation", Port("", (3, 4, 4)), np.full((2, 4, 4), UNLABELLED)),
        ("segmentation", Port("", (4, 4), "int64"), np.zeros((2, 4, 4), int)),
    ],
)  # fmt: skip
def test_labels_that_do_not_fit_are_refused(task: str, port: Port, labels: np.ndarray) -> None:
    with pytest.raises(EdgepruneError, match=r"labels .* wants"):
        fitted(task, port, labels)
