"""One training step and one evaluation, on whatever devices accelerate finds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from .. import extras, tasks
from ..errors import EdgepruneError
from ..graph.inputs import call, named
from ..tasks import Scores, Task
from .recipes import Recipe

if TYPE_CHECKING:
    from accelerate import Accelerator, PartialState

LOWER = {"bf16": torch.bfloat16, "fp16": torch.float16}
MIXED = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}  # our names -> accelerate's


@dataclass(frozen=True)
class Judged:
    """The task's score (share 0..1) and its mean loss over ``n`` images (NaN where it has none); what else
    it tells.
    """

    score: float
    loss: float
    n: int
    measures: dict[str, float] = field(default_factory=dict)  # `Task.told`, by their names


class Shell(nn.Module):
    """What accelerate wraps: it patches ``forward`` for autocast, and the network stays clean."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Any:
        return call(self.network, x)  # the teacher is asked the same


class Stepper:
    """A network and its optimizer on their device; ``step`` does one batch.

    The network's parameters are moved and trained in place.
    """

    def __init__(
        self, model: nn.Module, recipe: Recipe, precision: str, teacher: nn.Module | None = None
    ) -> None:
        self.recipe, self.model, self.task = recipe, model, tasks.named(recipe.task)
        self.accelerator = _accelerator(precision)
        self.device = self.accelerator.device
        self.optimizer = optimizer(laid_out(model), recipe)
        self.shell = self.accelerator.prepare_model(Shell(model))
        self.stepped = self.accelerator.prepare_optimizer(self.optimizer)
        self.scaler = self.accelerator.scaler  # of float16's gradients, else None
        self.teacher = None
        if teacher is not None:
            teacher = laid_out(teacher.eval())
            self.teacher = self.accelerator.prepare_model(Shell(teacher), evaluation_mode=True)

    def replace(self, model: nn.Module) -> None:
        """Go on with another network, whose parameters the optimizer has already (a cut)."""
        if self.accelerator.num_processes > 1:
            raise EdgepruneError(
                "pruning during training", "works in one process only", "start one process"
            )
        self.model = laid_out(model.to(self.device))
        self.shell.network = self.model

    def step(self, x: Tensor, y: Tensor, lr: float) -> Tensor:
        """One step at learning rate ``lr`` on x [N,3,H,W], y [N]; the batch's mean loss, detached.

        With several processes each takes its share of the batch.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        x, y = (self._share(t).to(self.device, non_blocking=True) for t in (x, y))
        loss = self._loss(answer_of(self.shell(x), self.task), x, y)
        self.accelerator.backward(loss)
        if self.recipe.clip:
            self.accelerator.clip_grad_norm_(self.shell.parameters(), self.recipe.clip)
        self.stepped.step()
        self.stepped.zero_grad()
        return loss.detach()

    def _loss(self, logits: Tensor, x: Tensor, y: Tensor) -> Tensor:
        smoothing = self.recipe.label_smoothing
        if self.teacher is None:
            return self.task.loss(logits, y, smoothing)
        with torch.no_grad():
            taught = answer_of(self.teacher(x), self.task)
        return self.task.distillation(
            logits,
            taught,
            y,
            share=self.recipe.teacher_share,
            temperature=self.recipe.temperature,
            smoothing=smoothing,
        )

    def _share(self, t: Tensor) -> Tensor:
        """This process's equal part of a batch (the last few images are left out if it is uneven)."""
        each = len(t) // self.accelerator.num_processes
        if not each:
            raise EdgepruneError(
                f"a batch of {len(t)}", "fewer images than processes", "start fewer processes"
            )
        start = each * self.accelerator.process_index
        return t[start : start + each]


class Alone(NamedTuple):
    """Where a network is judged without accelerate, which trains: one process on the fastest device."""

    device: torch.device
    num_processes: int = 1
    process_index: int = 0


def here() -> PartialState | Alone:
    """The device and the processes, as accelerate finds them (``accelerate launch --cpu`` too)."""
    try:
        from accelerate import PartialState
        from accelerate.utils import parse_flag_from_env
    except ImportError:
        return Alone(torch.accelerator.current_accelerator(True) or torch.device("cpu"))
    return PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"))


