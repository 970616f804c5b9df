"""Pruning in the middle of a training: the optimizer's state follows each cut.

    train on from the dense network, at a rate that restarts high and decays (heal.py)
    at evenly spaced moments until ``until`` of the training:
        the share that stays, by the schedule (Zhu & Gupta 2017: a cubic)
        scores, a plan, a cut; momentum and moments are cut along
    the best epoch after the last cut is kept

Dense weights are the start (Zhu & Gupta prune pre-trained networks too), so that the run has its
baseline. A killed one goes on from ``state/`` to bit-identical weights.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from .. import graph, prune, train
from ..errors import EdgepruneError
from ..prune import Plan
from ..train.heal import healing
from . import position, rounds, schedules
from .dense import trained_in
from .position import Position
from .post_training import Settings
from .record import Recorder
from .target import at_last, goal_of, reached
from .way import SETTINGS, Row, Words, Work, between, names, own, settings_of

FIRST: Mapping[str, Any] = {"score": "l1", "compensate": "none"}  # the optimizer's state goes on


@dataclass(frozen=True)
class Gradual:
    """In the middle of a training that starts at the dense network."""

    settings: Settings = field(default_factory=lambda: Settings(**FIRST))
    schedule: str = "agp"
    rounds: int = 8  # cuts, evenly spaced
    until: float = 0.6  # share of the training after which the last cut is done
    retrain_epochs: int = 10  # of this training
    distil: bool = False
    images: int = 256

    def __post_init__(self) -> None:
        between("rounds", self.rounds, 1, 1000)
        between("until", self.until, 0.01, 1)
        between("retrain_epochs", self.retrain_epochs, 1, 10_000)
        schedules.named(self.schedule)
        if self.settings.compensate != "none":
            raise EdgepruneError(
                f"--during-training with --compensate {self.settings.compensate}",
                "the training itself repairs, and the optimizer's state would not fit new weights",
                "leave --compensate out",
            )
        if self.settings.method == "sensitivity":
            raise EdgepruneError(
                "--method sensitivity",
                "is measured before the training, which changes it",
                "leave it out",
            )


def of_words(typed: Words) -> Gradual:
    return Gradual(settings_of({**FIRST, **typed}), **own(Gradual, typed))


def page(work: Work[Gradual]) -> str:
    """Prune while training on from the run's dense network; returns how closely the target was met."""
    run, way, dense = work.run, work.way, work.dense
    recipe = healing(work.asked.training, way.retrain_epochs, distil=way.distil)
    recipe = recipe.but(precision=trained_in(run), seed=work.asked.seed + 1)
    cuts = Cuts(work)
    now = position.read(run)
    if now is None:
        train.fit(
            cuts.graph.model, work.labelled, dense.convention, recipe,
            state=run.state_folder / "retrain.safetensors",
            watch=Recorder(run, work.watch, "pruned", "retrain", 1),
            teacher=dense.model if way.distil else None, cutter=cuts,
        )  # fmt: skip
        made = position.plan_of(dense.graph, cuts.kept, "", work.goal, work.prices)
        now = position.write(run, Position(cuts.done, cuts.kept, reached(work, made)), cuts.graph)
    position.finish(work, now)
    assert now.ended
    return now.ended


class Cuts(train.Cutter):
    """Cuts the network that is being trained when its moment has come."""

    def __init__(self, work: Work[Gradual]) -> None:
        self.work, self.way = work, work.way
        self.images = rounds.images_to_look_at(work)
        self.graph = self.whole = graph.trace(copy.deepcopy(work.dense.model), work.dense.example)
        self.kept: dict[str, list[int]] = {}
        self.done = 0

    def words(self) -> Any:
        return {"done": self.done, "kept": self.kept}

    def cut(self, share: float, optimizer: torch.optim.Optimizer) -> nn.Module | None:
        """The smaller network if a cut is due at ``share`` of the training, else None."""
        way, number = self.way, due(self.way, share)
        if number <= self.done:
            return None
        self.done = number
        goal = schedules.kept(way.schedule, number / way.rounds, goal_of(self.work))
        plan_at = rounds.planner(self.work, self.graph, goal, self.images)
        last = number == way.rounds
        plan = at_last(self.work, plan_at, self.kept) if last else plan_at(goal, self.work.prices)
        keep = dict(plan.keep)
        self.kept = prune.compose(self.kept, keep)
        self.graph = prune.narrow(self.graph, keep, optimizer=optimizer)
        rounds.record(self.work, self.graph, number)  # no accuracy: the training goes on
        return self.graph.model

    def take_up(self, words: Any, optimizer: torch.optim.Optimizer) -> nn.Module:
        """The network as it was when ``words`` were written; its tensors are filled by the caller."""
        self.done, self.kept = words["done"], words["kept"]
        self.graph = prune.narrow(self.whole, self.kept, optimizer=optimizer)
        return self.graph.model


def due(way: Gradual, share: float) -> int:
    """How many cuts are to be done when ``share`` of the training is: evenly spaced to ``until``."""
    return min(way.rounds, int((share + 1e-9) * way.rounds / way.until))


def dry(work: Work[Gradual]) -> Plan:
    """All cuts at once, from the dense network; nothing is written."""
    images = rounds.images_to_look_at(work) if work.dataset is not None else None
    goal = goal_of(work)
    return rounds.planner(work, work.dense.graph, goal, images)(goal, work.prices)


ROW = Row(
    name="gradual",
    title="--during-training",
    value=Gradual,
    of_words=of_words,
    words=names(Gradual, *SETTINGS) - {"images", "until", "distil_steps"},
    lacks=("does not apply during training", "leave it out"),
    page=page,
    flag="during_training",
    dry=dry,
    dry_note=lambda way: rounds.ALL_AT_ONCE,
    formerly="during training",
    renamed={"cuts": "rounds"},
)
