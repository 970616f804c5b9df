"""What a network is, as values: how to build it, and what its input looks like."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from ..errors import EdgepruneError

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Convention:
    """How an image becomes the network's input: RGB uint8, side ``size``,
    ``(pixel/255-mean)/std``.
    """

    size: int = 32  # pixels, height = width
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    channels: str = "RGB"  # order of the input's channels; "BGR" for old Caffe weights

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Convention:
        value = dict(_known(cls, value))
        for key in ("mean", "std"):
            value[key] = tuple(float(v) for v in value[key])
        return cls(**value)


@dataclass(frozen=True)
class ModelSpec:
    """How to build a network. Everything here is written into the run's ``spec.json``."""

    model: (
        str  # vgg16, mobilenetv1, mobilenetv1-0.75, torchvision/NAME, timm/NAME, FILE.py:FUNCTION
    )
    classes: int = 10
    head: str = "paper"  # paper (GAP, dense 512, classes) or original
    padding: str = "symmetric"  # mobilenetv1: symmetric (torch) or same (TensorFlow)
    bn_eps: float = 1e-5  # mobilenetv1: 1e-3 for TensorFlow's weights

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> ModelSpec:
        return cls(**_known(cls, value))

    def but(self, **changes: Any) -> ModelSpec:
        return replace(self, **changes)


def _known(cls: Any, value: dict[str, Any]) -> dict[str, Any]:
    names = {f.name for f in fields(cls)}
    if not isinstance(value, dict) or set(value) - names:
        raise EdgepruneError(f"{cls.__name__} in spec.json", f"unknown keys in {value!r}")
    return value
