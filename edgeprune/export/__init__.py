"""Export: a network as one .onnx file that is known to give the same answers."""

from __future__ import annotations

from .onnx import Exported, is_image, layer_of, write
from .parity import Batch, Parity, Real

__all__ = ["Batch", "Exported", "Parity", "Real", "is_image", "layer_of", "write"]