def _accelerator(precision: str) -> Accelerator:
    """A fresh accelerator: accelerate keeps the precision of the first one for the whole process."""
    with extras.needed("train", "training"):
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState
    state = here()
    if precision == "fp16" and state.device.type == "cpu":
        raise EdgepruneError("precision fp16", "needs a GPU", "use --precision bf16 or fp32")
    AcceleratorState._reset_state()
    try:
        return Accelerator(mixed_precision=MIXED[precision])
    except ValueError as e:
        raise EdgepruneError(f"precision {precision}", str(e), "use --precision fp32") from None


def optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimizer; weight decay on tensors of two axes and more (no norms, no biases)."""
    trained = [p for p in model.parameters() if p.requires_grad]
    if not trained:
        raise EdgepruneError(
            "training",
            "the network has no parameter to train",
            "prune it without training: --post-training",
        )
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [g for g in groups if g["params"]]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.momentum > 0
        )
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[recipe.optimizer]
    return kind(groups, lr=recipe.lr)


def laid_out(model: nn.Module) -> nn.Module:
    """Channels last, as convolutions of images run fastest; there is no such layout of volumes."""
    if any(p.ndim == 5 for p in model.parameters()):
        return model
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def answer_of(output: object, task: Task, place: str = "") -> Tensor:
    """The tensor at ``place`` of what a network gives, or its only one, [N, classes] of a classifier."""
    given = dict(named(output))
    found = given.get(place, next(iter(given.values())) if len(given) == 1 else None)
    if found is not None and (found.ndim == 2 or not task.classifies):
        return found
    shape = f" of shape {tuple(output.shape)}" if isinstance(output, Tensor) else ""
    raise EdgepruneError(
        f"the network gives a {type(output).__name__}{shape}",
        "training and accuracy want one tensor, of a classifier class scores [N, classes]",
        "wrap it in a module that returns it alone, in training mode too",
    )


@torch.inference_mode()
def judge(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    task: Task,
    precision: str = "fp32",
    place: str = "",
) -> Judged:
    """Score and loss of a model on its device, in evaluation mode; ``place``: of the output that is judged.

    With several processes each does its share of the batches.
    """
    state = here()
    was_training = model.training
    model.eval()
    sums = torch.zeros(2, device=state.device)  # loss, images
    scores = Scores(task)
    try:
        for i, (x, y) in enumerate(batches):
            mine = i % state.num_processes == state.process_index
            if i and not mine:  # the first is seen by all, so that each has sums
                continue
            there = x.to(state.device, non_blocking=True)
            with torch.autocast(state.device.type, LOWER.get(precision), precision in LOWER):
                answer = answer_of(model(there), task, place).float()
            if mine:
                known = y.to(state.device, non_blocking=True)
                sums[0] += (task.loss(answer, known, 0.0) if task.trains else torch.nan) * len(y)
                sums[1] += len(y)
            scores.add(answer.cpu(), y, int(mine))  # in float64, which not every device has
    finally:
        model.train(was_training)
    loss, n = _together(sums, state).tolist()
    if not n:
        raise EdgepruneError(
            "evaluation", "the split has no images", "give more images, or a larger --limit"
        )
    scores.parts = {take: _together(found, state) for take, found in scores.parts.items()}
    told = scores.result()
    score = told.pop(task.by_labels.name, None)
    if score is None:
        raise EdgepruneError(
            f"labels of {int(n):,} examples",
            f"say nothing of {task.by_labels.title}",
            "give more labelled examples",
        )
    return Judged(score, loss / n, int(n), told)


def _together(found: Any, state: PartialState | Alone) -> Any:
    """The sums of all processes, or what they listed."""
    if state.num_processes == 1:
        return found
    from accelerate.utils import gather_object, reduce

    return (
        reduce(found.to(state.device), "sum") if isinstance(found, Tensor) else gather_object(found)
    )
