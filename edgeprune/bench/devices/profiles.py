"""Device profiles: how a device is reached, and how it is measured well, under one name.

``NAME.toml`` in ``deploy/devices/`` or, looked at first, in the home folder's ``devices/``::

    label = "Raspberry Pi 4"              # what people read
    transport = "ssh://pi@raspberrypi"    # a device as `edgeprune bench --device` takes it
    python = "~/venv/bin/python"          # over ssh: the interpreter there (default: see ssh.py)
    threads = [1, 4]                      # each is measured (default [1])
    cores = [2, 3]                        # run on these only (default: wherever the system puts it)
    cool_down = 5.0                       # seconds of rest before each fresh process (default 0)
    highest_temperature = 65              # °C; waits until the hottest zone is below (default: none)
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...errors import EdgepruneError
from ...fetch import home
from ..protocol import Request
from .base import deploy_path

MOST_BYTES = 64 << 10
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Profile:
    name: str
    label: str
    transport: str
    python: str | None = None
    threads: tuple[int, ...] = (1,)
    cores: tuple[int, ...] | None = None
    cool_down: float = 0.0
    highest_temperature: float | None = None

    def over(self, request: Request) -> Request:
        """``request`` with what the profile decides of it, threads apart."""
        return replace(
            request, cores=self.cores, cool_down=self.cool_down,
            max_temperature=self.highest_temperature,
        )  # fmt: skip


def _text(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) < 200 and value.isprintable()


def _number(low: float, high: float) -> Callable[[Any], bool]:
    return lambda v: isinstance(v, int | float) and not isinstance(v, bool) and low <= v <= high


def _numbers(low: int, high: int) -> Callable[[Any], bool]:
    def check(value: Any) -> bool:
        if not isinstance(value, list) or not value:
            return False
        return all(type(v) is int and low <= v <= high for v in value) and len(set(value)) == len(
            value
        )

    return check


FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {  # key -> (check, what belongs there)
    "label": (_text, "a line of text"),
    "transport": (_text, "a device as bench --device takes it"),
    "python": (_text, "the path of an interpreter there"),
    "threads": (_numbers(1, 1024), "a list of different counts, such as [1, 4]"),
    "cores": (_numbers(0, 4095), "a list of different core numbers, such as [2, 3]"),
    "cool_down": (_number(0, 600), "seconds, at most 600"),
    "highest_temperature": (_number(1, 120), "degrees Celsius, 1 to 120"),
}


def read(path: Path) -> Profile:
    """The profile in ``path``; :class:`EdgepruneError` names the first thing wrong with it."""
    try:
        raw = path.read_bytes()
        if len(raw) > MOST_BYTES:
            raise ValueError("larger than any profile")
        value = tomllib.loads(raw.decode("utf-8"))
    except (
        OSError,
        ValueError,
        RecursionError,
        OverflowError,
    ) as e:  # TOMLDecodeError: a ValueError
        raise EdgepruneError(
            str(path),
            f"not a device's profile ({e})",
            "edgeprune doctor --probe --device NAME makes it anew",
        ) from None
    known = ", ".join(FIELDS)
    for key in value:
        if key not in FIELDS:
            raise EdgepruneError(str(path), f"unknown {key!r}", f"known: {known}")
    for key, (check, wanted) in FIELDS.items():
        if key not in value and key in ("label", "transport"):
            raise EdgepruneError(str(path), f"no {key!r} in it", f"give it {wanted}")
        if key in value and not check(value[key]):
            raise EdgepruneError(str(path), f"{key} = {value[key]!r}", f"give it {wanted}")
    given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in value.items()}
    return Profile(path.stem, **given)


def paths() -> dict[str, Path]:
    """Name -> file; the home folder's win over those that come with edgeprune."""
    shipped = deploy_path("devices/raspberry-pi-5.toml").parent
    found = {p.stem: p for folder in (shipped, home() / "devices") for p in folder.glob("*.toml")}
    return {name: found[name] for name in sorted(found) if NAME.fullmatch(name)}


def find(device: str) -> Profile | None:
    """The profile of that name, or None where it is no profile's."""
    path = paths().get(device)
    return read(path) if path is not None else None
