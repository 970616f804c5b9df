"""A map an example: segmentation [N, classes, H, W] pixel by pixel, restored images [N, C, H, W] in
decibels, depth [N, 1, H, W] by its error; and steps of a sequence [N, T, classes] one by one.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .. import units
from ..records.network import UNLABELLED
from ..records.signature import Port, Signature
from .task import Measure, Targets, Task, shaped, unfit
from .vectors import ABSOLUTE, R2, RELATIVE


def picked(outputs: Tensor) -> Tensor:
    """The class of each pixel [N, *space]: the largest of [N, classes, *space], on or off of one."""
    if not outputs.is_floating_point():
        return outputs
    if outputs.shape[1] > 1:
        return outputs.argmax(1)
    shares = bool((outputs >= 0).all() and (outputs <= 1).all())
    return (outputs[:, 0] > (0.5 if shares else 0.0)).long()


def same_pixels(outputs: Tensor, others: Tensor) -> Tensor:
    return picked(outputs) == picked(others)


def overlaps(outputs: Tensor, others: Tensor) -> Tensor:
    """[2, classes]: pixels that both give to a class, and that either does."""
    classes = 256 if not outputs.is_floating_point() else max(2, outputs.shape[1])
    return _overlaps(picked(outputs).flatten(), picked(others).flatten(), classes)


def _overlaps(a: Tensor, b: Tensor, classes: int) -> Tensor:
    """Of class numbers [n]."""
    a, b = a.long(), b.long()
    both = torch.bincount(a[a == b], minlength=classes)
    either = torch.bincount(a, minlength=classes) + torch.bincount(b, minlength=classes) - both
    return torch.stack([both, either]).double()


def mean_iou(found: Tensor) -> float | None:
    """Over the classes that occur in either."""
    there = found[1] > 0
    return float((found[0][there] / found[1][there]).mean()) if bool(there.any()) else None


Error = tuple[float, float, float]  # of an image: mean squared error, least and largest value


def errors(outputs: Tensor, others: Tensor) -> list[Error]:
    """Of each image, and the range of ``outputs``."""
    a, b = outputs.flatten(1).double(), others.flatten(1).double()
    found = torch.stack([(a - b).square().mean(1), a.amin(1), a.amax(1)], 1)
    return [(mse, low, high) for mse, low, high in found.tolist()]


def decibels(images: list[Error]) -> float | None:
    """The mean PSNR, 100 dB at most; the peak is the range of all images."""
    if not images:
        return None
    peak = max(high for _, _, high in images) - min(low for _, low, _ in images)
    least = 1e-10 * max(peak, 1e-30) ** 2
    found = sum(10 * math.log10(peak**2 / max(mse, least)) for mse, _, _ in images if peak > 0)
    return found / len(images) if peak > 0 else None


MIOU = Measure(
    "miou",
    "mIoU with the dense network's",
    overlaps,
    mean_iou,
    units.percent,
    "overlaps by {} (mIoU)",
)
PSNR = Measure(
    "psnr", "PSNR to the dense network's", errors, decibels, lambda v: f"{v:.1f} dB",
    "is at {} (PSNR) to the dense network's",
)  # fmt: skip


def _space(port: Port) -> tuple[int, ...]:
    return port.shape[1:]


def _images(whole: Signature) -> list[Port]:
    return [p for p in whole.inputs.ports if len(p.shape) >= 3]


def is_segmentation(port: Port, whole: Signature) -> bool:
    """A class for each pixel of an input: the chosen one as integers, or scores of several."""
    for image in _images(whole):
        space = _space(image)
        if not port.floats and port.shape in (space, (1, *space)):
            return True
        if port.floats and _space(port) == space and 1 < port.shape[0] != image.shape[0]:
            return True
    return False


def is_restored(port: Port, whole: Signature) -> bool:
    """An input's channels at its size, or at a multiple of it."""
    for image in _images(whole):
        if not port.floats or len(port.shape) != len(image.shape):
            continue
        times = {b / a for a, b in zip(_space(image), _space(port), strict=True)}
        if port.shape[0] == image.shape[0] and len(times) == 1 and times.pop() in range(1, 9):
            return True
    return False


def is_depth(port: Port, whole: Signature) -> bool:
    """One value for each pixel of an input."""
    return port.floats and any(port.shape == (1, *_space(p)) for p in _images(whole))


