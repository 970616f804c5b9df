"""What a run folder holds: the lines of its history, its spec, a target (its recipe: :mod:`.recipe`)."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Gt

from ..errors import EdgepruneError
from .network import Convention, ModelSpec
from .signature import Signature
from .typed import FINITE, Count, Positive, Share, parse, plain


@dataclass(frozen=True)
class Format:
    """The version that a file says it is of; 0: it says none."""

    format: int = 0


# -- history.jsonl: one line an epoch, a sensitivity curve, a pruning step, a result ----------------


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """One epoch of a training, as the loop tells it; the run adds network, phase, step and time."""

    __pydantic_config__: ClassVar[Any] = FINITE
    kind: Literal["epoch"] = "epoch"
    network: str = "dense"  # or pruned
    phase: str = "train"  # or retrain
    step: Count | None = None  # of the pruning, where it is retrained
    epoch: Count  # 1..epochs
    epochs: Count  # at most
    lr: float  # of the epoch's last step
    train_loss: float  # mean over the epoch, as trained (smoothing, teacher)
    validation_loss: float  # the task's, no smoothing
    validation_accuracy: Share
    seconds: float  # training and validation
    time: str | None = None  # local time of its end; the training itself knows none


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """Accuracy of the dense network with a share of one layer's lowest units removed, not retrained."""

    __pydantic_config__: ClassVar[Any] = FINITE
    kind: Literal["sensitivity"] = "sensitivity"
    layer: str
    shares: list[Share]  # removed, rising
    accuracy: list[Share]  # one for each share
    baseline: Share | None = None  # with nothing removed
    images: Count | None = None  # validation images that it was judged on

    def __post_init__(self) -> None:
        if len(self.shares) != len(self.accuracy):
            raise EdgepruneError("accuracy", f"{len(self.accuracy)} for {len(self.shares)} shares")


@dataclass(frozen=True, kw_only=True)
class Step:
    """One prune-and-retrain round. ``layer`` None: all of them gave."""

    __pydantic_config__: ClassVar[Any] = FINITE
    kind: Literal["step"] = "step"
    step: Count  # 1, 2, ...
    layer: str | None = None
    removed: list[Count] = field(default_factory=list)  # units of the dense network
    widths: dict[str, Count] = field(default_factory=dict)  # of every group, after it
    params: Positive
    flops: Positive
    macs: Count | None = None
    before: Share | None = None  # validation accuracy right after the cut
    accuracy: Share | None = None  # and retrained
    baseline: Share | None = None  # the dense network's
    images: Count | None = None  # validation images that they were judged on
    kept: bool = True  # False: taken back
    seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class Visit:
    """A network of planned widths, its weights not yet repaired, measured on the device beside the dense one.

    Predictions are the device's profile's, as they were before any visit. Every sample is in ``file``.
    """

    __pydantic_config__: ClassVar[Any] = FINITE
    kind: Literal["visit"] = "visit"
    step: Count  # 1, 2, ... of the visits
    asked: str  # as it was typed
    device: str
    threads: Positive
    widths: dict[str, Count]  # of every group
    predicted_ms: Annotated[float, Gt(0)]
    predicted_dense_ms: Annotated[float, Gt(0)]
    expected_ms: Annotated[float, Gt(0)]  # with what earlier visits corrected
    measured_ms: Annotated[float, Gt(0)]  # median
    dense_ms: Annotated[float, Gt(0)]
    contended: bool = False  # other programs ran
    unsure: bool = (
        False  # cut short by them, or the ratio's interval is wider than what may be missed
    )
    warnings: list[str] = field(default_factory=list)
    file: str | None = None  # in the run
    seconds: float | None = None  # that it took


@dataclass(frozen=True, kw_only=True)
class Output:
    """One output of a network beside the dense one's, on examples that took no part in its making."""

    __pydantic_config__: ClassVar[Any] = FINITE
    name: str  # its place in what the forward gives; "" where it is all of it
    task: str  # one of tasks.TASKS
    variance_kept: float | None = None  # share of the dense output's; None: it has none
    measures: dict[str, float] = field(default_factory=dict)  # the task's own, by their names
    scores: dict[str, float] = field(default_factory=dict)  # by labels, where there are any


