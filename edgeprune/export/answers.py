"""What .onnx files answer to real examples, in onnxruntime here: beside each other, and beside labels.

Devices are given noise and time it; whether a network still says what another one says is asked of real
examples, on this machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from ..errors import EdgepruneError
from ..graph.inputs import size
from ..records import Output, Port, Signature
from ..tasks import Comparison, Scores, Task
from . import parity

Rows = Sequence[tuple[Port, Task]]


Judged = tuple[Port, Task] | None  # the output that labels judge


@dataclass(frozen=True)
class Answers:
    """Of some files, over all examples."""

    images: int
    outputs: list[list[Output]]  # for each pair, what the second file has kept of the first one's
    scores: list[dict[str, float]]  # for each file, by labels, the score first; {} without labels

    @property
    def score(self) -> list[float | None]:
        """For each file; None without labels."""
        return [next(iter(own.values()), None) for own in self.scores]


def beside(
    models: Sequence[Path], batches: Iterable[parity.Batch], signature: Signature, rows: Rows,
    judged: Judged = None,
) -> list[list[Output]]:  # fmt: skip
    """For each file, what its outputs, those of ``rows``, have kept of the first one's, and what the labels
    of ``batches`` say of the one that is ``judged``; of the first file only that.
    """
    pairs = [(0, i) for i in range(1, len(models))]
    found = answers(models, batches, signature, rows, pairs, judged)
    return [
        _with_scores(own, judged, scores)
        for own, scores in zip([[], *found.outputs], found.scores, strict=True)
    ]


def _with_scores(own: list[Output], judged: Judged, scores: dict[str, float]) -> list[Output]:
    if judged is None:
        return own
    port, task = judged
    outputs = own or [Output(name=port.name, task=task.name)]
    return [replace(o, scores=scores) if o.name == port.name else o for o in outputs]


def answers(
    models: Sequence[Path], batches: Iterable[parity.Batch], signature: Signature, rows: Rows,
    pairs: Sequence[tuple[int, int]], judged: Judged = None,
) -> Answers:  # fmt: skip
    """The files' outputs, those of ``rows``, pair by pair, and what labels say of the one that is judged."""
    places = [port.name for port in signature.outputs]
    numbers = [places.index(port.name) for port, _ in rows]
    sessions = [parity.session(path) for path in models]
    sums = [[Comparison(port, task) for port, task in rows] for _ in pairs]
    scores, images = [Scores(judged[1]) if judged else None for _ in models], 0
    for x, y in batches:
        given = [[torch.from_numpy(np.asarray(v)) for v in parity.run_on(s, x)] for s in sessions]
        for path, found in zip(models, given, strict=True):
            if len(found) != len(places):
                raise EdgepruneError(
                    str(path),
                    f"gives {len(found)} outputs, the run's network {len(places)}",
                    "edgeprune export writes the files anew",
                )
        images += size(x)
        for own, (a, b) in zip(sums, pairs, strict=True):
            for each, number in zip(own, numbers, strict=True):
                each.add(given[a][number], given[b][number])
        for score, found in zip(scores, given, strict=True):
            if score is not None and judged is not None and y is not None:
                score.add(found[places.index(judged[0].name)], y)
    return Answers(
        images,
        [[each.result() for each in own] for own in sums],
        [score.result() if score else {} for score in scores],
    )
