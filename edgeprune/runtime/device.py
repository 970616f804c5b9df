"""What is known of a device since its probe, one file each in the home folder's ``devices/``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from .. import fetch, records
from ..errors import EdgepruneError
from .blocks import instructions
from .predictor import Model


@dataclass(frozen=True)
class Error:
    """Share by which predictions missed, on networks that were left out of the fit."""

    __pydantic_config__: ClassVar[Any] = records.FINITE
    median: float
    worst: float
    layer_median: float | None  # None: the layers' own times are not known
    networks: int


@dataclass(frozen=True)
class Device:
    """A device's profile: what it is, what the probe taught, how far off it is."""

    cpu: str  # or the browser's name
    onnxruntime: str
    model: Model
    error: Error
    created: str
    format: Literal[1] = 1
    __pydantic_config__: ClassVar[Any] = records.FINITE

    def sentence(self) -> str:
        """How far to trust a prediction."""
        return (
            f"on {self.error.networks} networks it had not seen off by "
            f"{100 * self.error.median:.1f} % (median), {100 * self.error.worst:.1f} % at worst"
        )


def kept(device: str = "cpu", threads: int = 1) -> Device | None:
    """What is known of ``device``; None where it was never probed (this machine: with this runtime)."""
    path = profile_path(device, threads)
    return load(path) if path.is_file() else None


def profile_path(device: str = "cpu", threads: int = 1) -> Path:
    """``devices/NAME.json`` in the home folder, of 2 threads ``NAME-2t.json``; of this machine: its
    processor, its instruction sets and onnxruntime."""
    from importlib import metadata

    here = f"{cpu()} {instructions()} ort {metadata.version('onnxruntime')}"
    own = here if device == "cpu" else device
    words = re.sub(r"[^A-Za-z0-9.]+", "-", own).strip("-")
    many = f"-{threads}t" if threads > 1 else ""
    return fetch.home() / "devices" / f"{words.lower()[:120]}{many}.json"


def load(path: Path) -> Device:
    """The profile in a file; :class:`EdgepruneError` where it is none of this version."""
    try:
        return records.read(path, Device)
    except EdgepruneError as e:
        raise EdgepruneError(
            str(path), f"not a device's profile of this version ({e.why})", "delete it"
        ) from None


def cpu() -> str:
    """This machine's processor, as it calls itself."""
    for line in _lines("/proc/cpuinfo"):
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Hardware"):
            return value.strip()
    import platform

    return platform.processor() or platform.machine()


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
