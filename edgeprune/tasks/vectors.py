"""A vector an example: embeddings [N, D] by their angle, numbers [N] or [N, 1] by their error, labels
[N, L] that each hold or do not; and whatever has no task of its own, by its error.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .. import units
from ..records.signature import Port, Signature
from .task import Measure, Targets, Task, ratio, shaped, unfit


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


def are_shares(outputs: Tensor) -> bool:
    """Whether they lie in 0..1, and are no logits."""
    return bool((outputs >= 0).all() and (outputs <= 1).all())


def alike(outputs: Tensor, others: Tensor) -> Tensor:
    """Whether each label holds in both: at 0 of logits, at 0.5 where all lie in 0..1."""
    if not outputs.is_floating_point():
        return outputs == others
    at = 0.5 if are_shares(outputs) else 0.0
    return (outputs > at) == (others > at)


def anything(port: Port, whole: Signature) -> bool:
    return True


# -- by labels -------------------------------------------------------------------------------------


def squared(outputs: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
    """The mean squared error."""
    return F.mse_loss(outputs, targets.to(outputs.dtype))


def taught_squared(outputs: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    return F.mse_loss(outputs, teacher)


def remains(outputs: Tensor, targets: Tensor) -> Tensor:
    """``|outputs - targets|^2``, ``|targets|^2``, the targets' sum, and how many they are."""
    a, b = outputs.double(), targets.double()
    n = torch.tensor(float(b.numel()), device=b.device).double()
    return torch.stack([(a - b).square().sum(), b.square().sum(), b.sum(), n])


def explained(parts: Tensor) -> float | None:
    """``1 - |outputs - targets|^2 / |targets - their mean|^2``, the R² of statistics; 0 at least.

    Of labels that are all the same nothing is explained: 0.
    """
    lost, squares, total, n = parts.tolist()
    variance = squares - total**2 / max(1.0, n)
    return max(0.0, 1 - lost / variance) if variance > 1e-12 * squares else 0.0


R2 = Measure(
    "r2", "R²", remains, explained, units.percent,
    "explains {} of the labels' variance",
)  # fmt: skip


def binary_cross_entropy(outputs: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
    """Mean over labels of ``-(q log p + (1-q) log(1-p))``, ``q = (1-e) target + e / 2``."""
    q = (1 - smoothing) * targets.float() + smoothing / 2
    outputs = outputs.float()
    if are_shares(outputs.detach()):
        return -(
            q * outputs.clamp_min(1e-7).log() + (1 - q) * (1 - outputs).clamp_min(1e-7).log()
        ).mean()
    return F.binary_cross_entropy_with_logits(outputs, q)


def taught_labels(outputs: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    teacher = teacher.float()
    return binary_cross_entropy(outputs, teacher if are_shares(teacher) else teacher.sigmoid())


def held(outputs: Tensor, targets: Tensor) -> Tensor:
    """How many labels are right, and how many there are."""
    at = 0.5 if are_shares(outputs) else 0.0
    right = (outputs > at) == (targets > 0.5)
    n = torch.tensor(float(right.numel()), device=outputs.device).double()
    return torch.stack([right.double().sum(), n])


RIGHT = Measure(
    "labels_right", "labels right", held, ratio, units.percent, "gets {} of the labels right"
)


def fitted_labels(port: Port, labels: Targets) -> Targets:
    """0 or 1 for each label that the network gives, [n, L]."""
    found = shaped(port, labels, "labels")
    if not np.isin(found, (0, 1)).all():
        raise unfit("labels", labels, "0 or 1 for each label")
    return found


def fitted_number(port: Port, labels: Targets) -> Targets:
    return shaped(port, labels, "one number")


def fitted_values(port: Port, labels: Targets) -> Targets:
    return shaped(port, labels, "values")


EMBEDDING = Task("embedding", "embedding", seen=is_unit, more=(COSINE,))
NUMBER = Task(
    "number", "one number", seen=is_number, more=(ABSOLUTE, RELATIVE),
    loss=squared, taught=taught_squared, judged=R2, told=(ABSOLUTE,),
    fitted=fitted_number,
)  # fmt: skip
LABELS = Task(
    "labels", "labels", seen=is_shares, same=alike, chooses="labels", loss=binary_cross_entropy,
    taught=taught_labels, judged=RIGHT, fitted=fitted_labels,
)  # fmt: skip
VALUES = Task(
    "values", "values", seen=anything, more=(RELATIVE,),
    loss=squared, taught=taught_squared, judged=R2, told=(RELATIVE,),
    fitted=fitted_values,
)  # fmt: skip
