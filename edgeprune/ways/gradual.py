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
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from .. import graph, prune, train
from ..checkpoint import Loaded
from ..graph import Graph
from ..prune.images import Images
from ..runs import Run
from . import position, rounds, schedules
from .asked import Asked, Gradual
from .dense import refuse_early, result
from .heal import healing
from .position import Keep, Position
from .record import Recorder, Watch
from .target import goal_of, target_of

if TYPE_CHECKING:
    from ..data import Dataset


def during_training(run: Run, asked: Asked, dense: Loaded, dataset: Dataset, watch: Watch) -> str:
    """Prune while training on from the run's dense network; returns how closely the target was met."""
    settings = asked.pruning
    assert isinstance(settings, Gradual)
    if (stopped := position.pruned_already(run, watch)) is not None:
        return stopped
    refuse_early(dense.graph, settings)
    recipe = healing(asked.training, settings.retrain_epochs, distil=settings.distil)
    recipe = recipe.but(precision=result(run, "dense")["precision"], seed=asked.seed + 1)
    images = rounds.images_to_look_at(dataset, dense.convention, settings.images, settings.settings)
    cuts = Cuts(
        run, settings, graph.trace(copy.deepcopy(dense.model), dense.example), images, watch
    )
    now = position.read(run)
    if now is None:
        train.fit(
            cuts.graph.model, dataset, dense.convention, recipe,
            state=run.state_folder / "retrain.safetensors",
            watch=Recorder(run, watch, "pruned", "retrain", 1),
            teacher=dense.model if settings.distil else None, cutter=cuts,
        )  # fmt: skip
        made = position.plan_of(dense.graph, cuts.kept, "", target_of(settings.settings))
        ended = f"target reached: {made.sentence()}"
        now = position.write(run, Position(cuts.done, cuts.kept, ended), cuts.graph)
    position.finish(
        run, dense, dataset, now,
        method=settings.settings.method, target=target_of(settings.settings),
    )  # fmt: skip
    assert now.ended
    return now.ended


class Cuts(train.Cutter):
    """Cuts the network that is being trained when its moment has come."""

    def __init__(
        self, run: Run, settings: Gradual, whole: Graph, images: Images | None, watch: Watch
    ) -> None:
        self.run, self.settings, self.watch = run, settings, watch
        self.images = images
        self.graph = self.whole = whole
        self.kept: Keep = {}
        self.done = 0
        what = "params" if settings.settings.keep_params is not None else "flops"
        self.what, self.dense_cost = what, getattr(graph.cost(whole), what)

    def words(self) -> Any:
        return {"done": self.done, "kept": self.kept}

    def moment(self, number: int) -> float:
        """When cut ``number`` (1 to ``cuts``) is due, as a share of the training."""
        return self.settings.until * number / self.settings.cuts

    def cut(self, share: float, optimizer: torch.optim.Optimizer) -> nn.Module | None:
        """The smaller network if a cut is due at ``share`` of the training, else None."""
        due = self.done
        while due < self.settings.cuts and share >= self.moment(due + 1) - 1e-9:
            due += 1
        if due == self.done:
            return None
        self.done = due
        goal = schedules.kept(
            self.settings.schedule, due / self.settings.cuts, goal_of(self.settings.settings)
        )
        now = getattr(graph.cost(self.graph), self.what)
        left = min(1.0, goal * self.dense_cost / now)
        widths = rounds.widths(self.whole)
        plan = rounds.plan_to(self.graph, left, self.images, self.settings.settings, widths)
        keep = dict(plan.keep)
        self.kept = prune.compose(self.kept, keep)
        self.graph = prune.narrow(self.graph, keep, optimizer=optimizer)
        rounds.record(self.run, self.watch, self.graph, due)  # no accuracy: the training goes on
        return self.graph.model

    def take_up(self, words: Any, optimizer: torch.optim.Optimizer) -> nn.Module:
        """The network as it was when ``words`` were written; its tensors are filled by the caller."""
        self.done, self.kept = words["done"], words["kept"]
        self.graph = prune.narrow(self.whole, self.kept, optimizer=optimizer)
        return self.graph.model
