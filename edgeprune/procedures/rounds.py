"""The parts of one prune-and-retrain round, shared by the ways that retrain: look, cut, retrain."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor, nn

from .. import prune, train
from ..checkpoint import Loaded
from ..models import Convention
from ..prune.evidence import Evidence, gather
from ..prune.images import Images
from ..runs import Run
from ..train import Recipe
from .asked import Asked
from .dense import result
from .heal import TAUGHT, heal, healing
from .post_training import Settings, calibration, choose, parts_of, repair
from .record import Recorder, Watch

if TYPE_CHECKING:
    from ..data import Dataset
    from ..graph import Graph
    from ..prune import Plan

WEIGHTS_ALONE = [name for name in prune.SCORES if name not in prune.NEEDS]


def images_to_look_at(
    dataset: Dataset, convention: Convention, n: int, settings: Settings
) -> Images | None:
    """``n`` training images, their labels unused; None where neither score nor repair looks."""
    if settings.score in WEIGHTS_ALONE and settings.compensate == "none":
        return None
    some = dataset.train.take(n)
    pixels = some.images(range(len(some)))
    return calibration(pixels, convention, settings.views, settings.seed)


def look(traced: Graph, images: Images | None, settings: Settings) -> Evidence | None:
    """What the score needs to know; None where the weights tell it all."""
    if images is None or settings.score in WEIGHTS_ALONE:
        return None
    return gather(traced, images, parts=parts_of(settings))


def score(traced: Graph, group: str, evidence: Evidence | None, settings: Settings) -> Tensor:
    """The score of a group's units, [width], higher = keep."""
    return prune.SCORES[settings.score](traced, group, evidence)


def plan_to(
    traced: Graph, share: float, images: Images | None, settings: Settings
) -> Plan:  # share of what the network is now
    """A plan that keeps ``share`` of the present network's FLOPs (or parameters)."""
    if settings.keep_params is not None:
        wanted = replace(settings, keep_params=share, keep_flops=None)
    else:
        wanted = replace(settings, keep_flops=share, keep_params=None)
    return choose(traced, look(traced, images, settings), wanted)  # type: ignore[arg-type]


def smaller(traced: Graph, keep: prune.Keep, images: Images | None, settings: Settings) -> Graph:
    """Cut, and repaired where that is asked."""
    if images is None or settings.compensate == "none":
        return prune.narrow(traced, keep)
    return repair(traced, {**_whole(traced), **keep}, images, settings)[0]


def _whole(traced: Graph) -> dict[str, list[int]]:
    return {name: list(range(group.width)) for name, group in traced.groups.items()}


def retraining(run: Run, asked: Asked, epochs: int, kind: str, *, distil: bool) -> Recipe:
    """How to retrain: "paper", at the lowest rate of the dense training; or "restart" (heal.py)."""
    dense = result(run, "dense")
    if kind == "restart":
        return healing(asked.training, epochs, distil=distil).but(precision=dense["precision"])
    return asked.training.but(
        epochs=epochs, schedule="constant", warmup_epochs=0, patience=0,
        lr=dense["lowest_lr"], precision=dense["precision"],
        **({"teacher_share": TAUGHT} if distil else {}),
    )  # fmt: skip


def retrain(
    run: Run, network: nn.Module, dense: Loaded, dataset: Dataset, recipe: Recipe, number: int,
    watch: Watch, *, distil: bool, state: Path,
) -> float:  # fmt: skip
    """Train ``network`` in place; the validation accuracy of the weights that are kept."""
    teacher = dense.model if distil else None
    told = Recorder(run, watch, "pruned", "retrain", number)
    done = heal(network, teacher, dataset, dense.convention, recipe, state=state, watch=told)
    return done.best_validation


def accuracy(model: nn.Module, dataset: Dataset, dense: Loaded, precision: str) -> float:
    """On validation, for choices: in the training's precision, the same for all that is compared."""
    return train.evaluate(model, dataset.validation, dense.convention, precision=precision).top1
