"""One class an image: outputs are logits [N, classes], targets int64 [N]."""

from __future__ import annotations

import math

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from ..records.signature import Port, Signature
from .task import Chance, Targets, Task, entropy, unfit


def cross_entropy(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """Mean over N of ``-sum_k q_k log softmax(logits)_k``, ``q = (1-e) onehot + e / classes``."""
    return F.cross_entropy(logits, labels, label_smoothing=smoothing)


def taught(logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """``T^2 KL(softmax(teacher/T) || softmax(logits/T))``, mean over N.

    Hinton, Vinyals, Dean 2015, section 2: T^2 keeps the gradients' scale when T changes.
    """
    T = temperature
    kl = F.kl_div(
        F.log_softmax(logits / T, dim=1),
        F.log_softmax(teacher / T, dim=1),
        reduction="batchmean",
        log_target=True,
    )
    return T**2 * kl


def right(logits: Tensor, labels: Tensor) -> Tensor:
    return logits.argmax(1) == labels


def answers(logits: Tensor) -> Tensor | None:
    """The class of each image; None of a single output, which chooses nothing: it is compared by error."""
    if not logits.is_floating_point():
        return logits if logits.ndim == 1 else None
    return logits.argmax(1) if logits.ndim == 2 and logits.shape[1] > 1 else None


def same(logits: Tensor, others: Tensor) -> Tensor | None:
    mine, other = answers(logits), answers(others)
    return None if mine is None or other is None else mine == other


def seen(port: Port, whole: Signature) -> bool:
    """[N, classes], the only output, or probabilities beside others; or the chosen class itself."""
    if not port.floats:
        return port.shape == ()
    vector = len(port.shape) == 1 and port.shape[0] > 1
    alone = len(whole.outputs) == 1 and not port.form
    return vector and (alone or port.form == "probabilities")


def loss_at_chance(labels: Targets, classes: int, smoothing: float = 0.0) -> float:
    """The least cross entropy that one answer for all images can reach: ln(classes) if balanced.

    It is the entropy of the mean target; ``smoothing`` spreads its share over all classes.
    """
    prior = np.bincount(labels, minlength=classes) / max(1, len(labels))
    return entropy((1 - smoothing) * prior + smoothing / classes)


def accuracy_at_chance(labels: Targets) -> float:
    """The share of the largest class, and three standard errors of it above."""
    p = float(np.bincount(labels).max() / len(labels))
    return p + 3 * math.sqrt(p * (1 - p) / len(labels))


def chance(training: Targets, validation: Targets, classes: int, smoothing: float) -> Chance:
    return Chance(loss_at_chance(training, classes, smoothing), accuracy_at_chance(validation))


def fitted(port: Port, labels: Targets) -> Targets:
    """Class numbers [n] of the network's classes."""
    labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    classes = port.shape[0] if port.floats and port.shape else 0
    right = labels.ndim == 1 and labels.dtype.kind in "iu" and len(labels)
    if not right or labels.min() < 0 or labels.max() >= classes:
        raise unfit("classification", labels, f"class numbers [n] below {classes}")
    return labels.astype(np.int64)


CLASSIFICATION = Task(
    name="classification",
    title="top-1",
    seen=seen,
    chooses="answer",
    score="top1",
    loss=cross_entropy,
    taught=taught,
    right=right,
    fitted=fitted,
    same=same,
    answers=answers,
    chance=chance,
    counted=True,
)
