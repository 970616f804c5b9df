"""Export: a network as one .onnx file that is known to give the same answers."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from .onnx import Exported, is_image, layer_of, write
from .parity import Batch, Parity, Real
from .word import of_module

__all__ = ["Batch", "Exported", "Parity", "Real", "is_image", "layer_of", "of_module", "write"]


class _Word(ModuleType):
    """``from edgeprune import export; export(model, "net.onnx", loader)``: called as `of_module`."""

    def __call__(self, *args: Any, **kwargs: Any) -> Exported:
        return of_module(*args, **kwargs)


sys.modules[__name__].__class__ = _Word
