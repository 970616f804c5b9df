"""Export: a network as one .onnx file that is known to give the same answers."""

from __future__ import annotations

from ..callable import called_as
from .onnx import Card, Exported, is_image, layer_of, write
from .parity import Batch, Parity, Real
from .word import of_module

__all__ = [
    "Batch",
    "Card",
    "Exported",
    "Parity",
    "Real",
    "is_image",
    "layer_of",
    "of_module",
    "write",
]

called_as(__name__, of_module)  # from edgeprune import export; export(model, "net.onnx", loader)
