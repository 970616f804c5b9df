"""Losses and scores by labels, task by task, as a hand computes them; labels that do not fit are refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from edgeprune.errors import EdgepruneError
from edgeprune.records import Port
from edgeprune.tasks import TASKS, Scores
from edgeprune.tasks.maps import UNLABELLED


def scored(task: str, outputs: Tensor, targets: Tensor, **more: float) -> float:
    """The score, in one piece and in two, which must be the same; ``more``: what is told beside it."""
    half, found = len(outputs) // 2, []
    for parts in ([slice(None)], [slice(half), slice(half, None)]):
        scores = Scores(TASKS[task])
        for part in parts:
            scores.add(outputs[part], targets[part])
        scores.add(outputs[:1], targets[:1], times=0)
        found.append(scores.result())
    assert found[0] == pytest.approx(found[1])
    assert {name: found[0][name] for name in more} == pytest.approx(more, abs=1e-4)
    score, *_ = found[0].values()
    assert 0 <= score <= 1
    return score


def test_numbers_by_the_variance_that_is_explained() -> None:
    y, out = torch.tensor([[1.0], [2], [3], [6]]), torch.tensor([[1.0], [2], [4], [4]])
    assert float(TASKS["number"].loss(out, y, 0.0)) == pytest.approx(5 / 4)
    assert scored("number", out, y, mean_absolute_error=3 / 4) == pytest.approx(1 - 5 / 14)
    assert scored("number", 100 * out, y) == 0  # worse than their mean
    assert scored("number", torch.zeros(4, 1), torch.ones(4, 1)) == 0  # nothing to explain


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
    assert scored("restoration", y + 0.1, y, psnr=20) == pytest.approx(
        1 - 0.01 / float(y.var(correction=0))
    )


def yolo(*images: list[tuple[float, ...]], places: int = 20) -> Tensor:
    """[N, 4 + 2, places]: the boxes (x, y, width, height, a score of each class) of each image."""
    out = torch.zeros(len(images), 6, places)
    for image, boxes in zip(out, images, strict=True):
        for place, box in enumerate(boxes):
            image[:, place] = torch.tensor(box)
    return out


def true(*images: list[tuple[float, ...]]) -> Tensor:
    """[N, most, 6]: class, x, y, width, height, aside; filled up with class -1."""
    found = torch.full((len(images), max(map(len, images)), 6), -1.0)
    for image, boxes in zip(found, images, strict=True):
        for row, box in zip(image, boxes, strict=False):
            row[:] = torch.tensor([*box, 0.0][:6])
    return found


def test_boxes_by_cocos_average_precision() -> None:
    """Class 0: found rightly at 0.9, wrongly at 0.8, and at 0.7 with an IoU of 0.625 (three of ten IoUs).
    Class 1: its one box is found, and nothing else. 51 of 101 recalls lie up to one half.
    """
    pytest.importorskip("pycocotools")
    y = true([(0, 20, 20, 10, 10), (0, 60, 60, 10, 10)], [(1, 30, 30, 8, 8)])
    out = yolo(
        [(20, 20, 10, 10, 0.9, 0), (100, 20, 10, 10, 0.8, 0), (60, 60, 6.25, 10, 0.7, 0)],
        [(30, 30, 8, 8, 0, 0.3)],
    )
    half, whole = 51 / 101, (51 + 50 * 2 / 3) / 101
    map50, strict = (whole + 1) / 2, (half + 1) / 2
    assert scored("boxes", out, y, map50=map50) == pytest.approx((3 * map50 + 7 * strict) / 10)
    # one that is aside is neither missed nor wrong
    aside = true(
        [(0, 20, 20, 10, 10), (0, 100, 20, 10, 10, 1), (0, 60, 60, 10, 10)], [(1, 30, 30, 8, 8)]
    )
    assert scored("boxes", out, aside, map50=1) == pytest.approx((3 + 7 * strict) / 10)
    nothing = Scores(TASKS["boxes"])
    nothing.add(out, torch.full((2, 1, 6), -1.0))
    assert nothing.result() == {}
    # a box may be of both classes, and one that is hardly sure counts
    both = yolo([(30, 30, 8, 8, 0.002, 0.9)])
    assert scored("boxes", both, true([(0, 30, 30, 8, 8), (1, 30, 30, 8, 8)])) == pytest.approx(1)
    assert scored(
        "boxes", both.transpose(1, 2)[..., [0, 1, 2, 3, 5, 4, 5]], true([(1, 30, 30, 8, 8)])
    ) == pytest.approx(1)


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        EdgepruneError, match=r"needs pycocotools — pip install 'edgeprune\[boxes\]'"
    ):
        fitted("boxes", Port("", (6, 20)), np.zeros((1, 1, 5)))


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
    box = np.array([[[1, 5, 5, 2, 2], [-1, 0, 0, 0, 0]]])
    assert fitted("boxes", Port("", (6, 20)), box)[0].tolist() == [
        [1, 5, 5, 2, 2, 0],
        [-1, 0, 0, 0, 0, 0],
    ]


@pytest.mark.parametrize(
    ("task", "port", "labels"),
    [
        ("boxes", Port("", (6, 20)), np.array([[[2.0, 5, 5, 2, 2]]])),
        ("boxes", Port("", (20, 7)), np.array([[[2.0, 5, 5, 2, 2]]])),
        ("boxes", Port("", (6, 20)), np.array([[[1.0, 5, 5, 0, 2]]])),
        ("boxes", Port("", (6, 20)), np.array([[[1.0, 5, np.nan, 1, 2]]])),
        ("boxes", Port("", (6, 20)), np.full((2, 3, 5), -1)),
        ("boxes", Port("", (6, 20)), np.zeros((2, 3))),
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
