"""The commands: each translates words into a recipe and calls one function. Imports no torch."""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # must stand before any import of onnxruntime

from .app import main

__all__ = ["main"]
