"""Does the file give what the network gives? torch against onnxruntime, on real images."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import EdgepruneError
from ..tasks import CLASSIFICATION, Task

TOLERANCE = 1e-4  # of the largest logit: some hundred times what rounding of float32 sums leaves
BATCHES = (1, 4)


@dataclass(frozen=True)
class Real:
    """The images on which a file must give what the network gives."""

    samples: Tensor  # [at least 4, 3, S, S], normalised
    batches: Iterable[tuple[Tensor, Tensor]] = ()  # of images and labels: the test split
    task: Task = CLASSIFICATION  # says whether two answers are the same


@dataclass(frozen=True)
class Parity:
    """``difference``: the largest of any logit, relative to the largest logit of its batch.

    Of ``images`` test images ``ties`` got another answer; outputs that lie within the tolerance of each
    other choose differently only where two answers are as good (else there would be no file). The
    others are sums of the task's score. None where an answer is no choice.
    """

    difference: float
    images: int
    ties: int | None
    torch_correct: float | None
    onnx_correct: float | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def session(path: Path, threads: int = 0) -> Any:
    """An onnxruntime session on the CPU without telemetry; ``threads`` 0 = all cores."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before the first import, or its thread is there
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or _cores()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _cores() -> int:
    from .. import runs

    return runs.cores()


@torch.no_grad()
def prepare(model: nn.Module, samples: Tensor) -> None:
    """Refuse before any work what could not be compared afterwards."""
    if len(samples) < max(BATCHES):
        raise EdgepruneError("parity", f"needs {max(BATCHES)} images, got {len(samples)}")
    try:
        logits = model(samples[: max(BATCHES)])
    except RuntimeError as e:
        raise EdgepruneError(
            f"the network does not run on a batch of {max(BATCHES)}", str(e)[:300]
        ) from e
    if not logits.isfinite().all():
        raise EdgepruneError("the network's logits are not finite", "", "train it again")


@torch.no_grad()
def check(model: nn.Module, path: Path, real: Real) -> Parity:
    """Compare ``model`` (in eval mode) with the file ``path``; :class:`EdgepruneError` beyond tolerance.

    The samples are compared at batch 1 and 4, then every batch of (images, labels).
    """
    try:
        running = session(path)
    except Exception as e:  # onnxruntime's classes are not public
        raise EdgepruneError("onnxruntime refuses the exported file", str(e)[:300]) from e
    worst = 0.0
    for size in BATCHES:
        for start in range(0, len(real.samples) - size + 1, size):
            _, _, gap = _both(model, running, real.samples[start : start + size])
            worst = max(worst, gap)
    images = 0
    counts: list[float] = [0, 0, 0]  # other answers, torch's score, onnxruntime's
    choice = True
    for x, y in real.batches:
        outputs, others, gap = _both(model, running, x)
        worst, images = max(worst, gap), images + len(y)
        ours, theirs = torch.from_numpy(outputs), torch.from_numpy(others)
        same = real.task.same(ours, theirs)
        if same is None:
            choice = False
            continue
        found = (~same).sum(), real.task.right(ours, y).sum(), real.task.right(theirs, y).sum()
        counts = [n + more.item() for n, more in zip(counts, found, strict=True)]
    return Parity(worst, images, *(counts if choice else (None, None, None)))


def _both(model: nn.Module, running: Any, x: Tensor) -> tuple[np.ndarray, np.ndarray, float]:
    """Logits of torch and of onnxruntime [n, classes], and their relative difference."""
    ours = model(x).detach().numpy()
    try:
        theirs = running.run(None, {running.get_inputs()[0].name: x.contiguous().numpy()})[0]
    except Exception as e:
        raise EdgepruneError(
            f"onnxruntime fails on a batch of {len(x)}", " ".join(str(e).split())[:300]
        ) from e
    if ours.shape != theirs.shape:
        raise EdgepruneError("parity", f"torch gives {ours.shape}, onnxruntime {theirs.shape}")
    gap = float(np.abs(ours - theirs).max() / max(np.abs(ours).max(), 1e-30))
    if not gap <= TOLERANCE:  # nan too
        raise EdgepruneError(
            "parity: torch and onnxruntime differ",
            f"by {gap:.2g} of the largest logit at batch {len(x)}; {TOLERANCE:g} is allowed",
            "no file was written",
        )
    return ours, theirs, gap
