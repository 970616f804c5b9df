"""The tasks: training, ways, export and bench ask the row that a run's recipe names."""

from __future__ import annotations

from ..errors import EdgepruneError, closest
from .classification import CLASSIFICATION
from .task import Task

TASKS: dict[str, Task] = {task.name: task for task in (CLASSIFICATION,)}


def named(name: str) -> Task:
    if name not in TASKS:
        raise EdgepruneError(f"task {name!r}", closest(str(name), list(TASKS)))
    return TASKS[name]
