"""The units with the highest scores."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import EdgepruneError


def largest(scores: Tensor, width: int) -> list[int]:
    """Indices of the ``width`` highest of ``scores`` (C,), rising; of equals the first stays.

    Raises :class:`EdgepruneError` for scores that are not numbers.
    """
    if not bool(scores.isfinite().all()):
        raise EdgepruneError(
            "scores that are not finite",
            "the weights hold NaN or infinity",
            "train the network again",
        )
    order = torch.argsort(scores, descending=True, stable=True)
    return sorted(order[:width].tolist())
