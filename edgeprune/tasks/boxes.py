"""Detections: decoded boxes before their suppression, [N, 4 + classes, A] (YOLOv8 and later) or
[N, A, 5 + classes] (YOLOv5, with an objectness), centre and size in pixels.

Both networks' boxes are suppressed alike; the dense network's are the truth that the others are
matched with, greedily by confidence, at an IoU of 0.5 and the same class.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import extras, units
from ..records.signature import Port, Signature
from .task import Measure, Targets, Task, ratio, unfit
from .vectors import RELATIVE, sums

CONFIDENT, OVERLAP, MOST = 0.25, 0.5, 100  # of a score, of IoU, boxes an image: YOLO's usual ones
STEPS = tuple(0.5 + 0.05 * i for i in range(10))  # COCO's IoUs
CANDIDATES = 30_000  # boxes that are suppressed at the most
Detections = dict[
    str, Tensor
]  # boxes [n, 4] as corners, scores [n], labels [n]; of true ones aside [n]
Pair = tuple[Detections, Detections]  # the truth and what is found, of one image


def detections(outputs: Tensor) -> list[Detections]:
    """The boxes of each image that are left after suppression, most confident first."""
    return [_suppressed(b, s) for b, s in zip(*_parted(outputs), strict=True)]


def _parted(outputs: Tensor) -> tuple[Tensor, Tensor]:
    """Boxes [N, A, 4] and scores [N, A, classes]."""
    outputs = outputs.double()
    if outputs.shape[1] < outputs.shape[2]:  # [N, 4 + classes, A]
        return outputs[:, :4].transpose(1, 2), outputs[:, 4:].transpose(1, 2)
    return outputs[..., :4], outputs[..., 4:5] * outputs[..., 5:]


def _suppressed(
    boxes: Tensor, scores: Tensor, confident: float = CONFIDENT, overlap: float = OVERLAP,
    several: bool = False,
) -> Detections:  # fmt: skip
    """Of one image; ``several``: a box may be of several classes, else of its best alone."""
    with extras.needed("boxes", "boxes of two networks"):
        from torchvision.ops import batched_nms

    if several:
        at, labels = (scores > confident).nonzero(as_tuple=True)
        best = scores[at, labels]
    else:
        best, labels = scores.max(1)
        at = (best > confident).nonzero()[:, 0]
        best, labels = best[at], labels[at]
    first = best.argsort(descending=True, stable=True)[:CANDIDATES]
    at, best, labels = at[first], best[first], labels[first]
    corners = _corners(boxes[at])
    kept = batched_nms(corners.float(), best.float(), labels, overlap)[:MOST]
    return {"boxes": corners[kept], "scores": best[kept], "labels": labels[kept]}


def _corners(boxes: Tensor) -> Tensor:
    """Centre and size [n, 4] as two corners."""
    half = boxes[:, 2:].abs() / 2
    return torch.cat([boxes[:, :2] - half, boxes[:, :2] + half], 1)


def matched(truth: Detections, found: Detections) -> int:
    """How many of ``found`` are boxes of ``truth``, each of them once."""
    with extras.needed("boxes", "boxes of two networks"):
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


def listed(outputs: Tensor, others: Tensor) -> list[Pair]:
    return list(zip(detections(outputs), detections(others), strict=True))


def mean_ap(pairs: Sequence[Pair]) -> float | None:
    """COCO's mAP with the dense network's boxes as the truth; None without pycocotools or boxes."""
    try:
        return coco_ap(pairs)
    except ModuleNotFoundError:
        return None


def coco_ap(pairs: Sequence[Pair], overlaps: Sequence[float] = STEPS) -> float | None:
    """Average precision over classes and IoUs, as COCO defines it (101 recalls, 100 boxes an image).

    None where no box is true. Raises ModuleNotFoundError without pycocotools.
    """
    from pycocotools.cocoeval import COCOeval

    with redirect_stdout(io.StringIO()):  # it prints what it does
        judge = COCOeval(_coco([t for t, _ in pairs]), _coco([f for _, f in pairs]), "bbox")
        judge.params.iouThrs = np.array(overlaps)
        judge.params.areaRng, judge.params.areaRngLbl = [[0, 1e10]], ["all"]
        judge.params.maxDets = [MOST]
        judge.evaluate()
        judge.accumulate()
    found = judge.eval[
        "precision"
    ]  # [IoUs, recalls, classes, 1, 1]; -1: a class without a true box
    return float(found[found > -1].mean()) if (found > -1).any() else None


def _coco(images: Sequence[Detections]) -> Any:
    """Boxes of all images as pycocotools keeps them."""
    from pycocotools.coco import COCO

    rows: list[dict[str, Any]] = []
    for number, image in enumerate(images):
        boxes = torch.cat([image["boxes"][:, :2], image["boxes"][:, 2:] - image["boxes"][:, :2]], 1)
        aside = image.get("aside", torch.zeros(len(boxes)))
        scores = image.get("scores", torch.ones(len(boxes)))
        for box, label, crowd, score in zip(
            boxes.tolist(), image["labels"].tolist(), aside.tolist(), scores.tolist(), strict=True
        ):
            rows.append({
                "id": len(rows) + 1, "image_id": number, "category_id": int(label), "bbox": box,
                "area": box[2] * box[3], "iscrowd": int(crowd), "score": score,
            })  # fmt: skip
    found = COCO()
    labels = sorted({row["category_id"] for row in rows})
    found.dataset = {
        "images": [{"id": number} for number in range(len(images))],
        "categories": [{"id": label} for label in labels],
        "annotations": rows,
    }
    found.createIndex()
    return found


# -- by labels -------------------------------------------------------------------------------------


def against_labels(outputs: Tensor, targets: Tensor) -> list[Pair]:
    """Each image's true boxes and those that are found; ``targets`` [N, most, 6] as `fitted_boxes` gives
    them. Found is what COCO's own test takes: every class of a box, down to a score of 0.001.
    """
    found = [
        _suppressed(b, s, 0.001, 0.7, several=True) for b, s in zip(*_parted(outputs), strict=True)
    ]
    return list(zip(map(_true, targets), found, strict=True))


def _true(rows: Tensor) -> Detections:
    rows = rows[rows[:, 0] >= 0].double()
    return {"boxes": _corners(rows[:, 1:5]), "labels": rows[:, 0].long(), "aside": rows[:, 5]}


def ap_at_half(pairs: Sequence[Pair]) -> float | None:
    return coco_ap(pairs, (0.5,))


def fitted_boxes(port: Port, labels: Targets) -> Targets:
    """[n, most, 6]: class, centre x, centre y, width, height in pixels of what the network takes, and 1
    where a box counts neither for nor against (COCO's crowds; may be left out). Class -1 fills up.
    """
    extras.check("boxes", "mAP of boxes")
    places, numbers = max(port.shape), min(port.shape)
    classes = numbers - (4 if port.shape[0] < port.shape[1] else 5)
    right = (
        labels.ndim == 3 and labels.shape[2] in (5, 6) and labels.dtype.kind in "fiub" and places
    )
    known = labels[labels[..., 0] >= 0] if right else labels[:0]
    whole = right and len(known) and bool(np.isfinite(known).all())
    if not whole or known[:, 0].max() >= classes or (known[:, 3:5] <= 0).any():
        raise unfit(
            "boxes",
            labels,
            f"[n, most, 5]: class below {classes} (-1 fills up), x, y, width, height",
        )
    aside = np.zeros((*labels.shape[:2], 6 - labels.shape[2]))
    return np.concatenate([labels, aside], 2).astype(np.float32)


def is_decoded(port: Port, whole: Signature) -> bool:
    """As many boxes as the maps beside it have places (each with a few anchors)."""
    if not port.floats or len(port.shape) != 2 or port.batch != 0 or min(port.shape) < 5:
        return False
    maps = [p.shape for p in whole.outputs if p is not port and len(p.shape) >= 3 and p.floats]
    last = {s[-1] for s in maps if len(s) == 4}  # [N, anchors, H, W, 5 + classes]
    places = sum(math.prod(s[:-1] if last == {min(port.shape)} else s[1:]) for s in maps)
    return bool(maps) and max(port.shape) == places


MATCHED = Measure(
    "matched", "Boxes as the dense network's (F1)", twice_matched, ratio, units.percent,
    "finds the dense network's boxes at an F1 of {}",
)  # fmt: skip
MAP = Measure(
    "map", "mAP to the dense network's boxes", listed, mean_ap, units.percent,
    "reaches a mAP of {} against them",
)  # fmt: skip
LABELLED_MAP = Measure("map", "mAP", against_labels, coco_ap, units.percent, "reaches a mAP of {}")
LABELLED_MAP50 = Measure(
    "map50", "mAP50", against_labels, ap_at_half, units.percent, "reaches a mAP50 of {}"
)
BOXES = Task(
    "boxes", "boxes", seen=is_decoded, axes=2, more=(MATCHED, MAP, RELATIVE), judged=LABELLED_MAP,
    told=(LABELLED_MAP50,), fitted=fitted_boxes, extra="torchvision",
)  # fmt: skip
