"""The places where a model can be measured; :func:`connect` finds one by its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ...errors import EdgepruneError, closest
from . import arm64, browser, cpu, ssh
from .base import Device

__all__ = ["DEVICES", "Device", "Kind", "connect"]


class Kind(NamedTuple):
    """A kind of device: how it is made from its name, and what it needs on this machine."""

    make: Callable[[str], Device]
    form: str  # how its name is written
    what: str
    missing: Callable[[], tuple[str, str] | None]  # (what is missing, how to get it)


# what stands before the first colon of a device's name -> its kind
DEVICES: dict[str, Kind] = {
    "cpu": Kind(cpu.Cpu, "cpu", "this machine", lambda: None),
    "ssh": Kind(ssh.Ssh, "ssh://user@host", "a board, phone or server", ssh.missing),
    "browser": Kind(
        browser.Browser, "browser[:headless|:lan]", "onnxruntime-web in a browser", browser.missing
    ),
    "arm64": Kind(arm64.Arm64, "arm64", "64-bit Arm, emulated: no times", arm64.missing),
}


def connect(name: str) -> Device:
    """The device of that name, not yet entered; :class:`EdgepruneError` lists what there is."""
    kind = name.partition(":")[0]
    if kind not in DEVICES:
        raise EdgepruneError(f"unknown device {name!r}", closest(kind, list(DEVICES)))
    return DEVICES[kind].make(name)
