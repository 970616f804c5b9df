"""The places where a model can be measured; :func:`connect` finds one by its name."""

from __future__ import annotations

from ...errors import EdgepruneError, closest
from .base import Device
from .cpu import Cpu

__all__ = ["Cpu", "Device", "connect"]

DEVICES = {"cpu": Cpu}


def connect(name: str) -> Device:
    """The device of that name, not yet entered; :class:`EdgepruneError` lists what there is."""
    try:
        return DEVICES[name]()
    except KeyError:
        raise EdgepruneError(f"unknown device {name!r}", closest(name, list(DEVICES))) from None
