"""Is this network learning, or does it give one answer to every image?

VGG16 without batch norm, from random weights at Adam 1e-3, can stay there for good: its loss rests
at ln(classes) and its accuracy at the share of the largest class.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .watch import EpochRecord

Labels = NDArray[np.int64]

WINDOW = 200  # batches whose mean loss is judged inside an epoch (assumption)
NEAR = 0.99  # of the loss at chance counts as chance (assumption)

REMEDY = (
    "use --recipe default (warm-up, limited gradient), a lower --lr, "
    "or pre-trained weights (--init imagenet)"
)


def loss_at_chance(labels: Labels, classes: int, smoothing: float = 0.0) -> float:
    """The least cross entropy that one answer for all images can reach: ln(classes) if balanced.

    It is the entropy of the mean target; ``smoothing`` spreads its share over all classes.
    """
    prior = np.bincount(labels, minlength=classes) / max(1, len(labels))
    q = (1 - smoothing) * prior + smoothing / classes
    q = q[q > 0]
    return float(-(q * np.log(q)).sum())


def accuracy_at_chance(labels: Labels) -> float:
    """The share of the largest class, and three standard errors of it above."""
    p = float(np.bincount(labels).max() / len(labels))
    return p + 3 * math.sqrt(p * (1 - p) / len(labels))


def stuck(record: EpochRecord, loss: float, accuracy: float) -> bool:
    """Whether an epoch ended at chance: neither its loss nor its accuracy is better than that."""
    return record.train_loss >= NEAR * loss and record.validation_accuracy <= accuracy
