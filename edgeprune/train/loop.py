"""The training loop: epochs of steps, a validation after each, the best weights kept."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..data import Dataset, Loader, Split, evaluation_batches
from ..errors import EdgepruneError
from ..models import Convention
from ..records import Epoch, plain
from ..tasks import CLASSIFICATION, Task
from ..tasks.task import Chance
from . import chance, forecast, resume
from .recipes import Recipe, learning_rate, lowest_lr
from .step import Judged, Stepper, here, judge
from .watch import SILENT, Cutter, Progress, Watch

SAVE_EVERY = 30.0  # seconds of work that a kill may cost
TELL_EVERY = 0.1  # seconds between two words to the watch


@dataclass(frozen=True)
class Fit:
    """What a training came to. The model holds the weights of the best epoch."""

    epochs: list[Epoch]
    best: Epoch  # the most accurate on validation; of equals, the one of less loss
    lowest_lr: float  # reached, warm-up left out: the paper's rate for retraining
    seconds: float  # training and validation, over all resumptions
    stopped: str  # why: "all epochs done" or "converged: ..."
    precision: str  # fp32, bf16, fp16: chosen or asked for
    at_chance: bool  # it learned nothing; pruning it would show nothing

    @property
    def best_validation(self) -> float:
        """Validation accuracy of the weights kept, share 0..1."""
        return self.best.validation_accuracy


def fit(
    model: nn.Module,
    dataset: Dataset,
    convention: Convention,
    recipe: Recipe,
    *,
    state: Path | None = None,
    watch: Watch = SILENT,
    teacher: nn.Module | None = None,
    cutter: Cutter | None = None,
) -> Fit:
    """Train ``model`` in place on ``dataset.train``; choose the epoch on ``dataset.validation``.

    It comes back on its device in evaluation mode with the weights of the best epoch. With
    ``state``, a file, a killed training that is started again with the same model, data and recipe
    goes on from there and ends with bit-identical weights (same machine, CPU); another training's
    state is not taken. The caller removes the file once the weights are safe. ``cutter`` may make the
    network smaller on the way: then the trained network is the cutter's last, and the best epoch is
    one after the last cut.
    """
    home = next(model.parameters()).device
    mark = resume.fingerprint(
        model, plain(recipe), plain(convention), *_described(dataset), _mark(teacher),
        *([cutter.words()] if cutter else []),
    )  # fmt: skip
    saved = _saved(state, mark, watch)
    pace = None
    if saved is None and recipe.precision == "auto":
        pace = forecast.measure(model, dataset, convention, recipe, teacher)
    with torch.random.fork_rng(devices=[]):
        precision = saved.at.precision if saved else (pace.precision if pace else recipe.precision)
        work = _Training(
            model, dataset, convention, recipe, precision, mark, state, watch, teacher, cutter
        )
        work.begin(saved, pace)
        while not work.at.stopped:
            work.train_epoch()
            work.close_epoch()
        work.model.load_state_dict(work.at.best_weights)
    work.model.eval().to(home)
    return work.result()


def evaluate(
    model: nn.Module,
    split: Split,
    convention: Convention,
    batch_size: int = forecast.VALIDATION_BATCH,
    precision: str = "fp32",
    task: Task = CLASSIFICATION,
    place: str = "",
) -> Judged:
    """The task's score and loss on ``split``, of the output at ``place``; ``model`` is left as it was.

    float32 is what a result is stated in; choices may be made faster, in the training's precision.
    """
    home = next(model.parameters()).device
    model.to(here().device)
    try:
        batches = evaluation_batches(split, convention, batch_size)
        return judge(model, batches, task, precision, place)
    finally:
        model.to(home)


@dataclass
class _Training:
    """The values that the loop carries; one method for each of its parts."""

    model: nn.Module
    dataset: Dataset
    convention: Convention
    recipe: Recipe
    precision: str
    mark: str
    state: Path | None
    watch: Watch
    teacher: nn.Module | None
    cutter: Cutter | None

    def __post_init__(self) -> None:
        dataset, recipe = self.dataset, self.recipe
        self.stepper = Stepper(self.model, recipe, self.precision, self.teacher)
        self.loader: Loader = forecast.loader(dataset, self.convention, recipe)
        self.batches = forecast.batches(len(dataset.train), recipe)
        self.at = resume.Standing(self.mark, self.precision)
        self.chance: Chance | None = None  # a teacher's loss says nothing about chance
        if self.teacher is None and self.stepper.task.chance is not None:
            self.chance = self.stepper.task.chance(
                dataset.train.labels, dataset.validation.labels, len(dataset.classes),
                recipe.label_smoothing,
            )  # fmt: skip
        self.last_save = self.last_word = time.perf_counter()

    def begin(self, saved: resume.Saved | None, pace: forecast.Pace | None) -> None:
        """Take up a saved standing, or write down the one that it begins with."""
        if saved is not None:
            if self.cutter is not None and saved.at.cuts is not None:
                self._replace(self.cutter.take_up(saved.at.cuts, self.stepper.optimizer))
            resume.restore(saved, self.model, self.stepper.optimizer, self.stepper.scaler)
            self.at = saved.at
            self._say_where()
        elif self.recipe.precision == "auto":
            self.save()  # the choice must not be made anew after an early kill
        self.stepper.accelerator.wait_for_everyone()
        share = len(self.dataset.validation) / max(1, len(self.dataset.train))
        self.clock = forecast.Clock(pace, self.batches, share)
        to_go = self.clock.left(self.recipe.epochs - self.at.epoch, self.at.batch)
        self.watch.on_start(self.recipe.epochs, self.at.epoch, to_go)

    def _say_where(self) -> None:
        """What a kill cost is not told by the clock alone: up to SAVE_EVERY of work is done again."""
        at = self.at
        if at.epoch or at.batch:
            within = f", batch {at.batch + 1:,} of {self.batches:,}" if at.batch else ""
            self.watch.note(f"goes on from epoch {at.epoch + 1} of {self.recipe.epochs}{within}")

    def train_epoch(self) -> None:
        """All batches of an epoch, or those that a kill left undone."""
        at, recipe = self.at, self.recipe
        self.model.train()
        total = torch.tensor(at.loss_sum, device=self.stepper.device)
        window = (at.batch, at.loss_sum)  # where the judged stretch of batches began
        drawn = self.loader.epoch(at.epoch + 1, start=at.batch) if at.batch < self.batches else ()
        then = time.perf_counter()
        for x, y in drawn:
            self._cut()
            self._seed()
            total += self.stepper.step(x, y, learning_rate(recipe, self._epochs_done()))
            at.batch += 1
            now = time.perf_counter()
            self.clock.stepped(now - then)
            at.epoch_seconds += now - then
            then = now
            if now - self.last_word >= TELL_EVERY or at.batch == self.batches:
                self._tell(total)
                window = self._judge(window)
            if self.state and now - self.last_save >= SAVE_EVERY:
                at.loss_sum = float(total)
                self.save()

    def close_epoch(self) -> None:
        """Validate, record, keep the best, and decide whether to go on."""
        at, recipe = self.at, self.recipe
        begun = time.perf_counter()
        held = evaluation_batches(
            self.dataset.validation, self.convention, forecast.VALIDATION_BATCH
        )
        seen = judge(self.model, held, self.stepper.task, self.at.precision)
        seconds = time.perf_counter() - begun
        self.clock.validated(seconds)
        last = at.epoch + (self.batches - 1) / self.batches
        record = Epoch(
            epoch=at.epoch + 1,
            epochs=recipe.epochs,
            lr=learning_rate(recipe, last),
            train_loss=at.loss_sum / self.batches,
            validation_loss=seen.loss,
            validation_accuracy=seen.score,
            seconds=at.epoch_seconds + seconds,
        )
        at.records.append(record)
        at.epoch, at.batch, at.loss_sum, at.epoch_seconds = at.epoch + 1, 0, 0.0, 0.0
        if at.best == 0 or _merit(record) > _merit(at.records[at.best - 1]):
            at.best = at.epoch
            at.best_weights = {
                k: v.detach().cpu().clone() for k, v in self.model.state_dict().items()
            }
        at.stopped = self._verdict()
        self.watch.on_epoch(record)
        if self._at_chance(record) and self._epochs_done() > recipe.warmup_epochs:
            self._warn(f"at chance after epoch {record.epoch}", record.train_loss)

    def _cut(self) -> None:
        """Go on with a smaller network where one is due; the best epoch is then still to come."""
        if self.cutter is None:
            return
        share = self._epochs_done() / self.recipe.epochs
        smaller = self.cutter.cut(share, self.stepper.optimizer)
        if smaller is not None:
            self._replace(smaller)
            self.at.cuts = self.cutter.words()
            self.at.best, self.at.best_weights = 0, {}

    def _replace(self, smaller: nn.Module) -> None:
        self.model = smaller.train()
        self.stepper.replace(self.model)

    def save(self) -> None:
        if self.state and self.stepper.accelerator.is_main_process:
            resume.write(
                self.state, self.at, self.model, self.stepper.optimizer, self.stepper.scaler
            )
        self.last_save = time.perf_counter()

    def result(self) -> Fit:
        records = self.at.records
        return Fit(
            epochs=records,
            best=records[self.at.best - 1],
            lowest_lr=lowest_lr(self.recipe, len(records)),
            seconds=sum(r.seconds for r in records),
            stopped=self.at.stopped,
            precision=self.at.precision,
            at_chance=all(self._at_chance(r) for r in records),
        )

    def _epochs_done(self) -> float:
        return self.at.epoch + self.at.batch / self.batches

    def _seed(self) -> None:
        """Dropout follows from (seed, epoch, batch): no random state to save, on any device."""
        rank = self.stepper.accelerator.process_index
        key = (self.recipe.seed, self.at.epoch, self.at.batch, rank)
        torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1))

    def _tell(self, total: Tensor) -> None:
        """Read the loss (waits for the device, so not at every step); NaN ends it at once."""
        at = self.at
        at.loss_sum = float(total)
        if not math.isfinite(at.loss_sum):
            raise EdgepruneError(
                f"training: the loss is no longer a number (epoch {at.epoch + 1}, "
                f"batch {at.batch})",
                "the steps were too large",
                "use a lower --lr, --recipe default, or --precision fp32"
                if at.precision != "fp32"
                else "use a lower --lr or --recipe default",
            )
        left = self.clock.left(self.recipe.epochs - at.epoch, at.batch)
        mean = at.loss_sum / at.batch
        self.watch.on_batch(
            Progress(at.epoch + 1, self.recipe.epochs, at.batch, self.batches, mean, left)
        )
        self.last_word = time.perf_counter()

    def _judge(self, window: tuple[int, float]) -> tuple[int, float]:
        """Warn inside a long epoch when a stretch of batches rested at the loss of chance."""
        start, sum_then = window
        length = self.at.batch - start
        if length < chance.WINDOW or self._epochs_done() < self.recipe.warmup_epochs:
            return window
        mean = (self.at.loss_sum - sum_then) / length
        if self.chance is not None and chance.resting(mean, self.chance):
            self._warn(f"at chance after {self.at.batch} batches", mean)
        return self.at.batch, self.at.loss_sum

    def _at_chance(self, record: Epoch) -> bool:
        return self.chance is not None and chance.stuck(record, self.chance)

    def _warn(self, what: str, loss: float) -> None:
        if not self.at.warned and self.chance is not None:
            self.at.warned = True
            self.watch.note(
                f"The network is {what}: its loss {loss:.3f} is that of one answer for all images or worse "
                f"({self.chance.loss:.3f}). If it stays there: {chance.REMEDY}."
            )

    def _verdict(self) -> str:
        at, patience = self.at, self.recipe.patience
        if at.epoch >= self.recipe.epochs:
            return "all epochs done"
        if patience and at.epoch - at.best >= patience:
            return f"converged: no better epoch in {patience}"
        return ""


def _merit(record: Epoch) -> tuple[float, float]:
    return record.validation_accuracy, -record.validation_loss


def _described(dataset: Dataset) -> tuple[Any, ...]:
    parts = (dataset.train, dataset.validation)
    return dataset.name, dataset.source, list(dataset.classes), [len(p) for p in parts]


def _mark(teacher: nn.Module | None) -> str:
    return resume.fingerprint(teacher) if teacher is not None else ""


def _saved(state: Path | None, mark: str, watch: Watch) -> resume.Saved | None:
    """What lies at ``state``, if it is of this training; else it begins anew and says so."""
    if state is None or not state.is_file():
        return None
    try:
        return resume.read(state, mark)
    except EdgepruneError as e:
        watch.note(f"Training begins anew: {e}.")
        return None
