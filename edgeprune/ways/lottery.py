"""Lottery tickets of whole filters (Frankle & Carbin 2019): found by training, trained from the start.

    theta_0, the weights that the dense training began with; or theta_k, after its first epochs (``rewind``)
    repeat: a plan by the trained weights: the same share of what is left leaves in each round
            the filters that stay go back to theta
            train as the dense network was trained

They mask single weights; here filters leave. The first round's trained weights are the dense network's.
Liu et al. 2019 found that for filters the rewound weights bring no more than fresh ones do.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import checkpoint, files, models, prune, train
from ..graph import Graph
from ..models import ModelSpec
from . import position, rounds
from .dense import trained_in
from .position import Position
from .post_training import Settings
from .record import Recorder
from .rounds import Means, Outcome
from .target import at_last, at_once, goal_of, reached
from .way import SETTINGS, Row, Words, Work, between, names, own, settings_of

FIRST: Mapping[str, Any] = {"score": "l1", "compensate": "none"}


@dataclass(frozen=True)
class Lottery:
    """Rounds of training, cutting and going back to the first weights."""

    settings: Settings = field(default_factory=lambda: Settings(**FIRST))
    rounds: int = 3
    rewind: int = 0  # epochs of the dense recipe before the weights that are gone back to
    retrain_epochs: int | None = None  # of each round; None: as many as the dense network was given
    images: int = 256  # training images, for scores and compensation that look

    def __post_init__(self) -> None:
        between("rounds", self.rounds, 1, 1000)
        between("rewind", self.rewind, 0, 10_000)
        between("retrain_epochs", self.retrain_epochs or 1, 1, 10_000)


def of_words(typed: Words) -> Lottery:
    return Lottery(settings_of({**FIRST, **typed}), **own(Lottery, typed))


def page(work: Work[Lottery]) -> str:
    """Prune the run's dense network to its target; returns how closely it was met.

    A killed one goes on from ``state/``.
    """
    recipe = work.asked.training.but(precision=trained_in(work.run))
    recipe = recipe.but(epochs=work.way.retrain_epochs or recipe.epochs)
    baseline = rounds.accuracy(work.dense.model, work, recipe.precision)
    means = Means(recipe, rounds.images_to_look_at(work), baseline)
    start = first_weights(work)
    now = position.begin(work)
    while now.ended is None:
        now = _round(work, means, start, now)
    position.finish(work, now)
    return now.ended


def _round(work: Work[Lottery], means: Means, start: Graph, now: Position) -> Position:
    """One round; the new position is on disk when it returns."""
    way, number, started = work.way, now.step + 1, time.perf_counter()
    traced = position.read_network(work, now)
    share = left(goal_of(work), number, way.rounds)
    plan_at = rounds.planner(work, traced, share, means.images)
    last = number == way.rounds
    keep = (at_last(work, plan_at, now.kept) if last else plan_at(share, work.prices)).keep
    kept = prune.compose(now.kept, keep)
    ticket = prune.narrow(start, kept)
    before = rounds.accuracy(ticket.model, work, means.recipe.precision)
    trained = train.fit(
        ticket.model, work.labelled, work.dense.convention,
        means.recipe.but(seed=work.asked.seed + number),
        state=rounds.retrained(work.run),
        watch=Recorder(work.run, work.watch, "pruned", "retrain", number),
    )  # fmt: skip
    outcome = Outcome(
        before=before, accuracy=trained.best_validation, baseline=means.baseline,
        seconds=time.perf_counter() - started,
    )  # fmt: skip
    rounds.record(work, ticket, number, outcome)
    ended = None
    if number == way.rounds:
        made = position.plan_of(work.dense.graph, kept, "", work.goal, work.prices)
        ended = reached(work, made)
    after = position.write(work.run, Position(number, kept, ended), ticket)
    rounds.retrained(work.run).unlink(missing_ok=True)
    return after


def left(target: float, number: int, of: int) -> float:
    """The share that stays after round ``number`` of ``of``: each takes the same part of what is left."""
    return float(target ** (number / of))


def first_weights(work: Work[Lottery]) -> Graph:
    """The dense network as its training began, or after ``rewind`` epochs of the same recipe."""
    kept = _path(work)
    if kept.is_file():
        return checkpoint.rebuild(work.dense.graph, {}, files.read_tensors(kept)[0])
    asked, spec, way = work.asked, work.dense.spec, work.way
    network = models.fresh(spec, asked.seed)
    source = models.find(ModelSpec(asked.model), asked.init)
    if source is not None:
        models.fill(network, spec, source, partial=asked.partial)
    if way.rewind:
        recipe = asked.training.but(epochs=way.rewind, precision=trained_in(work.run))
        train.fit(
            network, work.labelled, work.dense.convention, recipe,
            state=rounds.retrained(work.run),
            watch=Recorder(work.run, work.watch, "pruned", "rewind", 0),
        )  # fmt: skip
    files.write_tensors(kept, network.state_dict())
    rounds.retrained(work.run).unlink(missing_ok=True)
    return checkpoint.rebuild(work.dense.graph, {}, files.read_tensors(kept)[0])


def _path(work: Work[Lottery]) -> Path:
    return work.run.state_folder / "rewound.safetensors"


ROW = Row(
    name="lottery",
    title="--way lottery",
    value=Lottery,
    of_words=of_words,
    words=names(Lottery, *SETTINGS) - {"images", "distil_steps"},
    lacks=("does not apply to lottery tickets", "leave it out"),
    page=page,
    dry=at_once,
    dry_note=lambda way: rounds.ALL_AT_ONCE,
)
