"""Few units at a time, few updates in between (Molchanov et al. 2017, section 2).

    repeat: rank the units of all layers together by the criterion (Taylor, each layer's divided by its L2
            norm, less what a map's FLOPs weigh)
            the lowest leave: as many as bring the price down by one ``rounds``-th of the way to the target
            ``updates`` minibatch updates, at the lowest rate of the dense training
    fine-tune to the end

They remove one map at a time of networks that were fine-tuned to another set; ``rounds`` as large as the
number of maps that leave is that. What the repair would be is left to the updates.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .. import prune
from ..data import splits
from ..train.heal import heal
from . import position, rounds, schedules
from .position import Position
from .post_training import Settings
from .record import Recorder
from .rounds import Means, Outcome
from .target import at_last, at_once, goal_of, reached
from .way import SETTINGS, Row, Words, Work, between, check_heal, names, own, settings_of

FIRST: Mapping[str, Any] = {"score": "taylor", "method": "global", "compensate": "none"}


@dataclass(frozen=True)
class Interleaved:
    """Many small removals, each followed by a few updates; at the end a fine-tuning."""

    settings: Settings = field(default_factory=lambda: Settings(**FIRST))
    rounds: int = 30  # removals
    schedule: str = "constant"
    updates: int = 30  # minibatches between two removals
    retrain_epochs: int = 5  # at the end
    heal: str = "restart"  # one of way.HEALS, of the end
    distil: bool = False
    images: int = 256  # training images that the criterion looks at, with their labels

    def __post_init__(self) -> None:
        between("rounds", self.rounds, 1, 100_000)
        between("updates", self.updates, 1, 1_000_000)
        between("retrain_epochs", self.retrain_epochs, 0, 10_000)
        check_heal(self.heal)
        schedules.named(self.schedule)


def of_words(typed: Words) -> Interleaved:
    return Interleaved(settings_of({**FIRST, **typed}), **own(Interleaved, typed))


def page(work: Work[Interleaved]) -> str:
    """Prune the run's dense network to its target; returns how closely it was met.

    A killed one goes on from ``state/``.
    """
    means = rounds.means(work)
    now = position.begin(work)
    while now.ended is None:
        removing = now.step < work.way.rounds
        now = (_removal if removing else _end)(work, means, now)
    position.finish(work, now)
    return now.ended


def _removal(work: Work[Interleaved], means: Means, now: Position) -> Position:
    """One removal and its updates; the new position is on disk when it returns."""
    way, number, started = work.way, now.step + 1, time.perf_counter()
    traced = position.read_network(work, now)
    share = schedules.kept(way.schedule, number / way.rounds, goal_of(work))
    plan_at = rounds.planner(work, traced, share, means.images)
    last = number == way.rounds
    keep = (at_last(work, plan_at, now.kept) if last else plan_at(share, work.prices)).keep
    kept = prune.compose(now.kept, keep)
    smaller = rounds.smaller(traced, keep, means.images, way.settings)
    recipe = rounds.retraining(work, 1, "paper").but(seed=work.asked.seed + number)
    whole = work.labelled
    rows = turn(len(whole.train), number, way.updates * recipe.batch_size, work.asked.seed)
    done = heal(
        smaller.model, work.dense.model if way.distil else None,
        replace(whole, train=whole.train.at(rows)), work.dense.convention, recipe,
        state=rounds.retrained(work.run),
        watch=Recorder(work.run, work.watch, "pruned", "retrain", number),
    )  # fmt: skip
    outcome = Outcome(
        accuracy=done.best_validation, baseline=means.baseline,
        seconds=time.perf_counter() - started,
    )  # fmt: skip
    rounds.record(work, smaller, number, outcome)
    after = position.write(work.run, Position(number, kept), smaller)
    rounds.retrained(work.run).unlink(missing_ok=True)
    return after


def _end(work: Work[Interleaved], means: Means, now: Position) -> Position:
    """The last fine-tuning."""
    started, number = time.perf_counter(), now.step + 1
    traced = position.read_network(work, now)
    before, accuracy = rounds.judged(work, means, traced, number)
    outcome = Outcome(
        before=before, accuracy=accuracy, baseline=means.baseline,
        seconds=time.perf_counter() - started,
    )  # fmt: skip
    rounds.record(work, traced, number, outcome)
    made = position.plan_of(work.dense.graph, now.kept, "", work.goal, work.prices)
    after = position.write(work.run, Position(number, now.kept, reached(work, made)), traced)
    rounds.retrained(work.run).unlink(missing_ok=True)
    return after


def turn(images: int, number: int, wanted: int, seed: int) -> splits.Indices:
    """The training images of the updates after removal ``number`` (1, 2, ...): the next ``wanted``.

    Each pass over all images has an order of its own.
    """
    first, last = (number - 1) * wanted, number * wanted
    passes = range(first // images, -(-last // images))
    order = np.concatenate([splits.order(images, seed, n + 1) for n in passes])
    start = first - passes[0] * images
    return order[start : start + wanted]


ROW = Row(
    name="interleaved",
    title="--way interleaved",
    value=Interleaved,
    of_words=of_words,
    words=names(Interleaved, *SETTINGS) - {"images", "distil_steps"},
    lacks=("does not apply to removals with a few updates in between", "leave it out"),
    page=page,
    dry=at_once,
    dry_note=lambda way: rounds.ALL_AT_ONCE,
)
