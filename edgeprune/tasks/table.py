"""The tasks: training, ways, export and bench ask the row that a run's recipe names."""

from __future__ import annotations

from collections.abc import Sequence

from .. import extras
from ..errors import EdgepruneError, closest
from ..records.signature import Port, Signature
from .boxes import BOXES
from .classification import CLASSIFICATION
from .maps import DEPTH, RESTORATION, SEGMENTATION, SEQUENCE
from .task import Task
from .vectors import EMBEDDING, LABELS, NUMBER, VALUES

# in the order in which an output is looked at: the first row that sees its own has it
TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        CLASSIFICATION, EMBEDDING, LABELS, NUMBER, BOXES, SEQUENCE, SEGMENTATION, RESTORATION, DEPTH,
        VALUES,
    )
}  # fmt: skip


def named(name: str) -> Task:
    if name not in TASKS:
        raise EdgepruneError(f"task {name!r}", closest(str(name), list(TASKS)))
    return TASKS[name]


def judged(signature: Signature, said: str = "") -> list[tuple[Port, Task]]:
    """Each output that follows the batch, with its task.

    ``said``: a task for all outputs that are not seen, or for some, ``logits=classification,age=number``;
    what it does not name is seen, else compared by its error. Raises :class:`EdgepruneError` for names
    that are not there.
    """
    outputs = [p for p in signature.outputs if p.batch is not None]
    if not outputs:
        raise EdgepruneError(
            "the network's outputs", "none follows the batch of its inputs",
            "give a network whose outputs have a row for each example",
        )  # fmt: skip
    odd = next((p for p in outputs if p.dtype.startswith("complex")), None)
    if odd is not None:
        raise EdgepruneError(
            f"output {odd.name} {odd.said}".replace("  ", " "), "complex numbers are not compared",
            "let the forward return torch.view_as_real(y)",
        )  # fmt: skip
    whole, own = _words(said, [p.name for p in outputs])
    rows = [(port, own.get(port.name) or whole or _seen(port, signature)) for port in outputs]
    for port, task in rows:
        if len(port.shape) < task.axes:
            raise EdgepruneError(
                f"task {task.name}", f"output {port.name} {port.said} has too few axes for it",
                "--task OUTPUT=NAME says another",
            )  # fmt: skip
        if task.extra:
            extras.check(task.extra, f"task {task.name}")
    return rows


def told(rows: Sequence[tuple[Port, Task]]) -> str:
    """What `judged` reads: ``classification`` of one output, ``logits=classification,age=number``."""
    if len(rows) == 1:
        return rows[0][1].name
    return ",".join(f"{port.name}={task.name}" for port, task in rows)


def labelled(rows: Sequence[tuple[Port, Task]]) -> tuple[Port, Task] | None:
    """The output that labels judge: the only one, or the only one of a task of its own; None: there is
    none, or nobody knows which."""
    plain = [(port, task) for port, task in rows if task is not VALUES]
    found = rows if len(rows) == 1 else plain
    return found[0] if len(found) == 1 and found[0][1].judges and found[0][0].batch == 0 else None


def _seen(port: Port, signature: Signature) -> Task:
    return next(task for task in TASKS.values() if task.seen(port, signature) or task is VALUES)


def _words(said: str, outputs: list[str]) -> tuple[Task | None, dict[str, Task]]:
    whole, own = None, {}
    for word in filter(None, said.split(",")):
        output, equals, name = word.rpartition("=")
        if not equals:
            whole = named(name)
        elif output in outputs:
            own[output] = named(name)
        else:
            known = [name for name in outputs if name]
            raise EdgepruneError(
                f"task {word!r}",
                f"no output {output!r}; {closest(output, known) if known else 'its one output has no name'}",
                f"--task {name} is meant for all" if not known else "",
            )
    return whole, own
