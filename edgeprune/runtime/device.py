"""What is known of a device since its probe, one file each in the home folder's ``devices/``."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .. import fetch, files
from ..errors import EdgepruneError
from .predictor import Model

FORMAT = 1


@dataclass(frozen=True)
class Error:
    """Share by which predictions missed, on networks that were left out of the fit."""

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

    def to_json(self) -> dict[str, Any]:
        return {"format": FORMAT, **asdict(self), "model": self.model.to_json()}

    def sentence(self) -> str:
        """How far to trust a prediction."""
        return (
            f"on {self.error.networks} networks it had not seen off by "
            f"{100 * self.error.median:.1f} % (median), {100 * self.error.worst:.1f} % at worst"
        )


def kept(device: str = "cpu") -> Device | None:
    """What is known of ``device``; None where it was never probed (this machine: with this runtime)."""
    path = profile_path(device)
    return load(path) if path.is_file() else None


def profile_path(device: str = "cpu") -> Path:
    """``devices/NAME.json`` in the home folder; of this machine: its processor and onnxruntime."""
    from importlib import metadata

    own = f"{cpu()} ort {metadata.version('onnxruntime')}" if device == "cpu" else device
    words = re.sub(r"[^A-Za-z0-9.]+", "-", own).strip("-")
    return fetch.home() / "devices" / f"{words.lower()[:120]}.json"


def load(path: Path) -> Device:
    value = files.read_json(path)
    try:
        if value["format"] != FORMAT:
            raise KeyError
        return Device(
            value["cpu"], value["onnxruntime"], Model.from_json(value["model"]),
            Error(**value["error"]), value["created"],
        )  # fmt: skip
    except (KeyError, TypeError, ValueError):
        raise EdgepruneError(
            str(path), "not a device's profile of this version", "delete it"
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
