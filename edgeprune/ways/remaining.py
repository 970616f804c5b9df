"""How far a long computation is, and how long the rest of it will take, from what each part costs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol

from ..graph import Graph, cost
from ..prune.readers import find_readers

ROWS, SOLVES = 20_000, 8  # of a regression: about so many rows, and systems that are solved


class Told(Protocol):
    """Hears that ``what`` is ``done`` of ``of`` parts on, and the seconds left of all (NaN: unknown)."""

    def __call__(self, what: str, done: int, of: int, left: float = math.nan) -> None: ...


class Remaining:
    """Phases one after another, each a list of parts; their expected work in any one unit."""

    def __init__(
        self, phases: Sequence[Sequence[float]], told: Told, clock: Callable[[], float]
    ) -> None:
        self.told, self.clock, self.begun = told, clock, clock()
        self.before = [0.0, *accumulate(sum(parts) for parts in phases)]
        self.within = [[0.0, *accumulate(parts)] for parts in phases]

    def phase(self, number: int) -> Callable[[str, int, int], None]:
        """What tells of this phase: ``(what, done, of)``."""
        within = self.within[number]

        def tell(what: str, done: int, of: int) -> None:
            parts = len(within) - 1
            here = within[-1] * done / of if of != parts else within[min(done, parts)]
            self.told(what, done, of, self._left(self.before[number] + here))

        return tell

    def _left(self, done: float) -> float:
        elapsed = self.clock() - self.begun
        return elapsed * (self.before[-1] - done) / done if done > 0 else math.nan


@dataclass(frozen=True)
class Amounts:
    """How many images each phase sees, and what share of the network is left."""

    calibrate: int
    fit: int  # blocks, beside
    distil: int
    judge: int
    share: float
    trials: int = 0  # of the search for shares,
    tried: int = 0  # each repaired on so many images and judged on as many


def work_of(graph: Graph, much: Amounts) -> list[list[float]]:
    """Multiply-adds of looking, choosing, trying, repairing (by layer), distilling, judging; roughly."""
    share = much.share
    whole = cost(graph).macs
    weights = graph.constants()
    nodes = {node.name: node for node in graph.module.graph.nodes}
    layers, brief = [], (1 + share) * much.tried * whole  # a trial's maps; its solutions are added
    for reader in find_readers(graph):
        out, size = graph.values[nodes[reader.node]].shape, weights[reader.weight].numel()
        filters, space = (out[1], out[2:]) if reader.window else (out[-1], out[1:-1])
        columns = share * size / filters
        space = (*space, len(reader.uses))
        looked_at = much.calibrate * (1 + share) + 3 * share * much.fit
        solved = (ROWS * columns**2 + SOLVES * columns**3) * (1 if reader.labels is not None else 0)
        layers.append(math.prod(space) * size * looked_at + solved)
        brief += solved
    chosen = [2.0 * group.width**3 for group in graph.groups.values()]
    distilled, judged = (1 + 3 * share) * much.distil, (1 + share) * much.judge
    tried = [brief + share * much.tried * whole] * much.trials
    return [[much.calibrate * whole], chosen, tried, layers, [distilled * whole], [judged * whole]]
