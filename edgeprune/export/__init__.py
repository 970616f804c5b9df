"""Export: a network as one .onnx file that is known to give the same answers."""

from __future__ import annotations

from .onnx import Exported, layer_of, write
from .parity import Parity, Real

__all__ = ["Exported", "Parity", "Real", "layer_of", "write"]
