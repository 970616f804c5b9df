"""Does the file give what the network gives? torch against onnxruntime, on real images."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import EdgepruneError
from ..graph.inputs import Example, call, flat, mapped, named, size
from ..records import Output, Port
from ..tasks import CLASSIFICATION, Comparison, Task
from . import axes

TOLERANCE = (
    1e-4  # of an output's largest value: some hundred times what rounding of float32 sums leaves
)
ROUNDINGS = (
    2  # beyond that: how much further from float64 than torch's float32 ever is the file may be,
)
WORST = 1e-2  # and never further than this
CHANGED = 1e-3  # share of an output's integers that rounding may change: an argmax between equals
BATCHES = (1, 4)
Session = Any  # of onnxruntime, whose classes are not public
Batch = tuple[
    Example, Tensor | None
]  # what the network is called with, and labels where there are any


@dataclass(frozen=True)
class Real:
    """The examples on which a file must give what the network gives."""

    samples: Example  # at least 4
    batches: Iterable[Batch] = ()  # the test split, or what was held out
    task: Task = CLASSIFICATION  # of the first output: says whether two answers are the same
    dense: nn.Module | None = None  # whose outputs the file's are compared with, by ``rows``
    rows: Sequence[tuple[Port, Task]] = ()


@dataclass(frozen=True)
class Parity:
    """``difference``: the largest of any output's values, relative to the largest value of its batch.
    ``rounding``: how far float32 itself carried torch from float64, where a difference was beyond
    :data:`TOLERANCE` and float64 decided; None where none was.

    Of ``images`` test images ``ties`` got another answer; outputs that lie within the tolerance of each
    other choose differently only where two answers are as good (else there would be no file). The
    others are sums of the task's score. None where an answer is no choice, or where there are no labels.
    ``outputs``: the file's, each beside the dense network's.
    """

    difference: float
    images: int
    ties: int | None
    torch_correct: float | None
    onnx_correct: float | None
    outputs: tuple[Output, ...] = ()
    rounding: float | None = None
    also: tuple[tuple[int, ...], ...] = ()  # the inputs' shapes at another size, compared too


def session(path: Path, threads: int = 0) -> Session:
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
def prepare(model: nn.Module, samples: Example) -> list[tuple[str, Tensor]]:
    """Refuse before any work what could not be compared afterwards; the outputs by their places."""
    if size(samples) < max(BATCHES):
        raise EdgepruneError(
            "parity", f"needs {max(BATCHES)} images, got {size(samples)}", "give more images"
        )
    try:
        given = list(named(call(model, part(samples, 0, max(BATCHES)))))
    except RuntimeError as e:
        raise EdgepruneError(
            f"the network does not run on a batch of {max(BATCHES)}",
            str(e)[:300],
            "its forward must take any batch: no number of images may be written into it",
        ) from e
    if not all(bool(t.isfinite().all()) for _, t in given):
        raise EdgepruneError("the network's logits are not finite", "", "train it again")
    return given


def part(examples: Example, start: int, n: int) -> Example:
    """``n`` examples of a batch; what does not follow the batch goes whole."""
    count = size(examples)
    return mapped(examples, lambda t: t[start : start + n] if t.ndim and len(t) == count else t)


@torch.no_grad()
def check(model: nn.Module, path: Path, real: Real, opened: Sequence[int] = ()) -> Parity:
    """Compare ``model`` (in eval mode) with the file ``path``; :class:`EdgepruneError` beyond tolerance.

    The samples are compared at batch 1 and 4, and at another size of the axes ``opened``, then every
    batch; all outputs of each.
    """
    try:
        running = session(path)
    except Exception as e:  # onnxruntime's classes are not public
        raise EdgepruneError(
            "onnxruntime refuses the exported file",
            str(e)[:300],
            "try another --opset, or a newer onnxruntime",
        ) from e
    far = _Far(model, real.samples)
    for n in BATCHES:
        for start in range(0, size(real.samples) - n + 1, n):
            far.both(running, part(real.samples, start, n))
    also = _at_another_size(model, part(real.samples, 0, 2), opened) if opened else ()
    for x in also:
        far.both(running, x)
    counted, images = Counted(real), 0
    for x, y in real.batches:
        ours, theirs = far.both(running, x)
        images += size(x)
        counted.add(x, y, ours, theirs)
    sizes = tuple(tuple(t.shape) for x in also for t in flat(x))
    return Parity(far.worst, images, *counted.sums, counted.outputs, far.rounding, sizes)


def _at_another_size(model: nn.Module, samples: Example, opened: Sequence[int]) -> list[Example]:
    """One batch of another height and width that the network itself takes."""
    for example in axes.other_sizes(samples, opened):
        with suppress(Exception):  # it wants another multiple
            call(model, example)
            return [example]
    raise EdgepruneError(
        "open axes",
        "the network runs at none of the sizes that were tried",
        "leave --open away: the file then has the size that was recorded",
    )


class Counted:
    """What is counted of the answers, over all batches."""

    def __init__(self, real: Real) -> None:
        self.real = real
        self.found = torch.zeros(
            3, dtype=torch.float64
        )  # other answers, torch's score, onnxruntime's
        self.choice = real.task.classifies
        rows = real.rows if real.dense is not None else ()
        self.beside = [Comparison(port, task) for port, task in rows]

    def add(
        self, x: Example, y: Tensor | None, ours: dict[str, Tensor], theirs: dict[str, Tensor]
    ) -> None:
        """A batch, its labels if any, and what torch and onnxruntime give for it, by place."""
        a, b = next(iter(ours.values())), next(iter(theirs.values()))
        same = self.real.task.same(a, b) if self.choice and y is not None else None
        if same is None or y is None:
            self.choice = False
        else:
            task = self.real.task
            found = (~same).sum(), task.right(a, y).sum(), task.right(b, y).sum()
            self.found += torch.stack([n.double() for n in found])
        if self.beside and self.real.dense is not None:
            dense = dict(named(call(self.real.dense, x)))
            for each in self.beside:
                each.add(dense[each.port.name], theirs[each.port.name])

    @property
    def sums(self) -> tuple[int | None, float | None, float | None]:
        if not self.choice:
            return None, None, None
        ties, torch_right, onnx_right = self.found.tolist()
        return int(ties), torch_right, onnx_right

    @property
    def outputs(self) -> tuple[Output, ...]:
        return tuple(each.result() for each in self.beside)


def run_on(running: Session, x: Example) -> list[np.ndarray]:
    """A session's outputs for it. The file has an input for each tensor, in their order."""
    found: list[np.ndarray] = running.run(None, fed(running, x))
    return found


