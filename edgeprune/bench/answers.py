"""What networks without labels answer: each .onnx file's outputs beside the first one's, in onnxruntime here.

Devices are given noise and time it; whether a pruned network still says what the dense one says is asked
of real examples, on this machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch

from ..errors import EdgepruneError
from ..export import parity
from ..records import Output, Port, Signature
from ..tasks import Comparison, Task

Rows = Sequence[tuple[Port, Task]]


def beside(
    models: Sequence[Path], batches: Iterable[parity.Batch], signature: Signature, rows: Rows
) -> list[list[Output]]:
    """For each file, what its outputs, those of ``rows``, have kept of the first one's; none for itself."""
    places = [port.name for port in signature.outputs]
    numbers = [places.index(port.name) for port, _ in rows]
    sessions = [parity.session(path) for path in models]
    sums = [[Comparison(port, task) for port, task in rows] for _ in models[1:]]
    for x, _ in batches:
        given = [[torch.from_numpy(np.asarray(v)) for v in parity.run_on(s, x)] for s in sessions]
        for path, found in zip(models, given, strict=True):
            if len(found) != len(places):
                raise EdgepruneError(
                    str(path), f"gives {len(found)} outputs, the run's network {len(places)}"
                )
        for own, found in zip(sums, given[1:], strict=True):
            for each, number in zip(own, numbers, strict=True):
                each.add(given[0][number], found[number])
    return [[], *([each.result() for each in own] for own in sums)]
