"""What .onnx files answer to real examples, in onnxruntime here: beside each other, and beside labels.

Devices are given noise and time it; whether a network still says what another one says is asked of real
examples, on this machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..errors import EdgepruneError
from ..graph.inputs import size
from ..records import Output, Port, Signature
from ..tasks import Comparison, Task
from . import parity

Rows = Sequence[tuple[Port, Task]]


@dataclass(frozen=True)
class Answers:
    """Of some files, over all examples."""

    images: int
    outputs: list[list[Output]]  # for each pair, what the second file has kept of the first one's
    accuracy: list[float | None]  # for each file, the first output's score; None without labels


def beside(
    models: Sequence[Path], batches: Iterable[parity.Batch], signature: Signature, rows: Rows
) -> list[list[Output]]:
    """For each file, what its outputs, those of ``rows``, have kept of the first one's; none for itself."""
    pairs = [(0, i) for i in range(1, len(models))]
    return [[], *answers(models, batches, signature, rows, pairs).outputs]


def answers(
    models: Sequence[Path], batches: Iterable[parity.Batch], signature: Signature, rows: Rows,
    pairs: Sequence[tuple[int, int]], labelled: bool = False,
) -> Answers:  # fmt: skip
    """The files' outputs, those of ``rows``, pair by pair; ``labelled``: and how many are right."""
    places = [port.name for port in signature.outputs]
    numbers = [places.index(port.name) for port, _ in rows]
    sessions = [parity.session(path) for path in models]
    sums = [[Comparison(port, task) for port, task in rows] for _ in pairs]
    right, images = torch.zeros(len(models), dtype=torch.float64), 0
    for x, y in batches:
        given = [[torch.from_numpy(np.asarray(v)) for v in parity.run_on(s, x)] for s in sessions]
        for path, found in zip(models, given, strict=True):
            if len(found) != len(places):
                raise EdgepruneError(
                    str(path), f"gives {len(found)} outputs, the run's network {len(places)}"
                )
        images += size(x)
        for own, (a, b) in zip(sums, pairs, strict=True):
            for each, number in zip(own, numbers, strict=True):
                each.add(given[a][number], given[b][number])
        if labelled and y is not None:
            task = rows[0][1]
            right += torch.stack([task.right(g[numbers[0]], y).double().sum() for g in given])
    shares = (right / max(1, images)).tolist() if labelled else [None] * len(models)
    return Answers(images, [[each.result() for each in own] for own in sums], shares)
