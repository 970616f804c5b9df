"""A map an example: segmentation [N, classes, H, W] pixel by pixel, restored images [N, C, H, W] in
decibels, depth [N, 1, H, W] by its error; and steps of a sequence [N, T, classes] one by one.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .. import units
from ..records.signature import Port, Signature
from .task import Measure, Task
from .vectors import RELATIVE, sums


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
    a, b = picked(outputs).flatten().long(), picked(others).flatten().long()
    classes = 256 if not outputs.is_floating_point() else max(2, outputs.shape[1])
    both = torch.bincount(a[a == b], minlength=classes)
    either = torch.bincount(a, minlength=classes) + torch.bincount(b, minlength=classes) - both
    return torch.stack([both, either]).double()


def mean_iou(found: Tensor) -> float | None:
    """Over the classes that occur in either."""
    there = found[1] > 0
    return float((found[0][there] / found[1][there]).mean()) if bool(there.any()) else None


def decibels(outputs: Tensor, others: Tensor) -> Tensor:
    """The sum of PSNR over N images, and N; the peak is the range of all these outputs."""
    a, b = outputs.flatten(1).double(), others.flatten(1).double()
    peak = (a.max() - a.min()).clamp_min(1e-30)
    error = (a - b).square().mean(1).clamp_min(1e-10 * float(peak) ** 2)  # 100 dB at most
    return sums((10 * torch.log10(peak**2 / error)).sum(), len(a))


def mean(parts: Tensor) -> float | None:
    value = float(parts[0] / parts[1]) if parts[1] > 0 else math.nan
    return value if math.isfinite(value) else None


MIOU = Measure(
    "miou",
    "mIoU with the dense network's",
    overlaps,
    mean_iou,
    units.percent,
    "overlaps by {} (mIoU)",
)
PSNR = Measure(
    "psnr", "PSNR to the dense network's", decibels, mean, lambda v: f"{v:.1f} dB",
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


SEGMENTATION = Task(
    "segmentation", "segmentation", seen=is_segmentation, axes=2, same=same_pixels,
    chooses="class of a pixel", more=(MIOU,),
)  # fmt: skip
RESTORATION = Task("restoration", "restored image", seen=is_restored, more=(PSNR, RELATIVE))
DEPTH = Task("depth", "depth", seen=is_depth, more=(RELATIVE,))
SEQUENCE = Task(
    "sequence", "sequence", seen=is_sequence, same=same_steps, chooses="class of a step"
)
