"""The places where a model can be measured; :func:`reach` finds one by its name or its profile's."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ...errors import EdgepruneError, closest
from . import adb, arm64, browser, cpu, profiles, ssh
from .base import Device

__all__ = ["DEVICES", "Device", "Kind", "connect", "reach"]

Missing = Callable[[str], tuple[str, str] | None]


class Kind(NamedTuple):
    """A kind of device: how it is made from its name, and what it needs on this machine."""

    make: Callable[[str], Device]
    what: dict[str, str]  # how its names are written -> what that is
    missing: Missing  # name -> (what is missing, how to get it), or None


# what stands before the first colon of a device's name -> its kind
DEVICES: dict[str, Kind] = {
    "cpu": Kind(cpu.Cpu, {"cpu": "this machine"}, lambda name: None),
    "ssh": Kind(ssh.Ssh, {"ssh://user@host": "a board, phone or server"}, ssh.missing),
    "adb": Kind(adb.Adb, {"adb[:serial]": "an Android phone"}, adb.missing),
    "browser": Kind(
        browser.Browser,
        {
            "browser": "onnxruntime-web in a browser here",
            "browser:headless": "the same, without a window",
            "browser:lan": "the same, on another device nearby",
        },
        browser.missing,
    ),
    "arm64": Kind(arm64.Arm64, {"arm64": "64-bit Arm, emulated: no times"}, arm64.missing),
}


def forms(kind: str) -> tuple[str, ...]:
    """How the names of a kind's devices are written; empty for an unknown kind."""
    return tuple(DEVICES[kind].what) if kind in DEVICES else ()


def reach(device: str, python: str | None = None) -> Device:
    """The device of that name or of that profile, not yet entered.

    ``python`` is the interpreter there (``~/`` is the user's folder there), by default the profile's.
    """
    profile = profiles.find(device)
    place = connect(profile.transport if profile else device)
    python = python or (profile.python if profile else None)
    if python is not None:
        if not isinstance(place, ssh.Ssh):
            raise EdgepruneError(
                f"--python {python}", f"{device} is not reached over ssh", "leave it away"
            )
        place.use(python)
    return place


def connect(name: str) -> Device:
    """The device of that name, not yet entered; :class:`EdgepruneError` lists what there is."""
    kind = name.partition(":")[0]
    if kind not in DEVICES:
        known = [*DEVICES, *profiles.paths()]
        raise EdgepruneError(
            f"unknown device {name!r}", closest(name, known), "edgeprune devices lists them"
        )
    return DEVICES[kind].make(name)
