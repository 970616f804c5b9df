"""A 64-bit Arm machine in an emulator (qemu-user): does a network load there, and compute the same?

Its times say nothing about a real board (some 450 times slower, and unlike it in what is slow), so they
are never shown as speed. ``deploy/arm64.sh`` makes the folder that it lives in.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ...errors import EdgepruneError
from ...fetch import home
from ..protocol import Request
from .base import Lines, deploy_path
from .cpu import Cpu

MODEL = "cortex-a72"  # of a Raspberry Pi 4


class Arm64(Cpu):
    """The runner itself runs here, natively; only the sessions' processes are emulated."""

    emulated = True

    def __init__(self, name: str = "arm64") -> None:
        if name != "arm64":
            raise EdgepruneError(f"unknown device {name!r}", "the emulated machine is called arm64")
        absent = missing(name)
        if absent:
            raise EdgepruneError("device arm64", *absent)

    def command(self) -> list[str]:
        """How an emulated Python is started."""
        root, site = folder() / "root", folder() / "site"
        emulator = _emulator()
        assert emulator is not None
        python = root / "usr/bin/python3"
        return ["env", f"PYTHONPATH={site}", emulator, "-cpu", MODEL, "-L", str(root), str(python)]

    def run(
        self, request: Request, models: Sequence[str], accuracy: str | None, on_line: Lines
    ) -> None:
        brief = replace(request, rounds=1, passes=1, seconds=0.0, samples=1)  # a run takes seconds
        self._extra = ["--python", shlex.join(self.command())]
        super().run(brief, models, accuracy, on_line)


def folder() -> Path:
    return home() / "arm64"


def _emulator() -> str | None:
    names = ("qemu-aarch64-static", "qemu-aarch64")
    return next((path for n in names if (path := shutil.which(n))), None)


def missing(name: str = "arm64") -> tuple[str, str] | None:
    """What is missing and how to get it; None when all is there."""
    if _emulator() is None:
        return "qemu-aarch64 is not installed", "apt-get install qemu-user-static"
    if not (folder() / "root/usr/bin/python3").exists() or not (folder() / "site").is_dir():
        return f"no emulated Python in {folder()}", shlex.join(
            ["sh", str(deploy_path("arm64.sh")), str(folder())]
        )
    return None
