"""Detections: decoded boxes before their suppression, [N, 4 + classes, A] (YOLOv8 and later) or
[N, A, 5 + classes] (YOLOv5, with an objectness), centre and size in pixels.

Both networks' boxes are suppressed alike; the dense network's are the truth that the others are
matched with, greedily by confidence, at an IoU of 0.5 and the same class.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from .. import units
from ..records.signature import Port, Signature
from .task import Measure, Task, ratio
from .vectors import RELATIVE, sums

CONFIDENT, OVERLAP, MOST = 0.25, 0.5, 100  # of a score, of IoU, boxes an image: YOLO's usual ones
Detections = dict[str, Tensor]  # boxes [n, 4] as corners, scores [n], labels [n]


def detections(outputs: Tensor) -> list[Detections]:
    """The boxes of each image that are left after suppression, most confident first."""
    if outputs.shape[1] < outputs.shape[2]:  # [N, 4 + classes, A]
        boxes, scores = outputs[:, :4].transpose(1, 2), outputs[:, 4:].transpose(1, 2)
    else:
        boxes, scores = outputs[..., :4], outputs[..., 4:5] * outputs[..., 5:]
    return [_suppressed(b.double(), s.double()) for b, s in zip(boxes, scores, strict=True)]


def _suppressed(boxes: Tensor, scores: Tensor) -> Detections:
    from torchvision.ops import batched_nms

    best, labels = scores.max(1)
    at = (best > CONFIDENT).nonzero()[:, 0]
    half = boxes[at, 2:].abs() / 2
    corners = torch.cat([boxes[at, :2] - half, boxes[at, :2] + half], 1)
    kept = batched_nms(corners.float(), best[at].float(), labels[at], OVERLAP)[:MOST]
    return {"boxes": corners[kept], "scores": best[at][kept], "labels": labels[at][kept]}


def matched(truth: Detections, found: Detections) -> int:
    """How many of ``found`` are boxes of ``truth``, each of them once."""
    from torchvision.ops import box_iou

    iou = box_iou(found["boxes"], truth["boxes"])
    iou = iou * (found["labels"][:, None] == truth["labels"])
    count = 0
    for row in range(len(iou)):
        if len(truth["labels"]) and float(iou[row].max()) >= OVERLAP:
            iou[:, int(iou[row].argmax())] = 0
            count += 1
    return count


def twice_matched(outputs: Tensor, others: Tensor) -> Tensor:
    """Twice the matched boxes, and all boxes of both networks: their ratio is the F1."""
    pairs = list(zip(detections(outputs), detections(others), strict=True))
    both = sum(matched(a, b) for a, b in pairs)
    return sums(2 * both, sum(len(a["labels"]) + len(b["labels"]) for a, b in pairs))


def listed(outputs: Tensor, others: Tensor) -> list[tuple[Detections, Detections]]:
    return list(zip(detections(outputs), detections(others), strict=True))


def mean_ap(pairs: list[tuple[Detections, Detections]]) -> float | None:
    """COCO's mAP with the dense network's boxes as the truth; None without torchmetrics or boxes."""
    try:
        from torchmetrics.detection import MeanAveragePrecision
    except ImportError:
        return None
    metric: Any = MeanAveragePrecision()
    for truth, found in pairs:
        metric.update([_single(found)], [_single(truth)])
    value = float(metric.compute()["map"])
    return value if math.isfinite(value) and value >= 0 else None


def _single(found: Detections) -> Detections:
    return {k: v.float() if v.is_floating_point() else v for k, v in found.items()}


def is_decoded(port: Port, whole: Signature) -> bool:
    """As many boxes as the maps beside it have places (each with a few anchors)."""
    if not port.floats or len(port.shape) != 2 or port.batch != 0 or min(port.shape) < 5:
        return False
    maps = [p.shape for p in whole.outputs if p is not port and len(p.shape) >= 3 and p.floats]
    last = {s[-1] for s in maps if len(s) == 4}  # [N, anchors, H, W, 5 + classes]
    places = sum(math.prod(s[:-1] if last == {min(port.shape)} else s[1:]) for s in maps)
    return bool(maps) and max(port.shape) == places


MATCHED = Measure(
    "matched", "Boxes matched with the dense network's (F1)", twice_matched, ratio, units.percent,
    "finds the dense network's boxes at an F1 of {}",
)  # fmt: skip
MAP = Measure(
    "map", "mAP against the dense network's boxes", listed, mean_ap, units.percent,
    "reaches a mAP of {} against them",
)  # fmt: skip
BOXES = Task("boxes", "boxes", seen=is_decoded, axes=2, more=(MATCHED, MAP, RELATIVE))
