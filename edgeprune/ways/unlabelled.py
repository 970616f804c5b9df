"""Post-training pruning as a run: computed first, told, and only then written.

look at unlabelled images, plan, cut, repair (post_training.py)
tell what it is expected to lose, on images that took no part
write both networks into the run, the pruned one last
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .. import checkpoint, data, files, train
from ..data import Split
from ..errors import EdgepruneError
from ..prune import Plan
from ..prune.plan import OWN
from ..records import Place
from . import drop, position
from .aim import Settle
from .dense import record_result
from .post_training import PostTraining, Settings, post_training
from .target import reached
from .visiting import Visiting
from .way import SETTINGS, Row, Words, Work, names, own, settings_of

Judges = tuple[Split | None, Split | None]  # validation, test; None: no labels


@dataclass(frozen=True)
class Unlabelled:
    """Post-training: unlabelled images, no training (post_training.py)."""

    settings: Settings = field(default_factory=Settings)
    plan: str = ""  # fingerprint of a plan that was given
    max_drop: float | None = None  # points of the dense network's answers that it may cost
    place: Place | None = None  # without a target: where the fastest such network is looked for

    def __post_init__(self) -> None:
        if self.settings.method == "sensitivity":
            raise EdgepruneError(
                "--method sensitivity",
                "is measured with labels, and --post-training has none",
                "leave it out",
            )
        if self.settings.method == OWN and self.max_drop is not None:
            raise EdgepruneError(
                "--method own and --max-drop", "each says how far", "leave one out"
            )

    @property
    def within(self) -> drop.Within | None:
        return None if self.max_drop is None else drop.Within(self.max_drop, self.place)


def of_words(typed: Words) -> Unlabelled:
    return Unlabelled(settings_of(typed), **own(Unlabelled, typed))


def page(work: Work[Unlabelled]) -> str:
    """Prune, tell what it costs, write; returns how closely the target was met.

    A command that is killed starts over; whatever it had written is written again.
    """
    judges = judging(work)  # refused before the work, not after it
    done = computed(work, Visiting(work).plan)
    with work.open():
        ended = write(work, done, judges)
    return f"{ended}; {done.seconds:.0f} s"


def computed(work: Work[Unlabelled], settle: Settle) -> PostTraining:
    """The smaller network; nothing of it is written, the loss is told."""
    if work.examples is None:
        raise EdgepruneError(
            "--post-training", "has no images to look at", "add --images FOLDER or --data NAME"
        )
    done = post_training(
        work.dense.model, work.examples, work.way.settings, work.watch.on_progress, work.given,
        work.rows, settle, work.way.within,
    )  # fmt: skip
    for note in done.notes:
        work.watch.note(note)
    work.watch.note(f"expected: {done.forecast.sentence()}")
    return done


def write(work: Work[Unlabelled], done: PostTraining, judges: Judges) -> str:
    """Everything into the run, ``pruned.safetensors`` last: with it the run is whole."""
    run, dense = work.run, work.dense
    keep = {name: list(units) for name, units in done.plan.keep.items()}
    write_dense(work, judges)
    ended = reached(work, done.plan) + bounded(work.way.max_drop, done)
    record_result(
        run, "pruned", done.graph, *accuracies(work, done.model, judges),
        steps=1, stopped=ended, images=done.forecast.images, agreement=done.forecast.agreement,
        variance_kept=done.forecast.variance_kept, outputs=list(done.forecast.outputs),
        seconds=done.seconds,
    )  # fmt: skip
    files.write_json(
        run.plan_path, position.recounted(dense.graph, done.plan, work.prices).to_json()
    )
    checkpoint.write_spec(
        run, dense.spec, dense.convention, dense.classes, dense.graph.widths, keep
    )
    checkpoint.write_weights(run, "pruned", done.model, dense.spec, dense.convention)
    return ended


def bounded(points: float | None, done: PostTraining) -> str:
    """What was bounded besides: ``; at most 3.1 points of the answers may be lost (5 asked)``."""
    if points is None:
        return ""
    most = 100 * drop.lost(done.forecast.agreement or 0.0, done.forecast.images)
    return (
        f"; at most {most:.1f} points of the dense network's answers may be lost ({points:g} asked)"
    )


def write_dense(work: Work[Any], judges: Judges) -> None:
    """The dense network into a run that has none yet."""
    run, dense = work.run, work.dense
    if run.has("dense"):
        return
    record_result(
        run, "dense", dense.graph, *accuracies(work, dense.model, judges), precision="fp32",
        lowest_lr=None, stopped="given, not trained here",
    )  # fmt: skip
    checkpoint.write_spec(
        run, dense.spec, dense.convention, dense.classes, dense.graph.widths, kept={},
        signature=dense.signature,
    )  # fmt: skip
    checkpoint.write_weights(run, "dense", dense.model, dense.spec, dense.convention)


def dry(work: Work[Unlabelled]) -> Plan:
    """The plan, by what is predicted alone, and what it is expected to cost."""
    return computed(work, lambda plan_at: plan_at(None, work.prices)).plan


def judging(work: Work[Any]) -> Judges:
    """The labelled images of validation and test, as far as there are any."""
    if work.dataset is not None:
        return work.dataset.validation, work.dataset.test
    if work.asked.test is None:
        return None, None
    held_out = data.held_out(
        work.asked.test, work.dense.classes, size=work.dense.convention.size,
        skip_bad=work.asked.skip_bad, notes=work.watch.note, progress=work.watch.on_progress,
    )  # fmt: skip
    return None, held_out


def accuracies(
    work: Work[Any], model: Any, judges: Judges
) -> tuple[train.Judged | None, train.Judged | None]:
    """On validation and test; None without labels."""
    port, task = work.judged
    validation, test = (
        None
        if part is None
        else train.evaluate(model, part, work.dense.convention, task=task, place=port.name)
        for part in judges
    )
    return validation, test


ROW = Row(
    name="unlabelled",
    title="--post-training",
    value=Unlabelled,
    of_words=of_words,
    words=names(Unlabelled, *SETTINGS),
    lacks=("means training, and --post-training does none", "leave one out"),
    page=page,
    flag="post_training",
    labels=False,
    dry=dry,
    formerly="post-training",
)
