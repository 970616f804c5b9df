"""How long will it take? A few real steps answer before long work; they also choose the precision."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import islice

import torch
from torch import Tensor, nn

from .. import tasks, units
from ..data import Dataset, Loader, augment_for, evaluation_batches
from ..models import Convention
from .recipes import Recipe
from .step import Stepper, here, judge

WORTH = 60.0  # seconds of training from which another precision is worth a measurement
FASTER = 1.25  # how much faster a lower precision must be to be chosen
LONG = 600.0  # seconds of work from which the flags that shorten it are named
VALIDATION_BATCH = 256  # images

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Pace:
    """Measured: what a training on this machine costs."""

    precision: str  # chosen, or as the recipe says
    step: float  # seconds a batch, forward, backward, update; or loading it where that is slower
    steps: int  # batches an epoch
    validation: float  # seconds a validation

    def seconds(self, epochs: float) -> float:
        return epochs * (self.steps * self.step + self.validation)


def measure(
    model: nn.Module,
    dataset: Dataset,
    convention: Convention,
    recipe: Recipe,
    teacher: nn.Module | None = None,
) -> Pace:
    """Time a few real batches on a copy of ``model`` (which is left as it is)."""
    steps = batches(len(dataset.train), recipe)
    begun = time.perf_counter()
    drawn = list(islice(loader(dataset, convention, recipe).epoch(1), 3))
    load = (time.perf_counter() - begun) / len(drawn)
    precision, seconds = choose_precision(model, drawn, recipe, recipe.epochs * steps, teacher)
    trial, task = copy.deepcopy(model).to(here().device), tasks.named(recipe.task)
    held = islice(evaluation_batches(dataset.validation, convention, VALIDATION_BATCH), 2)
    validation = min(_timed(partial(judge, trial, [batch], task, precision)) for batch in held)
    rounds = math.ceil(len(dataset.validation) / VALIDATION_BATCH)
    return Pace(precision, max(seconds[precision], load), steps, validation * rounds)


def choose_precision(
    model: nn.Module,
    batches: list[Batch],
    recipe: Recipe,
    steps: int,
    teacher: nn.Module | None = None,
) -> tuple[str, dict[str, float]]:
    """The fastest precision for ``steps`` steps like ``batches``; seconds a step of those timed.

    float32 unless another is FASTER and the whole is WORTH the trial: bfloat16 nearly doubles a
    VGG16 on processors that multiply it and slows depthwise convolutions down. A recipe that names
    its precision keeps it.
    """
    if recipe.precision != "auto":
        return recipe.precision, {
            recipe.precision: step_seconds(model, batches, recipe, recipe.precision, teacher)
        }
    seconds = {"fp32": step_seconds(model, batches, recipe, "fp32", teacher)}
    if steps * seconds["fp32"] >= WORTH:
        lower = lower_precision()
        seconds[lower] = step_seconds(model, batches, recipe, lower, teacher)
        if seconds["fp32"] >= FASTER * seconds[lower]:
            return lower, seconds
    return "fp32", seconds


def lower_precision() -> str:
    """What could be faster than float32 here: bfloat16, or float16 on CUDA devices without it."""
    if here().device.type == "cuda" and not torch.cuda.is_bf16_supported():
        return "fp16"
    return "bf16"


def step_seconds(
    model: nn.Module,
    batches: list[Batch],
    recipe: Recipe,
    precision: str,
    teacher: nn.Module | None = None,
) -> float:
    """Seconds of one training step: the least of a few, after one to warm up, on a copy."""
    with torch.random.fork_rng(devices=[]):
        stepper = Stepper(copy.deepcopy(model).train(), recipe, precision, teacher)

        def step(batch: Batch) -> None:
            float(stepper.step(*batch, lr=0.0))  # reading the loss waits for the device

        step(batches[0])
        taken: list[float] = []
        while len(taken) < 3 or (len(taken) < 10 and sum(taken) < 1):
            taken.append(_timed(partial(step, batches[len(taken) % len(batches)])))
        return min(taken)


def batches(images: int, recipe: Recipe) -> int:
    """Steps an epoch: whole batches (one that is smaller, where there are fewer images)."""
    return max(1, images // recipe.batch_size)


def loader(dataset: Dataset, convention: Convention, recipe: Recipe) -> Loader:
    """Training batches; a last smaller one is left out (one image would stop batch norm)."""
    suited = augment_for(dataset.classes, convention.size)
    return Loader(
        dataset.train,
        convention,
        batch_size=recipe.batch_size,
        augment=suited if recipe.augment == "auto" else recipe.augment,
        seed=recipe.seed,
        drop_last=len(dataset.train) >= recipe.batch_size,
    )


def sentence(seconds: float, flags: tuple[str, ...] = ("--limit", "--epochs", "--size")) -> str:
    """``"about 5 h 10 min; shorter with --limit, --epochs, --size"`` (flags for long work only)."""
    text = f"about {units.duration(seconds)}"
    return f"{text}; shorter with {', '.join(flags)}" if seconds >= LONG else text


class Clock:
    """Keeps a forecast true while the work runs: recent steps count, older ones fade."""

    FADE = 0.1  # weight of the newest measurement

    def __init__(self, pace: Pace | None, steps: int, validation_share: float) -> None:
        """``validation_share``: images validated for each one trained on, in an epoch."""
        self.steps = steps
        self.step = pace.step if pace else math.nan
        self._validation = pace.validation if pace else math.nan
        self._share = validation_share

    def stepped(self, seconds: float) -> None:
        known = not math.isnan(self.step)
        self.step = self.step + self.FADE * (seconds - self.step) if known else seconds

    def validated(self, seconds: float) -> None:
        self._validation = seconds

    @property
    def validation(self) -> float:
        """Until one was seen: forward only, a third of a step's work for each image."""
        if math.isnan(self._validation):
            return self.step * self.steps * self._share / 3
        return self._validation

    def left(self, epochs: int, batch: int) -> float:
        """Seconds to go with ``epochs`` unfinished epochs, ``batch`` batches done in the first."""
        return (epochs * self.steps - batch) * self.step + epochs * self.validation


def _timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun
