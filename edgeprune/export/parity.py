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

TOLERANCE = 1e-4  # of the largest logit: some hundred times what rounding of float32 sums leaves
BATCHES = (1, 4)


@dataclass(frozen=True)
class Parity:
    """``difference``: the largest of any logit, relative to the largest logit of its batch.

    Of ``images`` test images ``differing`` got another class; all of them were ``ties``, images whose
    two best logits lie closer together than the tolerance (else there would be no file).
    """

    difference: float
    images: int
    ties: int
    torch_correct: int
    onnx_correct: int

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
def check(
    model: nn.Module, path: Path, samples: Tensor, batches: Iterable[tuple[Tensor, Tensor]] = ()
) -> Parity:
    """Compare ``model`` (in eval mode) with the file ``path``; :class:`EdgepruneError` beyond tolerance.

    ``samples`` [at least 4, 3, S, S] are compared at batch 1 and 4, then every batch of (images, labels).
    """
    try:
        running = session(path)
    except Exception as e:  # onnxruntime's classes are not public
        raise EdgepruneError("onnxruntime refuses the exported file", str(e)[:300]) from e
    worst = 0.0
    for size in BATCHES:
        for start in range(0, len(samples) - size + 1, size):
            _, _, gap = _both(model, running, samples[start : start + size])
            worst = max(worst, gap)
    images = ties = torch_correct = onnx_correct = 0
    for x, y in batches:
        ours, theirs, gap = _both(model, running, x)
        worst = max(worst, gap)
        ties += _ties(ours, theirs)
        images += len(y)
        torch_correct += int((ours.argmax(1) == y.numpy()).sum())
        onnx_correct += int((theirs.argmax(1) == y.numpy()).sum())
    return Parity(worst, images, ties, torch_correct, onnx_correct)


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


def _ties(ours: np.ndarray, theirs: np.ndarray) -> int:
    """How many images got another class. Each must be a tie: to within twice the tolerance torch gives
    onnxruntime's choice the same logit as its own."""
    mine, other = ours.argmax(1), theirs.argmax(1)
    rows = np.flatnonzero(mine != other)
    margin = ours[rows, mine[rows]] - ours[rows, other[rows]]
    if (margin > 2 * TOLERANCE * np.abs(ours).max()).any():
        raise EdgepruneError(
            "parity: torch and onnxruntime choose different classes", "", "no file"
        )
    return len(rows)
