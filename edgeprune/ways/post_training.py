"""Post-training pruning: a trained network and unlabelled images in, a smaller network out.

No labels, no training: look at the images through the dense network, choose what leaves by what its
readers would lose, cut, and repair in closed form (``prune.compensate``). A fifth of the images
takes no part in it: on them the loss to expect is measured before anything is applied.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..data.transforms import Pixels, centre, normalise, zoom_and_flip
from ..errors import EdgepruneError, closest
from ..graph import Graph, trace
from ..graph.kept import kept_classes
from ..models import Convention
from ..prices import Target
from ..prune import SCORES, Plan, narrow, plan
from ..prune.blocks import blocks, distil
from ..prune.compensate import Repaired, lstsq, mean, recalibrate
from ..prune.compensate import Told as Part
from ..prune.evidence import Evidence, gather
from ..prune.images import Images
from ..prune.plan import Limits
from ..prune.readers import find_readers, not_repaired
from ..prune.scores import criterion, elimination_of, is_own, scored, sound
from ..tasks import CLASSIFICATION, Task
from .remaining import Amounts, Remaining, Told, work_of

COMPENSATIONS = ("none", "mean", "lstsq", "blocks")
FEWEST = 64  # images; fewer say too little of any layer (assumption)
HELD_OUT = 5  # each fifth image judges
BATCH = 32
Labels = np.ndarray[Any, Any]


def silent(what: str, done: int, of: int, left: float = math.nan) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Settings:
    """How to prune after training; the defaults are those of benchmarks/results/compensation.md."""

    target: Target | None = None  # what is to be left; None where a plan says so, or the accuracy
    score: str = "reconstruction"  # one of prune.SCORES
    method: str = ""  # one of prune.plan.METHODS; "": each group its own share where the score
    # says what each width loses (reconstruction), else the same share everywhere (uniform)
    compensate: str = "lstsq"  # one of COMPENSATIONS
    views: int = 1  # of each image: plain, mirrored, then random crops
    block_steps: int = 80  # with "blocks": batches for each block
    distil_steps: int = 0  # batches of distillation at the end; still without labels
    floor: float = 0.1  # least share of a group's width
    multiple: int = 1
    keep: tuple[str, ...] = ()  # globs of groups that stay whole
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.method:
            own = self.score == "reconstruction"
            object.__setattr__(self, "method", "reconstruction" if own else "uniform")
        if self.compensate not in COMPENSATIONS:
            raise EdgepruneError(
                f"--compensate {self.compensate!r}", closest(self.compensate, COMPENSATIONS)
            )
        if self.score not in SCORES and not is_own(self.score):
            raise EdgepruneError(f"--score {self.score!r}", closest(self.score, list(SCORES)))
        if self.views < 1 or self.block_steps < 1 or self.distil_steps < 0:
            raise EdgepruneError("views, block_steps, distil_steps", "too small")

    def towards(self, share: float) -> Settings:
        """The same with ``share`` (0..1) of its price as the target."""
        return replace(self, target=Target(self.target.price if self.target else "flops", share))

    def limits(self, whole: Mapping[str, int] | None = None) -> Limits:
        """What bounds the widths; ``whole``: the dense ones, where the network was pruned before."""
        return Limits(self.floor, self.multiple, self.keep, whole=whole or {})


@dataclass(frozen=True)
class Forecast:
    """What the pruned network is expected to lose, measured on images that took no part."""

    images: int
    agreement: float | None  # share of images that get the dense network's answer; None: no choice
    variance_kept: float  # 1 - |logits - dense logits|^2 / variance of the dense logits

    def sentence(self) -> str:
        where = f"on {self.images:,} held-out images it"
        if self.agreement is None:  # an output that chooses nothing is compared by error
            return f"{where} keeps {100 * self.variance_kept:.1f} % of the outputs' variance"
        return (
            f"{where} gives the dense network's answer to {100 * self.agreement:.1f} % and keeps "
            f"{100 * self.variance_kept:.1f} % of the logits' variance"
        )


@dataclass(frozen=True, eq=False)
class PostTraining:
    """The smaller network, how it came about, and what it is expected to lose."""

    graph: Graph
    plan: Plan
    repaired: list[Repaired]
    forecast: Forecast
    seconds: float
    notes: tuple[str, ...] = ()  # what the result suffers from, one line each

    @property
    def model(self) -> nn.Module:
        return self.graph.model


def post_training(
    model: nn.Module,
    pixels: Pixels,
    convention: Convention,
    settings: Settings,
    told: Told = silent,
    given: Plan | None = None,
    task: Task = CLASSIFICATION,
) -> PostTraining:
    """Prune ``model`` with unlabelled ``pixels``, uint8 RGB [N, canvas, canvas, 3], canvas >= size.

    ``given`` is a plan for this network, applied instead of making one. ``model`` is left as it is.
    Raises :class:`EdgepruneError` for too few images, weights that are
    not numbers, and targets that cannot be reached.
    """
    begun = time.perf_counter()
    _check(model, pixels, convention)
    calibrating, judging = split(len(pixels))
    judge = Images([plain(pixels[rows], convention) for rows in _batches(judging)]).batches
    expected = _sound(answers(model, judge))
    images = calibration(pixels[calibrating], convention, settings.views, settings.seed)
    size = convention.size
    dense = trace(model, torch.zeros(2, 3, size, size))
    looking, choosing, repairing, distilling, judged = _phases(
        dense, images, len(judging), settings, told
    )
    if given is None:
        evidence = gather(dense, images, parts=parts_of(settings), told=looking)
        made = choose(dense, evidence, settings, told=choosing)
        del evidence
    else:
        made = given
    pruned, repaired = repair(dense, made.keep, images, settings, repairing)
    distilled(dense, pruned, made.keep, pixels[calibrating], convention, settings, distilling)
    judged("judging", 0, 1)
    found = compared(expected, answers(pruned.model, judge), task)
    judged("judging", 1, 1)
    notes = (
        *too_few(dense, len(calibrating), settings),
        *unrepaired(dense, made.keep, settings),
    )
    return PostTraining(pruned, made, repaired, found, time.perf_counter() - begun, notes)


def _phases(
    dense: Graph, images: Images, judges: int, settings: Settings, told: Told
) -> list[Part]:
    """What tells of looking, choosing, repairing, distilling, judging, with the time left of all."""
    amounts = Amounts(
        calibrate=len(images),
        fit=settings.block_steps * BATCH if settings.compensate == "blocks" else 0,
        distil=settings.distil_steps * BATCH,
        judge=judges,
        share=(settings.target and settings.target.share) or 1.0,
    )
    phases = work_of(dense, amounts)
    remaining = Remaining(phases, told, time.perf_counter)
    return [remaining.phase(number) for number in range(len(phases))]


def _sound(logits: Tensor) -> Tensor:
    """The dense network's answers, refused before any work where nothing can be learnt from them."""
    if not bool(logits.isfinite().all()):
        raise EdgepruneError(
            "the network's answers to these images", "NaN or infinite values",
            "check the weights and how the images are normalised",
        )  # fmt: skip
    if float((logits - logits[:1]).abs().max()) <= 1e-6 * float(logits.abs().max()):
        raise EdgepruneError(
            "the network's answers to these images", "are all the same: nothing can be kept of them",
            "give the weights of a trained network",
        )  # fmt: skip
    return logits


