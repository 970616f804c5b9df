"""Post-training pruning as a run: computed first, told, and only then written.

look at unlabelled images, plan, cut, repair (post_training.py)
tell what it is expected to lose, on images that took no part
write both networks into the run, the pruned one last
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .. import checkpoint, files, train
from ..checkpoint import Loaded
from ..data.transforms import Pixels
from ..prune import Plan
from ..runs import Run
from . import position
from .asked import Asked, Unlabelled, write_recipe
from .dense import record_result, refuse_early
from .post_training import PostTraining, post_training
from .record import Watch
from .target import target_of

if TYPE_CHECKING:
    from ..data import Dataset


def without_labels(
    dense: Loaded, pixels: Pixels, asked: Asked, watch: Watch, given: Plan | None = None
) -> PostTraining:
    """Prune ``dense`` with ``pixels`` [N, canvas, canvas, 3]; nothing is written, the loss is told.

    ``given`` is a plan to apply instead of making one.
    """
    way = asked.pruning
    assert isinstance(way, Unlabelled)
    refuse_early(dense.graph, way)
    done = post_training(
        dense.model, pixels, dense.convention, way.settings, watch.on_progress, given
    )
    for note in done.notes:
        watch.note(note)
    watch.note(f"expected: {done.forecast.sentence()}")
    return done


def write(
    run: Run, asked: Asked, dense: Loaded, done: PostTraining, dataset: Dataset | None,
    argv: Sequence[str],
) -> str:  # fmt: skip
    """Everything into the run, ``pruned.safetensors`` last: with it the run is whole.

    A command that is killed before that starts over; whatever it had written is written again.
    """
    way = asked.pruning
    assert isinstance(way, Unlabelled)
    dense_widths = {name: group.width for name, group in dense.graph.groups.items()}
    keep = {name: list(units) for name, units in done.plan.keep.items()}
    write_recipe(run, asked, argv)
    if not run.has("dense"):
        accuracies = _accuracies(dense.model, dense, dataset)
        record_result(
            run, "dense", dense.graph, *accuracies, precision="fp32", lowest_lr=None,
            stopped="given, not trained here",
        )  # fmt: skip
        checkpoint.write_spec(
            run, dense.spec, dense.convention, dense.classes, dense_widths, kept={}
        )
        checkpoint.write_weights(run, "dense", dense.model, dense.spec, dense.convention)
    made = position.plan_of(dense.graph, keep, done.plan.method, target_of(way.settings))
    ended = f"target reached: {made.sentence()}" if made.target else "the plan is applied"
    record_result(
        run, "pruned", done.graph, *_accuracies(done.model, dense, dataset),
        steps=1, stopped=ended, images=done.forecast.images, agreement=done.forecast.agreement,
        variance_kept=done.forecast.variance_kept, seconds=done.seconds,
    )  # fmt: skip
    files.write_json(run.plan_path, position.recounted(dense.graph, done.plan).to_json())
    checkpoint.write_spec(run, dense.spec, dense.convention, dense.classes, dense_widths, keep)
    checkpoint.write_weights(run, "pruned", done.model, dense.spec, dense.convention)
    return ended


def _accuracies(model: Any, dense: Loaded, dataset: Dataset | None) -> tuple[Any, Any]:
    """On validation and test; None without labels."""
    if dataset is None:
        return None, None
    return tuple(  # type: ignore[return-value]
        train.evaluate(model, part, dense.convention).top1
        for part in (dataset.validation, dataset.test)
    )
