"""The places where a model can be measured; :func:`connect` finds one by its name."""

from __future__ import annotations

from collections.abc import Callable

from ...errors import EdgepruneError, closest
from .base import Device
from .cpu import Cpu
from .ssh import Ssh

__all__ = ["Cpu", "Device", "Ssh", "connect"]

# what stands before the first colon of a device's name -> how it is made from the whole name
DEVICES: dict[str, Callable[[str], Device]] = {"cpu": Cpu, "ssh": Ssh}


def connect(name: str) -> Device:
    """The device of that name, not yet entered; :class:`EdgepruneError` lists what there is."""
    kind = name.partition(":")[0]
    if kind not in DEVICES:
        raise EdgepruneError(f"unknown device {name!r}", closest(kind, list(DEVICES)))
    return DEVICES[kind](name)