def unrepaired(
    dense: Graph, keep: Mapping[str, Sequence[int]], settings: Settings
) -> tuple[str, ...]:
    """A line for each layer that loses inputs and that no least squares is solved for."""
    if settings.compensate not in ("lstsq", "blocks"):
        return ()
    return tuple(
        f"{name} reads channels that left and is not repaired: its weights are shared, or it is "
        "neither a convolution nor a linear layer"
        for name in not_repaired(dense, kept_classes(dense, keep))
    )


def too_few(dense: Graph, images: int, settings: Settings) -> tuple[str, ...]:
    """A line for each layer that reads one vector an image and more channels than there are images."""
    wide = [
        f"{images:,} calibration images are fewer than the {channels:,} channels that "
        f"{reader.layer} reads: give more, it is repaired from little"
        for reader in find_readers(dense)
        if reader.window is None and reader.labels is not None
        and (channels := len(reader.labels)) > images
    ]  # fmt: skip
    return tuple(wide) if settings.compensate in ("lstsq", "blocks") else ()


def choose(
    dense: Graph, evidence: Evidence, settings: Settings, *, told: Part = silent,
    losses: Mapping[str, Sequence[float]] | None = None, whole: Mapping[str, int] | None = None,
) -> Plan:  # fmt: skip
    """Scores, and from them the plan.

    ``losses`` at every width, if measured (method sensitivity); ``whole``: the widths that the floor
    is a share of, if ``dense`` has been pruned already.
    """
    curves = losses
    if settings.score == "reconstruction":
        order = {}
        for done, name in enumerate(dense.groups):
            told("choosing", done, len(dense.groups))
            order[name] = elimination_of(dense, name, evidence)
        scores: Mapping[str, Tensor] = {name: e.score() for name, e in order.items()}
        curves = losses or {name: e.error.tolist() for name, e in order.items()}
    else:
        scores = scored(dense, criterion(settings.score), evidence)
    return plan.make(
        dense,
        scores,
        settings.target,
        method=settings.method,
        limits=settings.limits(whole),
        curves=curves,
    )


