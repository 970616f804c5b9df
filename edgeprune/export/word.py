"""Export from Python: any module, checked on whatever batches of it there are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .. import graph, tasks
from ..errors import EdgepruneError
from ..graph.inputs import Example, inputs_of, mapped, only_inputs, size
from ..graph.probe import probe
from . import onnx, parity


def of_module(
    model: nn.Module,
    path: str | Path,
    images: Iterable[Any],
    *,
    dense: nn.Module | None = None,
    task: str = "",
    opset: int = onnx.OPSET,
    open: Sequence[str] = (),
) -> onnx.Exported:
    """Write ``model`` as one .onnx file, and compare it with torch on ``images``, all outputs of it.

    ``images``: batches of what the network is called with, as a data loader gives them (labels beside
    them are passed over). With ``dense``, what the file has kept of that network's outputs is told, in
    the words of its ``task`` (default: as the outputs are seen). ``open``: the axes that may have another
    size in the file besides the batch, ``("height", "width")`` (:mod:`.axes`); they are compared at
    another size too. Raises :class:`EdgepruneError`, and leaves no file, where the two differ, or where
    an axis cannot be open, with the reason.

    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
    >>> done = of_module(net, "net.onnx", [torch.randn(4, 3, 16, 16)])
    >>> done.path.name, done.parity.images, done.parity.difference < 1e-4
    ('net.onnx', 4, True)
    """
    batches = [only_inputs(model, batch) for batch in images]
    if not batches:
        raise EdgepruneError("export", "no images to compare on", "pass some batches")
    signature = probe(model, inputs_of(model, batches[0]))
    rows = tasks.judged(signature, task)
    cost = graph.cost(graph.trace(model, _two(batches[0])))
    counts = {"params": cost.params, "flops": cost.flops, "macs": cost.macs}
    return onnx.write(
        model.eval(),
        Path(path),
        real=parity.Real(
            _samples(batches[0]), [(x, None) for x in batches], rows[0][1], dense, rows
        ),
        card=onnx.Card(more={f"edgeprune.{name}": str(count) for name, count in counts.items()}),
        opset=opset,
        opened=[open] if isinstance(open, str) else open,
    )


def _two(batch: Example) -> Example:
    return parity.part(_samples(batch), 0, 2)


def _samples(batch: Example) -> Example:
    """At least 4 of the batch."""
    n = size(batch)
    again = -(-4 // n)
    return mapped(batch, lambda t: torch.cat([t] * again) if t.ndim and len(t) == n else t)
