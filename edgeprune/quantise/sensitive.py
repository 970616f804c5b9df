"""Layers whose 8 bits cost most, measured: the network is run with one layer at a time left in float."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from ..export import parity
from ..graph.inputs import Example, size
from ..records import Kept
from .file import LAYERS, Proto, quantised
from .ranges import Range

LOOK = 0.02  # share of the outputs' variance that is lost before layers are looked at one by one
WORTH = 0.2  # share of that loss that leaving a layer in float must win back
MOST = 4  # layers that stay in float
EXAMPLES = 32  # that measure (of those that calibrate)


def sensitive(proto: Proto, ranges: Mapping[str, Range], examples: Sequence[Example]) -> list[Kept]:
    """The layers that are left in float, the most harmful first; none where 8 bits cost little.

    ``loss`` of each: the share of the outputs' variance that the network loses less without it.
    """
    with tempfile.TemporaryDirectory(prefix="edgeprune-") as folder:
        judge = Judge(proto, ranges, few(examples), Path(folder))
        whole = judge.loss(())
        if whole < LOOK:
            return []
        kept: list[Kept] = []
        layers = [node.name for node in proto.graph.node if node.op_type in LAYERS]
        gains = {layer: whole - judge.loss((layer,)) for layer in layers}
        now = whole
        for layer in sorted(layers, key=lambda name: -gains[name])[:MOST]:
            if gains[layer] < WORTH * whole:
                break
            after = judge.loss([*(k.layer for k in kept), layer])
            if now - after < WORTH * whole:  # another one has won it back already
                continue
            kept.append(Kept(layer, now - after))
            now = after
        return kept


def few(examples: Sequence[Example]) -> list[Example]:
    """Some batches of them."""
    found: list[Example] = []
    for x in examples:
        if sum(map(size, found)) < EXAMPLES:
            found.append(x)
    return found


class Judge:
    """What the network loses in 8 bits, on a few examples."""

    def __init__(
        self, proto: Proto, ranges: Mapping[str, Range], examples: Sequence[Example], folder: Path
    ) -> None:
        self.proto, self.ranges, self.examples = proto, ranges, examples
        self.path = folder / "tried.onnx"
        self.float = self._outputs(proto)
        self.variance = [np.square(o - o.mean(0)).sum() for o in self.float]

    def loss(self, in_float: Collection[str]) -> float:
        """Share of the outputs' variance that is lost, the mean over the outputs."""
        found = self._outputs(quantised(self.proto, self.ranges, in_float))
        parts = [
            float(np.square(a - b).sum() / v)
            for a, b, v in zip(self.float, found, self.variance, strict=True)
            if v > 0
        ]
        return sum(parts) / max(1, len(parts))

    def _outputs(self, proto: Proto) -> list[NDArray[np.float64]]:
        onnx.save(proto, self.path)
        running = parity.session(self.path)
        given = [parity.run_on(running, x) for x in self.examples]
        return [
            np.concatenate(parts).astype(np.float64)
            for parts in zip(*given, strict=True)
            if parts[0].dtype.kind == "f" and parts[0].ndim
        ]
