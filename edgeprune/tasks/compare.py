"""Two networks' outputs beside each other, batch by batch: what one has kept of the other's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..errors import EdgepruneError
from ..records import Output
from ..records.signature import Port
from .task import Task


@dataclass
class Comparison:
    """Sums over the batches of one output; its memory does not grow with them."""

    port: Port
    task: Task
    n: int = 0
    total: Tensor | Any = 0.0  # of outputs, element by element
    squares: float = 0.0  # of outputs
    lost: float = 0.0  # |outputs - others|^2
    parts: dict[str, Any] = field(default_factory=dict)  # of each measure

    def add(self, outputs: Tensor, others: Tensor) -> None:
        """A batch of both, [N, ...] or with the batch on the port's axis."""
        if outputs.shape != others.shape:
            raise EdgepruneError(
                f"output {self.port.name}",
                f"{list(outputs.shape)} and {list(others.shape)} differ",
                "both networks must answer in the same form",
            )
        a, b = (t.detach().movedim(self.port.batch or 0, 0) for t in (outputs, others))
        self.n += len(a)
        if a.is_floating_point():
            x, y = a.double(), b.double()
            self.total = self.total + x.sum(0)
            self.squares += float(x.square().sum())
            self.lost += float((x - y).square().sum())
        for measure in self.task.measures:
            found = measure.parts(a, b)
            there = measure.name in self.parts
            self.parts[measure.name] = self.parts[measure.name] + found if there else found

    @property
    def variance(self) -> float:
        """Of the first network's outputs about their mean over the examples, summed."""
        return self.squares - float(torch.as_tensor(self.total).square().sum()) / max(1, self.n)

    def result(self) -> Output:
        """Variance kept is None of integers and of outputs that are the same for all examples."""
        kept = None
        if self.variance > 1e-12 * self.squares:
            kept = 1 - self.lost / self.variance
        found = {m.name: m.value(self.parts[m.name]) for m in self.task.measures}
        known = {name: value for name, value in found.items() if value is not None}
        return Output(
            name=self.port.name, task=self.task.name, variance_kept=kept, measures=known
        )  # fmt: skip


class Scores:
    """What labels say of an output, over batches, the score first: ``{"map": 0.41, "map50": 0.62}``."""

    def __init__(self, task: Task) -> None:
        self.task, self.measures = task, task.labelled
        self.parts: dict[Any, Any] = {}  # by what takes them: two figures may be of the same sums

    def add(self, outputs: Tensor, targets: Tensor, times: int = 1) -> None:
        """A batch of both; 0 ``times`` counts nothing of it, and gives the sums their shape."""
        for take in {m.parts: m for m in self.measures}:
            found = take(outputs, targets) * times
            self.parts[take] = self.parts[take] + found if take in self.parts else found

    def result(self) -> dict[str, float]:
        """A figure is left out where the labels say nothing of it."""
        found = {
            m.name: m.value(self.parts[m.parts]) for m in self.measures if m.parts in self.parts
        }
        return {name: value for name, value in found.items() if value is not None}


def comparisons(rows: Sequence[tuple[Port, Task]]) -> list[Comparison]:
    return [Comparison(port, task) for port, task in rows]


def sentence(outputs: Sequence[Output], tasks: dict[str, Task]) -> str:
    """What the measures say, output by output."""
    said = []
    for output in outputs:
        words = [
            m.sentence.format(m.show(output.measures[m.name]))
            for m in tasks[output.task].measures
            if m.name in output.measures
        ]
        if output.variance_kept is not None:
            words.append(f"keeps {100 * output.variance_kept:.1f} % of its variance")
        if words:
            last = f" and {words[-1]}" if len(words) > 1 else words[-1]
            said.append(f"{output.name or 'it'} {', '.join(words[:-1])}{last}")
    return "; ".join(said)
