"""A vector an example: embeddings [N, D] by their angle, numbers [N] or [N, 1] by their error, labels
[N, L] that each hold or do not; and whatever has no task of its own, by its error.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import units
from ..records.signature import Port, Signature
from .task import Measure, Task, ratio


def sums(*values: Tensor | float) -> Tensor:
    return torch.tensor([float(v) for v in values], dtype=torch.float64)


def cosines(outputs: Tensor, others: Tensor) -> Tensor:
    """The sum of the cosines of N pairs of vectors, and N."""
    each = F.cosine_similarity(outputs.flatten(1).double(), others.flatten(1).double(), dim=1)
    return sums(each.sum(), len(each))


def absolute(outputs: Tensor, others: Tensor) -> Tensor:
    return sums((outputs.double() - others.double()).abs().sum(), outputs.numel())


def squares(outputs: Tensor, others: Tensor) -> Tensor:
    """``|outputs - others|^2`` and ``|outputs|^2``."""
    a, b = outputs.double(), others.double()
    return sums((a - b).square().sum(), a.square().sum())


def root(parts: Tensor) -> float | None:
    """The relative error ``|outputs - others| / |outputs|``."""
    found = ratio(parts)
    return None if found is None else found**0.5


def number(value: float) -> str:
    return f"{value:.3g}"


COSINE = Measure(
    "cosine", "Cosine with the dense network's", cosines, ratio, lambda v: f"{v:.4f}",
    "is at cosine {} to the dense network's",
)  # fmt: skip
ABSOLUTE = Measure(
    "mean_absolute_error", "Mean absolute error", absolute, ratio, number,
    "is off by {} on average",
)  # fmt: skip
RELATIVE = Measure(
    "relative_error", "Relative error", squares, root, units.percent, "has a relative error of {}"
)


def is_unit(port: Port, whole: Signature) -> bool:
    return port.form == "unit"


def is_number(port: Port, whole: Signature) -> bool:
    return port.floats and port.batch == 0 and port.shape in ((), (1,))


def is_shares(port: Port, whole: Signature) -> bool:
    return port.form == "shares" and len(port.shape) == 1


def alike(outputs: Tensor, others: Tensor) -> Tensor:
    """Whether each label holds in both: at 0 of logits, at 0.5 where all lie in 0..1."""
    if not outputs.is_floating_point():
        return outputs == others
    shares = bool((outputs >= 0).all() and (outputs <= 1).all())
    at = 0.5 if shares else 0.0
    return (outputs > at) == (others > at)


def anything(port: Port, whole: Signature) -> bool:
    return True


EMBEDDING = Task("embedding", "embedding", seen=is_unit, more=(COSINE,))
NUMBER = Task("number", "one number", seen=is_number, more=(ABSOLUTE, RELATIVE))
LABELS = Task("labels", "labels", seen=is_shares, same=alike, chooses="labels")
VALUES = Task("values", "values", seen=anything, more=(RELATIVE,))
