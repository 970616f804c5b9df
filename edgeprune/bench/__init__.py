"""Measurement: raw samples from a device, one statistics, one result file."""

from __future__ import annotations

from .blocks import channel_block
from .measure import Images, images_of, measure
from .protocol import Request, Result, load

__all__ = ["Images", "Request", "Result", "channel_block", "images_of", "load", "measure"]