def same_steps(outputs: Tensor, others: Tensor) -> Tensor:
    return outputs.argmax(-1) == others.argmax(-1)


def is_sequence(port: Port, whole: Signature) -> bool:
    """[T, N, classes], as recurrent networks give it."""
    return port.floats and port.batch == 1 and len(port.shape) == 2


# -- by labels -------------------------------------------------------------------------------------


def pixel_entropy(outputs: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
    """The mean cross entropy of the pixels [N, *space] of which a class is said; of one channel binary."""
    if outputs.shape[1] == 1:
        said = targets != UNLABELLED
        q = (1 - smoothing) * targets.float() + smoothing / 2
        return F.binary_cross_entropy_with_logits(outputs[:, 0].float()[said], q[said])
    return F.cross_entropy(
        outputs.float(), targets, ignore_index=UNLABELLED, label_smoothing=smoothing
    )


def taught_pixels(outputs: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """As `classification.taught`, mean over all pixels; of one channel binary."""
    T, outputs, teacher = temperature, outputs.float(), teacher.float()
    if outputs.shape[1] == 1:
        return F.binary_cross_entropy_with_logits(outputs / T, (teacher / T).sigmoid()) * T**2
    p, q = (F.log_softmax(t / T, dim=1) for t in (teacher, outputs))
    return T**2 * (p.exp() * (p - q)).sum(1).mean()


def overlaps_with_labels(outputs: Tensor, targets: Tensor) -> Tensor:
    """As `overlaps`, of the pixels of which a class is said."""
    said = targets != UNLABELLED
    return _overlaps(picked(outputs)[said], targets[said], max(2, outputs.shape[1]))


LABELLED_MIOU = Measure(
    "miou", "mIoU", overlaps_with_labels, mean_iou, units.percent, "overlaps by {} (mIoU)"
)


def errors_of_labels(outputs: Tensor, targets: Tensor) -> list[Error]:
    """As `errors`; the peak is the range of the labels."""
    return errors(targets, outputs)


LABELLED_PSNR = Measure(
    "psnr", "PSNR", errors_of_labels, decibels, lambda v: f"{v:.1f} dB", "is at {} (PSNR)"
)


def fitted_masks(port: Port, labels: Targets) -> Targets:
    """A class number for each pixel, [n, H, W]; 255 where none is said."""
    labels = labels[:, 0] if labels.ndim == len(port.shape) + 1 and labels.shape[1] == 1 else labels
    classes = max(2, port.shape[0]) if port.floats else 0
    there = labels[labels != UNLABELLED]
    integers = labels.dtype.kind in "iub" and labels.shape[1:] == port.shape[1:] and classes
    if not integers or not there.size or there.min() < 0 or there.max() >= classes:
        wanted = f"[n, {', '.join(map(str, port.shape[1:]))}] class numbers below {classes}"
        raise unfit("segmentation", labels, f"{wanted}, or {UNLABELLED} where none is said")
    return labels.astype(np.int64)


def absolute_loss(outputs: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
    """The mean absolute error."""
    return F.l1_loss(outputs, targets.to(outputs.dtype))


def taught_absolute(outputs: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    return F.l1_loss(outputs, teacher)


def fitted_image(port: Port, labels: Targets) -> Targets:
    return shaped(port, labels, "restored images")


def fitted_depth(port: Port, labels: Targets) -> Targets:
    return shaped(port, labels, "depth")


SEGMENTATION = Task(
    "segmentation", "segmentation", seen=is_segmentation, axes=2, same=same_pixels,
    chooses="class of a pixel", more=(MIOU,), loss=pixel_entropy, taught=taught_pixels,
    judged=LABELLED_MIOU, fitted=fitted_masks,
)  # fmt: skip
RESTORATION = Task(
    "restoration", "restored image", seen=is_restored, more=(PSNR, RELATIVE), loss=absolute_loss,
    taught=taught_absolute, judged=R2, told=(LABELLED_PSNR,), fitted=fitted_image,
)  # fmt: skip
DEPTH = Task(
    "depth", "depth", seen=is_depth, more=(ABSOLUTE, RELATIVE), loss=absolute_loss,
    taught=taught_absolute, judged=R2, told=(ABSOLUTE, RELATIVE), fitted=fitted_depth,
)  # fmt: skip
SEQUENCE = Task(
    "sequence", "sequence", seen=is_sequence, same=same_steps, chooses="class of a step"
)
