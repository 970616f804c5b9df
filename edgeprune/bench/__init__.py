"""Measurement: raw samples from a device, one statistics, one result file."""

from __future__ import annotations

from .measure import Images, images_of, measure
from .protocol import Request, Result, load

__all__ = ["Images", "Request", "Result", "images_of", "load", "measure"]
