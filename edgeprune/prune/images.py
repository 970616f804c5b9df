"""Unlabelled images for calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..errors import EdgepruneError


@dataclass
class Images:
    """Unlabelled images, normalised: batches [N, 3, H, W]. All views of one image in one fold."""

    batches: Sequence[Tensor]
    folds: Sequence[int] = field(default_factory=list)  # 0 or 1 for each batch; default: by turns

    def __post_init__(self) -> None:
        if not self.batches:
            raise EdgepruneError("calibration", "no images", "give a few hundred")
        if not self.folds:
            self.folds = [i % 2 for i in range(len(self.batches))]
        for x in self.batches:
            if not torch.isfinite(x).all():
                raise EdgepruneError("calibration images", "NaN or infinite values")

    def __len__(self) -> int:
        return sum(len(x) for x in self.batches)
