"""What a training minimises: pure functions of logits [N, classes] and labels int64 [N]."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def cross_entropy(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """Mean over N of ``-sum_k q_k log softmax(logits)_k``, ``q = (1-e) onehot + e / classes``."""
    return F.cross_entropy(logits, labels, label_smoothing=smoothing)


def distillation(
    logits: Tensor,
    teacher: Tensor,
    labels: Tensor,
    *,
    share: float,
    temperature: float,
    smoothing: float = 0.0,
) -> Tensor:
    """``(1-a) CE + a T^2 KL(softmax(teacher/T) || softmax(logits/T))``, mean over N.

    Hinton, Vinyals, Dean 2015, section 2: T^2 keeps the gradients' scale when T changes.
    """
    T = temperature
    kl = F.kl_div(
        F.log_softmax(logits / T, dim=1),
        F.log_softmax(teacher / T, dim=1),
        reduction="batchmean",
        log_target=True,
    )
    return (1 - share) * cross_entropy(logits, labels, smoothing) + share * T**2 * kl
