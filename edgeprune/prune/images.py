"""Examples for calibration, mostly of images and mostly without labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..errors import EdgepruneError
from ..graph.inputs import Example, flat, mapped, size


@dataclass
class Images:
    """Batches of what the network is called with, the most different ones first: images [N, C, H, W],
    normalised, or any nest of tensors (`graph.inputs`).

    Batches with the same number in ``sources`` show the same images, seen differently: all views of
    an image lie in one fold. They are kept channels last, as convolutions run fastest.
    """

    batches: Sequence[Example]
    sources: Sequence[int] = field(default_factory=list)  # default: each batch its own images
    labels: Sequence[Tensor] | None = (
        None  # [N, ...] a batch, where there are any: gradients see them
    )
    loss: Callable[[Any, Tensor], Tensor] | None = None  # of outputs and labels; None: of classes

    def __post_init__(self) -> None:
        if not self.batches:
            raise EdgepruneError("calibration", "no images", "give a few hundred")
        if not self.sources:
            self.sources = list(range(len(self.batches)))
        for x in self.batches:
            if not all(bool(torch.isfinite(t).all()) for t in flat(x)):
                raise EdgepruneError(
                    "calibration images", "NaN or infinite values", "leave those out"
                )
        self.batches = [mapped(x, _channels_last) for x in self.batches]

    @property
    def folds(self) -> list[int]:
        """0 or 1 for each batch."""
        return [source % 2 for source in self.sources]

    def __len__(self) -> int:
        """Views of images, all told."""
        return sum(size(x) for x in self.batches)

    @property
    def once(self) -> list[Example]:
        """The batches that show images not seen before: one view of each."""
        known = {source: i for i, source in reversed(list(enumerate(self.sources)))}
        return [self.batches[i] for i in sorted(known.values())]

    def first(self, most: int, least: int) -> int:
        """How many of the first batches hold at most ``most`` views (``least`` batches in any case)."""
        count = 0
        for i, x in enumerate(self.batches):
            count += size(x)
            if count > most and i >= least:
                return i
        return len(self.batches)


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x
