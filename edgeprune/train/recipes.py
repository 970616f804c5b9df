"""How to train, as a value: a recipe is written into the run and says everything but the data."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from .. import records, tasks
from ..errors import EdgepruneError, closest

OPTIMIZERS = ("adam", "adamw", "sgd")  # sgd: with Nesterov momentum
PRECISIONS = ("auto", "fp32", "bf16", "fp16")


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise EdgepruneError(f"recipe: {name} {value!r}", closest(str(value), known))


def _at_least(name: str, value: float, least: float) -> None:
    if not (value >= least and math.isfinite(value)):
        raise EdgepruneError(f"recipe: {name} {value}", f"must be at least {least}")


@dataclass(frozen=True)
class Recipe(records.Training):
    """A training whose words stand in the tables here, in `data` and in `tasks`."""

    __pydantic_config__: ClassVar[Any] = records.CLOSED

    def __post_init__(self) -> None:
        _one_of("optimizer", self.optimizer, OPTIMIZERS)
        _one_of("schedule", self.schedule, tuple(SCHEDULES))
        _one_of("precision", self.precision, PRECISIONS)
        _one_of("task", self.task, tuple(tasks.TASKS))
        for name, least in (("epochs", 1), ("batch_size", 1), ("patience", 0)):
            _at_least(name, getattr(self, name), least)
        for name in ("warmup_epochs", "weight_decay", "clip"):
            _at_least(name, getattr(self, name), 0)
        for name in ("floor", "momentum", "label_smoothing", "teacher_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise EdgepruneError(f"recipe: {name} {getattr(self, name)}", "not within 0..1")
        if not (self.lr > 0 and math.isfinite(self.lr)):
            raise EdgepruneError(f"recipe: lr {self.lr}", "must be above 0")
        if not self.temperature > 0:
            raise EdgepruneError(f"recipe: temperature {self.temperature}", "must be above 0")

    def but(self, **changes: Any) -> Recipe:
        return replace(self, **changes)


def _warmup(recipe: Recipe) -> float:
    return min(recipe.warmup_epochs, recipe.epochs / 4)


def _steps(recipe: Recipe, t: float) -> float:
    """Divided by 10 every 40 epochs (Hubens et al. 2020, section 4)."""
    return recipe.lr * 0.1 ** math.floor(t / 40)


def _cosine(recipe: Recipe, t: float) -> float:
    """Half a cosine from ``lr`` at the end of the warm-up to ``floor * lr`` at the last epoch."""
    warm = _warmup(recipe)
    share = min(1.0, max(0.0, (t - warm) / (recipe.epochs - warm)))
    return recipe.lr * (recipe.floor + (1 - recipe.floor) * (1 + math.cos(math.pi * share)) / 2)


def _constant(recipe: Recipe, t: float) -> float:
    return recipe.lr


SCHEDULES: dict[str, Callable[[Recipe, float], float]] = {
    "steps": _steps,
    "cosine": _cosine,
    "constant": _constant,
}


def learning_rate(recipe: Recipe, t: float) -> float:
    """The learning rate after ``t`` epochs (0 at the first step, 2.5 halfway through the third)."""
    warm = _warmup(recipe)
    ramp = 0.01 + 0.99 * t / warm if t < warm else 1.0  # a first step at 0 would be lost
    return ramp * SCHEDULES[recipe.schedule](recipe, t)


def lowest_lr(recipe: Recipe, epochs_run: int) -> float:
    """The lowest learning rate reached in ``epochs_run`` epochs, the warm-up left out.

    The paper retrains at it: "steps" gives ``1e-3 * 10**-floor((epochs_run - 1) / 40)``.
    """
    if recipe.schedule == "steps":
        return _steps(recipe, max(0, epochs_run - 1))
    return SCHEDULES[recipe.schedule](recipe, max(float(epochs_run), _warmup(recipe)))


RECIPES: dict[str, Recipe] = {
    # Hubens et al. 2020: Adam at 1e-3, divided by 10 every 40 epochs, until convergence. The paper
    # gives no batch size, no length and no test of convergence: 64, 120 epochs (three rates) and
    # "40 epochs, a whole rate, without a better one" are ours.
    "paper": Recipe(
        epochs=120,
        batch_size=64,
        optimizer="adam",
        lr=1e-3,
        schedule="steps",
        warmup_epochs=0,
        weight_decay=0,
        label_smoothing=0,
        augment="none",
        patience=40,
        clip=0,
    ),
    "default": Recipe(),
}

# Without batch norm: what plain VGGs are trained with on CIFAR-10 (chengyangfu/pytorch-vgg-cifar10).
# Adam at 1e-3 can leave them at chance.
WITHOUT_NORM = {"optimizer": "sgd", "lr": 0.05, "weight_decay": 5e-4}
FINE_TUNING_LR = 0.3  # share of lr when the weights are pre-trained
SMALL_SET = 4000  # images; with fewer the batch is halved, so that an epoch has steps enough


def named(
    name: str, *, pretrained: bool, normalised: bool = True, images: int = SMALL_SET
) -> Recipe:
    """A recipe of RECIPES; "paper" as it stands, "default" fitted to the network and the set.

    ``normalised``: the network has normalisation layers; ``images``: of the training split.
    """
    _one_of("recipe", name, tuple(RECIPES))
    recipe = RECIPES[name]
    if name == "paper":
        return recipe
    if not normalised:
        recipe = recipe.but(**WITHOUT_NORM)
    if images < SMALL_SET:
        recipe = recipe.but(batch_size=recipe.batch_size // 2)
    return recipe.but(lr=recipe.lr * FINE_TUNING_LR) if pretrained else recipe


def from_random(recipe: Recipe) -> Recipe:
    """``recipe`` as :func:`named` makes it for random weights, where it was one for pre-trained ones.

    A learning rate that was typed stays.
    """
    highest = (RECIPES["default"].lr, float(str(WITHOUT_NORM["lr"])))
    return next((recipe.but(lr=lr) for lr in highest if recipe.lr == lr * FINE_TUNING_LR), recipe)
