"""The parts of one prune-and-retrain round, shared by the ways that retrain: look, cut, retrain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from .. import graph, prune, train
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

Losses = Mapping[str, Sequence[float]]
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
    traced: Graph, share: float, images: Images | None, settings: Settings,
    whole: Mapping[str, int], losses: Losses | None = None,
) -> Plan:  # fmt: skip
    """A plan that keeps ``share`` of the present network's FLOPs (or parameters).

    ``whole``: the dense network's widths. ``losses``: of each group at every width, where they were
    measured (sensitivity.py).
    """
    if settings.keep_params is not None:
        wanted = replace(settings, keep_params=share, keep_flops=None)
    else:
        wanted = replace(settings, keep_flops=share, keep_params=None)
    seen = look(traced, images, settings)
    return choose(traced, seen, wanted, losses=losses, whole=whole)  # type: ignore[arg-type]


def smaller(traced: Graph, keep: prune.Keep, images: Images | None, settings: Settings) -> Graph:
    """Cut, and repaired where that is asked."""
    if images is None or settings.compensate == "none":
        return prune.narrow(traced, keep)
    whole = {name: list(range(width)) for name, width in widths(traced).items()}
    return repair(traced, {**whole, **keep}, images, settings)[0]


def widths(traced: Graph) -> dict[str, int]:
    """How many channels each group has."""
    return {name: group.width for name, group in traced.groups.items()}


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


def judged(
    run: Run, smaller: Graph, dense: Loaded, dataset: Dataset, recipe: Recipe, number: int,
    watch: Watch, *, distil: bool, train: bool,
) -> tuple[float, float]:  # fmt: skip
    """Validation accuracy after the cut, and after training in place (if ``train``)."""
    before = accuracy(smaller.model, dataset, dense, recipe.precision)
    if not train:
        return before, before
    teacher = dense.model if distil else None
    told = Recorder(run, watch, "pruned", "retrain", number)
    done = heal(
        smaller.model, teacher, dataset, dense.convention, recipe, state=retrained(run), watch=told
    )
    return before, done.best_validation


def retrained(run: Run) -> Path:
    """Where a retraining that was killed goes on from; gone when its step is on disk."""
    return run.state_folder / "retrain.safetensors"


def record(
    run: Run, watch: Watch, smaller: Graph, number: int, *, layer: str | None = None,
    removed: Sequence[int] = (), before: float | None = None, accuracy: float | None = None,
    kept: bool = True, **more: float,
) -> None:  # fmt: skip
    """Write one step into the run's history, and tell it. ``layer`` None: all of them gave."""
    cost = graph.cost(smaller)
    step: dict[str, Any] = {
        "step": number,
        "layer": layer,
        "removed": list(removed),
        "widths": widths(smaller),
        "params": cost.params,
        "flops": cost.flops,
        "macs": cost.macs,
        "before": before,
        "accuracy": accuracy,
        "kept": kept,
        **more,
    }
    run.append(kind="step", **step)
    watch.on_step(step)


def accuracy(model: nn.Module, dataset: Dataset, dense: Loaded, precision: str) -> float:
    """On validation, for choices: in the training's precision, the same for all that is compared."""
    return train.evaluate(model, dataset.validation, dense.convention, precision=precision).top1
