"""What is to be known of a task: a row that training, ways, export and bench ask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .. import units
from ..errors import EdgepruneError
from ..records.signature import Port, Signature

Targets = NDArray[Any]  # of a split, one row an image


class Chance(NamedTuple):
    """What one answer for all images reaches: no training is worth anything at that."""

    loss: float  # at least
    score: float  # at most, three standard errors included


@dataclass(frozen=True)
class Measure:
    """How near a network's outputs are to another's, or to their labels, as one figure with a word.

    ``parts`` of two batches [N, ...] are added up with ``+`` over all batches (a tensor of sums, or a list);
    ``value`` is the figure, None where nothing was comparable.
    """

    name: str  # the key in files: cosine
    title: str  # in a table
    parts: Callable[[Tensor, Tensor], Any]
    value: Callable[[Any], float | None]
    show: Callable[[float], str]
    sentence: str  # "is at cosine {} of the dense one's"


def ratio(sums: Tensor) -> float | None:
    """The first sum over the second."""
    return float(sums[0] / sums[1]) if sums[1] > 0 else None


def none_seen(port: Port, whole: Signature) -> bool:
    """It cannot be seen: ``--task`` says it."""
    return False


def no_labels(*_: Any) -> Tensor:
    """Of a task that is compared and not trained here."""
    raise EdgepruneError(
        "labels", "for this task are not trained on and not judged by here",
        "prune without: --post-training",
    )  # fmt: skip


@dataclass(frozen=True)
class Task:
    """A row of `tasks.TASKS`. ``outputs`` [N, ...] are the network's, ``targets`` [N, ...] the labels."""

    name: str  # in recipe.json, and after --task
    title: str  # its score's name in a table, or what its outputs are
    seen: Callable[[Port, Signature], bool] = none_seen
    # an output, all there are -> whether it is plainly of this task
    same: Callable[[Tensor, Tensor], Tensor | None] = lambda outputs, others: None
    # two outputs -> bool [N, ...], whether they are the same answer; None: they answer with no choice
    axes: int = 0  # of an output, besides the batch: the fewest that it can be read with
    chooses: str = ""  # what is chosen: answers, pixels, labels; "": nothing is
    more: tuple[Measure, ...] = ()  # besides the share of what is chosen alike
    score: str = ""  # where an example has one answer: the key of the share that is right, top1
    judged: Measure | None = None  # else: the score of outputs and targets, a share 0..1
    told: tuple[Measure, ...] = ()  # of outputs and targets: what is told beside the score
    fitted: Callable[[Port, Targets], Targets] = lambda port, targets: targets
    # an output, labels as a file has them -> as the loss takes them, or what is wrong with them
    loss: Callable[[Tensor, Tensor, float], Tensor] = no_labels
    # outputs, targets, share of smoothing -> mean over N, to be minimised
    taught: Callable[[Tensor, Tensor, float], Tensor] = no_labels
    # outputs, a teacher's outputs, temperature -> mean over N; needs no targets
    right: Callable[[Tensor, Tensor], Tensor] = no_labels
    # outputs, targets -> [N], bool or 0..1, where an example has one answer; the score is its mean
    answers: Callable[[Tensor], Tensor | None] = lambda outputs: None
    # outputs -> the targets that they would be; None: they answer with no choice
    chance: Callable[[Targets, Targets, int, float], Chance] | None = None
    # targets to train and to validate on, classes, smoothing; None: nobody knows
    counted: bool = False  # deploy/runner.py counts it on the device
    extra: str = ""  # of `extras.EXTRAS`, without which outputs cannot be compared

    @property
    def trains(self) -> bool:
        """Whether there is a loss for it."""
        return self.loss is not no_labels

    @property
    def judges(self) -> bool:
        """Whether there is a score by labels."""
        return self.classifies or self.judged is not None

    @property
    def classifies(self) -> bool:
        """Whether an example has one answer, a class."""
        return self.right is not no_labels

    @property
    def by_labels(self) -> Measure:
        """The score, a share 0..1, of outputs and targets."""
        if self.judged is not None:
            return self.judged
        return Measure(
            self.score, self.title, partial(_right, self), ratio, units.percent, "is right for {}"
        )

    @property
    def labelled(self) -> tuple[Measure, ...]:
        """Of outputs and targets: the score, then what is told beside it."""
        return (self.by_labels, *self.told)

    @property
    def measures(self) -> tuple[Measure, ...]:
        """Of two networks' outputs, in the order in which they are told."""
        return ((agreement(self),) if self.chooses else ()) + self.more

    def distillation(
        self,
        outputs: Tensor,
        teacher: Tensor,
        targets: Tensor,
        *,
        share: float,
        temperature: float,
        smoothing: float = 0.0,
    ) -> Tensor:
        """``(1 - share) loss + share taught``: labels, and what a teacher answers, mean over N."""
        taught = self.taught(outputs, teacher, temperature)
        return (1 - share) * self.loss(outputs, targets, smoothing) + share * taught


def agreement(task: Task) -> Measure:
    """The share of a task's choices that are the dense network's."""
    return Measure(
        name="agreement",
        title=f"Dense network's {task.chooses}",
        parts=partial(_alike, task),
        value=ratio,
        show=units.percent,
        sentence=f"gives the dense network's {task.chooses} to {{}}",
    )


def _alike(task: Task, outputs: Tensor, others: Tensor) -> Tensor:
    same = task.same(outputs, others)
    if same is None:
        return torch.zeros(2, dtype=torch.float64)
    return torch.tensor([int(same.sum()), same.numel()], dtype=torch.float64)


def _right(task: Task, outputs: Tensor, targets: Tensor) -> Tensor:
    found = task.right(outputs, targets).float()
    return torch.stack([found.sum(), found.new_tensor(float(len(found)))])


def shaped(port: Port, targets: Targets, task: str) -> Targets:
    """Numbers, one for each that the output gives; [n, ...] of a single one may lack its axis."""
    numbers = targets.dtype.kind in "fiub" and bool(np.isfinite(targets).all())
    wanted = (len(targets), *port.shape)
    if not numbers or targets.size != int(np.prod(wanted)):
        raise unfit(task, targets, f"as many finite numbers as the network gives, {port.said}")
    return targets.reshape(wanted).astype(np.float32)


def unfit(task: str, targets: Targets, wanted: str) -> EdgepruneError:
    return EdgepruneError(f"labels {targets.dtype} {list(targets.shape)}", f"{task} wants {wanted}")


def entropy(shares: NDArray[np.float64]) -> float:
    """``-sum q log q``, in nats."""
    q = shares[shares > 0]
    return float(-(q * np.log(q)).sum())