def fed(running: Session, x: Example) -> dict[str, np.ndarray]:
    """The session's inputs by name."""
    return {
        meta.name: t.contiguous().numpy()
        for meta, t in zip(running.get_inputs(), flat(x), strict=True)
    }


class _Far:
    """How far a file's outputs are from the network's, over all batches."""

    def __init__(self, model: nn.Module, samples: Example) -> None:
        self.model, self.samples = model, samples
        self.worst = 0.0
        self.own: dict[str, float] = {}  # torch's float32 from float64, at its worst so far
        self.rounding: float | None = None

    def both(self, running: Any, x: Example) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The outputs of torch and of onnxruntime by place; :class:`EdgepruneError` beyond tolerance."""
        ours = {place: t.detach() for place, t in named(call(self.model, x))}
        try:
            given = run_on(running, x)
        except Exception as e:
            raise EdgepruneError(
                f"onnxruntime fails on a batch of {size(x)}", " ".join(str(e).split())[:300]
            ) from e
        if len(given) != len(ours):
            raise EdgepruneError(
                "parity", f"torch gives {len(ours)} outputs, the file {len(given)}"
            )
        theirs = {
            place: torch.from_numpy(np.ascontiguousarray(v))
            for place, v in zip(ours, given, strict=True)
        }
        gaps = {p: gap(p, a, theirs[p], size(x)) for p, a in ours.items()}
        self.worst = max(self.worst, *gaps.values())
        beyond = [p for p, found in gaps.items() if not found <= TOLERANCE]  # nan too
        exact = self.exact(x) if beyond else {}
        if exact and not self.own:
            for some in (part(self.samples, i, 1) for i in range(size(self.samples))):
                self.see(dict(named(call(self.model, some))), self.exact(some))
        self.see(ours, exact)
        for place in beyond:
            own = self.own.get(place, 0.0)
            rounding(place, ours[place], theirs[place], exact.get(place), own, size(x))
            self.rounding = max(self.rounding or 0.0, own)
        return ours, theirs

    def see(self, ours: dict[str, Tensor], exact: dict[str, Tensor]) -> None:
        """How far float32 carries torch itself. By chance it is near float64 on the one example and far
        on the next, so that one batch is no yardstick."""
        for place, t in exact.items():
            if t.is_floating_point() and t.numel():
                self.own[place] = max(self.own.get(place, 0.0), distance(ours[place], t))

    def exact(self, x: Example) -> dict[str, Tensor]:
        """What the network gives in float64; nothing where a type is written in its forward."""
        wide = mapped(x, lambda t: t.double() if t.is_floating_point() else t)
        try:
            return dict(named(call(copy.deepcopy(self.model).double(), wide)))
        except Exception:  # whatever a forward raises
            return {}


def distance(a: Tensor, b: Tensor) -> float:
    """Of ``a`` from ``b``, of the largest value of ``b``."""
    return float((a - b).abs().max() / b.abs().max().clamp_min(1e-30))


def rounding(
    place: str, ours: Tensor, theirs: Tensor, exact: Tensor | None, own: float, batch: int
) -> None:
    """Nothing where the file is as near ``exact``, the output in float64, as float32 is: within
    :data:`ROUNDINGS` times ``own``, torch's distance at its worst; else :class:`EdgepruneError`.
    (A detector that sharpens its map fiftyfold, or a network whose maps hardly vary, loses digits in
    float32 whoever computes it.)
    """
    explained = ""
    if exact is not None:
        if distance(theirs, exact) <= min(ROUNDINGS * own, WORST):
            return
        explained = f", and float32 itself explains {ROUNDINGS * own:.2g}"
    raise EdgepruneError(
        "parity: torch and onnxruntime differ",
        f"by {distance(theirs, ours):.2g} of the largest "
        f"{f'value of output {place}' if place else 'logit'} at batch {batch}; {TOLERANCE:g} is allowed"
        f"{explained}",
        "no file was written",
    )


def gap(place: str, a: Tensor, b: Tensor, batch: int) -> float:
    """How far apart two values of an output are, of its largest; integers may differ where rounding chose."""
    said = f" of output {place}" if place else ""
    if a.shape != b.shape:
        raise EdgepruneError(
            f"parity{said}", f"torch gives {tuple(a.shape)}, onnxruntime {tuple(b.shape)}"
        )
    if not a.numel():
        return 0.0
    if not a.is_floating_point():
        changed = float((a != b.to(a.dtype)).double().mean())
        if changed > CHANGED:
            raise EdgepruneError(
                f"parity: torch and onnxruntime differ{said}",
                f"in {100 * changed:.2g} % of its integers at batch {batch}", "no file was written",
            )  # fmt: skip
        return 0.0
    return distance(b, a)
