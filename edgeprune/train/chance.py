"""Is this network learning, or does it give one answer to every image?

VGG16 without batch norm, from random weights at Adam 1e-3, can stay there for good: its loss rests
at ln(classes) and its accuracy at the share of the largest class.
"""

from __future__ import annotations

from ..records import Epoch
from ..tasks.task import Chance

WINDOW = 200  # batches whose mean loss is judged inside an epoch (assumption)
NEAR = 0.99  # of the loss at chance counts as chance (assumption)

REMEDY = (
    "use --recipe default (warm-up, limited gradient), a lower --lr, "
    "or pre-trained weights (--init imagenet)"
)


def stuck(record: Epoch, at: Chance) -> bool:
    """Whether an epoch ended at chance: neither its loss nor its accuracy is better than that."""
    return record.train_loss >= NEAR * at.loss and record.validation_accuracy <= at.score


def resting(loss: float, at: Chance) -> bool:
    """Whether the mean loss of some batches is that of one answer for all images."""
    return NEAR <= loss / at.loss <= 2 - NEAR