def repair(
    dense: Graph,
    keep: Mapping[str, Sequence[int]],
    images: Images,
    settings: Settings,
    told: Part = silent,
) -> tuple[Graph, list[Repaired]]:
    """Cut and compensate; least squares keeps the statistics of the batch norms, the others renew them."""
    pruned = narrow(dense, keep)
    repaired: list[Repaired] = []
    if settings.compensate == "mean":
        repaired = mean(dense, pruned, keep, images, told)
    if settings.compensate in ("none", "mean"):
        recalibrate(pruned.model, images.batches)
        return pruned, repaired
    if settings.compensate == "blocks":
        blocks(dense, pruned, keep, images, settings.block_steps, told=told)
        return pruned, repaired
    return pruned, lstsq(dense, pruned, keep, images, told)


def distilled(
    dense: Graph,
    pruned: Graph,
    keep: Mapping[str, Sequence[int]],
    pixels: Pixels,
    convention: Convention,
    settings: Settings,
    told: Part = silent,
) -> None:
    """The last touch, in place: the whole network at once learns the dense one's answers."""
    if settings.distil_steps:
        views = endless(pixels, convention, settings.seed)
        distil(dense, pruned, keep, views, settings.distil_steps, told=told)


def forecast(
    model: nn.Module, pruned: nn.Module, batches: Sequence[Tensor], task: Task = CLASSIFICATION
) -> Forecast:
    """Compare two networks on ``batches`` [N, 3, S, S], both in evaluation mode."""
    return compared(answers(model, batches), answers(pruned, batches), task)


def compared(a: Tensor, b: Tensor, task: Task = CLASSIFICATION) -> Forecast:
    """What outputs ``b`` have kept of ``a``, [N, ...] each."""
    return Forecast(len(a), task.agree(a, b), 1 - task.distance(a, b))


@torch.no_grad()
def answers(model: nn.Module, batches: Sequence[Tensor]) -> Tensor:
    """Logits [N, classes] in evaluation mode; the model's mode is left as it was."""
    training = model.training
    model.eval()
    try:
        return torch.cat([model(x) for x in batches])
    finally:
        model.train(training)


# -- images ----------------------------------------------------------------------------------------


def split(n: int) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """Rows that calibrate and rows that judge: each fifth."""
    rows = np.arange(n)
    return rows[rows % HELD_OUT != HELD_OUT - 1], rows[rows % HELD_OUT == HELD_OUT - 1]


def plain(pixels: Pixels, convention: Convention) -> Tensor:
    """The centre of each image, as the network is evaluated."""
    return normalise(np.ascontiguousarray(centre(pixels, convention.size)), convention)


def calibration(
    pixels: Pixels, convention: Convention, views: int, seed: int, labels: Labels | None = None
) -> Images:
    """``views`` of each image, all first views before any second one, with their ``labels`` [N] if any.

    A layer that cannot look at all of them then looks at as many different images as it can.
    """
    rng = np.random.default_rng(seed)
    sets = list(_batches(rng.permutation(len(pixels))))  # the first ones are a sample
    return Images(
        [view(pixels[rows], convention, i, rng) for i in range(views) for rows in sets],
        [source for _ in range(views) for source in range(len(sets))],
        None
        if labels is None
        else [torch.from_numpy(labels[r]) for _ in range(views) for r in sets],
    )


def view(pixels: Pixels, convention: Convention, number: int, rng: np.random.Generator) -> Tensor:
    """View 0: the centre; 1: mirrored; from 2 on: a random crop, scaled."""
    if number >= 2:
        return normalise(zoom_and_flip(pixels, convention.size, rng), convention)
    x = plain(pixels, convention)
    return x.flip(3) if number else x


def endless(pixels: Pixels, convention: Convention, seed: int) -> Iterator[Tensor]:
    """Random crops of all images, reshuffled round by round."""
    rng = np.random.default_rng(seed)
    while True:
        for rows in _batches(rng.permutation(len(pixels))):
            if len(rows) == min(BATCH, len(pixels)):
                yield view(pixels[rows], convention, 2, rng)


def _batches(rows: np.ndarray, size: int = BATCH) -> Iterator[np.ndarray]:  # type: ignore[type-arg]
    return (rows[i : i + size] for i in range(0, len(rows), size))


def parts_of(settings: Settings) -> list[str]:
    return list(criterion(settings.score).parts)


def _check(model: nn.Module, pixels: Pixels, convention: Convention) -> None:
    if len(pixels) < FEWEST:
        raise EdgepruneError(
            f"{len(pixels)} calibration images", f"{FEWEST} are the least", "give a few hundred"
        )
    if pixels.ndim != 4 or min(pixels.shape[1:3]) < convention.size:
        raise EdgepruneError(
            f"calibration images of shape {pixels.shape[1:]}",
            f"the network wants {convention.size} x {convention.size}",
        )
    sound(model)
