"""The commands: each translates words into a recipe and calls one function. Imports no torch."""

import os

# Both must stand before the libraries that read them are imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # idle OpenMP threads leave shared cores to others

from .app import main

__all__ = ["main"]
