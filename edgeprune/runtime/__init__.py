"""What onnxruntime does on a device: blocks of channels, layout, roofline, and predicted times."""

from __future__ import annotations

from .blocks import channel_block
from .layout import Layer, Network
from .predictor import Model, Prediction, predict

__all__ = ["Layer", "Model", "Network", "Prediction", "channel_block", "predict"]
