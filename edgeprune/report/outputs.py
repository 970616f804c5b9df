"""What each output of a network has kept of the dense one's, in the words of its task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .. import units
from ..records import Output


@dataclass(frozen=True)
class Figure:
    """One figure of one output, as it is told."""

    quantity: str
    key: str  # in files
    value: float
    text: str


def plain_classes(outputs: Sequence[Output]) -> bool:
    """Whether it is a classifier's one output, which is told in shares of images."""
    return [o.task for o in outputs] == ["classification"]


def figures(outputs: Sequence[Output]) -> list[Figure]:
    """Of each output what labels say, the measures of its task, then the variance kept."""
    from ..tasks import TASKS  # imports torch, which a list of runs must not

    found = []
    for output in outputs:
        place = f"{output.name}: " if len(outputs) > 1 else ""
        task = TASKS.get(output.task)
        for measure in task.labelled if task and output.scores else ():
            if measure.name in output.scores:
                value = output.scores[measure.name]
                quantity = f"Test {small(measure.title)}"  # labels judge one output
                found.append(Figure(quantity, f"test_{measure.name}", value, measure.show(value)))
        for measure in task.measures if task else ():
            if measure.name in output.measures:
                value = output.measures[measure.name]
                quantity = place + (measure.title if not place else small(measure.title))
                found.append(Figure(quantity, measure.name, value, measure.show(value)))
        if output.variance_kept is not None:
            kept = output.variance_kept
            quantity = place + ("variance kept" if place else "Variance kept")
            found.append(Figure(quantity, "variance_kept", kept, units.percent(kept)))
    return found


def sentence(outputs: Sequence[Output]) -> str:
    """``is at cosine 0.98 to the dense network's and keeps 95.0 % of its variance``."""
    from .. import tasks

    said = tasks.sentence(outputs, tasks.TASKS)
    return said.removeprefix("it ") if len(outputs) == 1 else said


def small(title: str) -> str:
    """As it stands inside a line; words in capitals stay."""
    return title if title[:2].isupper() or title[:1] == "m" else title[:1].lower() + title[1:]
