"""One step by hand: two classes, one image of three values, weights that begin at zero.

With logits (0, 0) both classes have 1/2, so cross entropy's gradient in the weights is
(p - onehot) x' = (-1/2, +1/2) (10, 0, 0) for class 0: -5 and +5 on the first column.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from edgeprune.errors import EdgepruneError
from edgeprune.tasks import CLASSIFICATION
from edgeprune.train import Recipe
from edgeprune.train.step import Stepper, judge

IMAGE = torch.tensor([10.0, 0, 0]).reshape(1, 3, 1, 1)
PLAIN: dict[str, Any] = {
    "optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.0, "clip": 0.0, "label_smoothing": 0.0,
    "precision": "fp32",
}  # fmt: skip


def linear(weight: Tensor | None = None) -> nn.Sequential:
    layer = nn.Linear(3, 2, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.zeros(2, 3) if weight is None else weight)
    return nn.Sequential(nn.Flatten(), layer)


def stepped(
    label: int, lr: float, teacher: nn.Module | None = None, steps: int = 1, **changes: Any
) -> list[float]:
    """The first column of the weights after ``steps`` steps; the others see nothing but zeros."""
    model = linear()
    stepper = Stepper(model, Recipe(**PLAIN | changes), "fp32", teacher)
    for _ in range(steps):
        stepper.step(IMAGE, torch.tensor([label]), lr)
    column: list[float] = model[1].weight[:, 0].tolist()
    return column


def test_the_step_goes_down_the_gradient_at_the_rate_given() -> None:
    assert stepped(0, 0.01) == pytest.approx([0.05, -0.05])
    assert stepped(1, 0.02) == pytest.approx([-0.1, 0.1])


def test_the_gradient_is_limited_as_a_whole() -> None:
    """Its norm is sqrt(5^2 + 5^2) = 7.07; limited to 0.5 both parts are 0.5 / sqrt 2."""
    part = 0.5 / math.sqrt(2)
    assert stepped(0, 1.0, clip=0.5) == pytest.approx([part, -part], rel=1e-4)
    assert stepped(0, 1.0, clip=8.0) == pytest.approx([5, -5])  # it is shorter: nothing happens
    assert stepped(0, 1.0, clip=0.0) == pytest.approx([5, -5])


def test_nesterov_looks_ahead() -> None:
    """Velocity v = g, step = g + 0.9 v = 1.9 g; plain momentum would go 1.0 g at first."""
    assert stepped(0, 0.01, momentum=0.9) == pytest.approx([1.9 * 0.05, -1.9 * 0.05])


def test_weight_decay_is_of_the_weights() -> None:
    """The first step starts at 0, so only the second one decays: 0.05 * (1 - lr * decay)."""
    once, twice = (stepped(0, 0.01, steps=n, weight_decay=10.0)[0] for n in (1, 2))
    p = 1 / (1 + math.exp(-10 * (once + once)))  # of class 0, logits 10 w and -10 w
    assert once == pytest.approx(0.05)
    assert twice == pytest.approx(once + 0.01 * (10 * (1 - p) - 10.0 * once), rel=1e-5)


def taught(*more: nn.Module) -> nn.Module:
    """Answers (2 ln 3, 0): at temperature 2 three to one for class 0."""
    weight = torch.tensor([[2 * math.log(3) / 10, 0, 0], [0, 0, 0]])
    return nn.Sequential(*linear(weight), *more)


def test_a_teacher_alone_is_followed_against_the_label() -> None:
    """T^2 KL has the gradient T (p - q) = 2 (1/2 - 3/4) = -1/2 in the first logit."""
    both = {"teacher_share": 1.0, "temperature": 2.0}
    assert stepped(1, 0.01, taught(), **both) == pytest.approx([0.05, -0.05], rel=1e-5)


def test_half_a_teacher_and_half_a_label_cancel() -> None:
    """The label, class 1, pulls by +1/2 in the first logit, the teacher by -1/2."""
    both = {"teacher_share": 0.5, "temperature": 2.0}
    assert stepped(1, 0.01, taught(), **both) == pytest.approx([0, 0], abs=1e-7)
    assert stepped(1, 0.01, taught(), temperature=2.0, teacher_share=0.0) == pytest.approx(
        [-0.05, 0.05]
    )


def test_a_teacher_answers_in_evaluation_mode() -> None:
    """In training mode this dropout would leave it no answer at all."""
    teacher = taught(nn.Dropout(1.0)).train()
    both = {"teacher_share": 1.0, "temperature": 2.0}
    assert stepped(1, 0.01, teacher, **both) == pytest.approx([0.05, -0.05], rel=1e-5)


def test_accuracy_is_of_evaluation_mode_and_of_images() -> None:
    """Images of class 1 that say so, unless dropout is at work; batches of 3 and of 1."""
    model = nn.Sequential(*linear(torch.tensor([[0, 0, 0], [1.0, 0, 0]])), nn.Dropout(1.0)).train()
    batches = [(IMAGE.repeat(3, 1, 1, 1), torch.tensor([1, 1, 0])), (IMAGE, torch.tensor([1]))]
    seen = judge(model, batches, CLASSIFICATION)
    assert (seen.score, seen.n) == (0.75, 4)
    right, wrong = math.log1p(math.exp(-10)), 10 + math.log1p(math.exp(-10))
    assert seen.loss == pytest.approx((3 * right + wrong) / 4)  # not the mean of two batches
    assert model.training


def test_judging_builds_no_gradients() -> None:
    modes: list[bool] = []
    model = linear()
    model.register_forward_hook(lambda *_: modes.append(torch.is_inference_mode_enabled()))
    judge(model, [(IMAGE, torch.tensor([1]))], CLASSIFICATION)
    assert modes == [True]


class Two(nn.Module):
    """Scores beside something else, as detectors and auxiliary heads give them."""

    def __init__(self) -> None:
        super().__init__()
        self.body = linear()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.body(x), x


class Maps(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


@pytest.mark.parametrize(
    ("model", "told"), [(Two, "gives a tuple"), (Maps, r"shape \(1, 2, 1, 1\)")]
)
def test_what_gives_no_class_scores_is_refused(model: type[nn.Module], told: str) -> None:
    stepper = Stepper(model(), Recipe(**PLAIN), "fp32", None)
    with pytest.raises(EdgepruneError, match=told):
        stepper.step(IMAGE, torch.tensor([0]), 0.1)
    with pytest.raises(EdgepruneError, match=told):
        judge(model(), [(IMAGE, torch.tensor([0]))], CLASSIFICATION)