@dataclass(frozen=True, kw_only=True)
class Result:
    """A network of the run, judged once. Accuracies are None where there are no labels."""

    __pydantic_config__: ClassVar[Any] = FINITE
    kind: Literal["result"] = "result"
    network: str  # dense, pruned
    params: Positive
    flops: Positive  # the paper's convention
    macs: Count | None = None
    bytes: Count | None = None  # of the weights
    widths: dict[str, Count] = field(default_factory=dict)
    validation_accuracy: Share | None = None
    validation_images: Count | None = None
    test_accuracy: Share | None = None
    test_images: Count | None = None
    test_measures: dict[str, float] = field(default_factory=dict)  # `Task.told`, of its labels
    agreement: Share | None = None  # how often it gives the dense network's answer, without labels
    variance_kept: float | None = None  # share of the logits' variance that it keeps
    images: Count | None = None  # held-out images of both
    outputs: list[Output] = field(default_factory=list)  # each of them beside the dense network's
    steps: Count | None = None
    stopped: str | None = None  # why training or pruning ended
    class_name: str | None = None  # of the pruned network in Python; None: it was not asked
    class_lost: str | None = None  # why it is a graph and not of its own class; "": it is
    precision: str | None = None  # of the training
    lowest_lr: float | None = None  # that the training reached
    at_chance: bool | None = None  # it learned nothing
    seconds: float | None = None


@dataclass(frozen=True)
class Other:
    """A line of a kind that this version does not know, as it is."""

    kind: str
    line: dict[str, Any]


Record = Epoch | Sensitivity | Step | Visit | Result | Other
KINDS: dict[str, type[Any]] = {
    "epoch": Epoch,
    "sensitivity": Sensitivity,
    "step": Step,
    "visit": Visit,
    "result": Result,
}


def line_of(record: Record) -> dict[str, Any]:
    """What a history holds of a record."""
    return dict(record.line) if isinstance(record, Other) else plain(record)


def of_line(line: str) -> Record | None:
    """The record of one line of a history, None for what a kill has torn off.

    Raises :class:`EdgepruneError` if it has not its kind's form.
    """
    try:
        given = json.loads(line)
    except json.JSONDecodeError as e:
        if e.pos >= len(line.rstrip()) or e.msg.startswith("Unterminated"):
            return None
        raise EdgepruneError("a line", f"not readable as JSON ({e})") from None
    except (ValueError, RecursionError) as e:
        raise EdgepruneError("a line", f"not readable as JSON ({e})") from None
    if not isinstance(given, dict):
        raise EdgepruneError("a line", "no JSON object")
    kind = given.get("kind")
    if isinstance(kind, str) and kind in KINDS:
        found: Record = parse(line, KINDS[kind], kind)
        return found
    return Other(str(kind), given)


# -- spec.json ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Code:
    """The run's copy of the user's own FILE.py with what it imports from beside it, or of an .onnx file with
    its external data (``code/``)."""

    __pydantic_config__: ClassVar[Any] = FINITE
    file: str
    sha256: str  # over all of them (`models.code.digest`)

    def __post_init__(self) -> None:
        if re.fullmatch(r"[^/\\\0]+\.(py|onnx)", self.file) is None:
            raise EdgepruneError("code.file", f"{self.file!r} is no name of a Python or ONNX file")


@dataclass(frozen=True, kw_only=True)
class Spec:
    """How to build the run's networks: the dense one, and what is left of each of its groups."""

    __pydantic_config__: ClassVar[Any] = FINITE
    format: Literal[1] = 1
    model: ModelSpec
    input: Convention
    classes: list[str]
    dense: dict[str, Count]  # width of each group
    kept: dict[str, list[Count]]  # group -> units that are left; {} = all
    factored: dict[str, Literal["channels", "spatial"]] = field(
        default_factory=dict
    )  # layer -> how it
    # is a pair of layers in the pruned network (prune/low_rank.py); `kept` counts their ranks, too
    signature: Signature | None = None  # what goes in and comes out; None: one image of `input`
    code: Code | None = None  # where the model is the user's own FILE.py:FUNCTION, or FILE.onnx
