"""What a network is, as values: how to build it, and what its input looks like."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ..errors import EdgepruneError
from .typed import CLOSED, Stated, value

MAX_SIZE = 4096  # pixels
UNLABELLED = 255  # of a pixel that no class is said of, as Pascal VOC and Cityscapes write it
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Convention(Stated):
    """How an image becomes the network's input: RGB uint8, side ``size``,
    ``(pixel/255-mean)/std``. Of grey the pixel, mean and std are those of the colours, weighed.

    A file must state all of it: a default would be another input than the weights were trained with.
    """

    __pydantic_config__: ClassVar[Any] = CLOSED

    size: int = 32  # pixels, height = width
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    channels: str = "RGB"  # of the input; "BGR" for old Caffe weights; "GREY": one (ITU-R 601)

    def __post_init__(self) -> None:
        for what, right in (
            (f"size {self.size!r}", type(self.size) is int and 1 <= self.size <= MAX_SIZE),
            (f"mean {self.mean!r}", _three(self.mean)),
            (f"std {self.std!r}", _three(self.std) and min(self.std) > 0),
            (f"channels {self.channels!r}", self.channels in ("RGB", "BGR", "GREY")),
        ):
            if not right:
                raise EdgepruneError("input convention", f"{what} cannot be")

    @classmethod
    def from_json(cls, given: Any) -> Convention:
        return value(given, cls, "input convention")


@dataclass(frozen=True)
class ModelSpec(Stated):
    """How to build a network. Everything here is written into the run's ``spec.json``."""

    __pydantic_config__: ClassVar[Any] = CLOSED
    STATED: ClassVar[tuple[str, ...]] = ("model", "classes", "head")

    model: str  # vgg16, mobilenetv1-0.75, torchvision/NAME, timm/NAME, FILE.py:FUNCTION, FILE.onnx
    classes: int = 10
    head: str = "paper"  # paper (GAP, dense 512, classes) or original
    padding: str = "symmetric"  # mobilenetv1: symmetric (torch) or same (TensorFlow)
    bn_eps: float = 1e-5  # mobilenetv1: 1e-3 for TensorFlow's weights

    def __post_init__(self) -> None:
        for what, right in (
            (f"name {self.model!r}", isinstance(self.model, str)),
            (f"classes {self.classes!r}", type(self.classes) is int and self.classes >= 1),
            (f"padding {self.padding!r}", self.padding in ("symmetric", "same")),
            (f"bn_eps {self.bn_eps!r}", _number(self.bn_eps) and 0 < self.bn_eps < 1),
        ):
            if not right:
                raise EdgepruneError("model", f"{what} cannot be")

    @classmethod
    def from_json(cls, given: Any) -> ModelSpec:
        return value(given, cls, "model")

    def but(self, **changes: Any) -> ModelSpec:
        return replace(self, **changes)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _three(values: Any) -> bool:
    return isinstance(values, tuple) and len(values) == 3 and all(map(_number, values))
