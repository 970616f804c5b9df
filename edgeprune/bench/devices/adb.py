"""An Android phone on a cable or over the network, through the system's own adb.

``adb``            the only phone that is attached
``adb:SERIAL``     that one; ``adb:HOST:PORT`` is connected to first

Where the phone has a Python with onnxruntime (Termux), the runner runs there as on any board. Elsewhere
its browser opens the page of ``browser``, over ``adb reverse``: then the page comes from localhost, so
it is isolated and gets threads and the fine clock. The variable ``EDGEPRUNE_ADB`` may name another adb.
"""

from __future__ import annotations

import os
import shlex
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from ...errors import EdgepruneError
from ..protocol import Request
from . import browser
from .base import Device, Ended, Lines, stream
from .shell import Shell, q
from .ssh import plain

FORM = "write adb, adb:SERIAL or adb:HOST:PORT"
STATES = {  # as `adb devices` lists a phone -> what to do
    "unauthorized": "allow this computer in the dialogue on the phone's screen",
    "offline": "unplug it and plug it in again, or adb reconnect",
    "no permissions": "see adb's udev rules: apt-get install android-sdk-platform-tools-common",
    "recovery": "start the phone normally",
    "bootloader": "start the phone normally",
}
# Where a Python may be, and as whom: the shell's user, or Termux's where that app may be debugged.
TERMUX = "/data/data/com.termux/files/usr/bin/python3"
USERS = (("", ("python3", TERMUX)), ("run-as com.termux ", (TERMUX,)))
LOOK = 4.0  # seconds between two looks whether the phone is still there


class Adb:
    """What it is on this phone, a shell or a browser, turns out on entering."""

    emulated = False

    def __init__(self, name: str = "adb") -> None:
        self.name, self.serial = name, name.partition(":")[2]
        if name.partition(":")[0] != "adb" or (":" in name and not plain(self.serial)):
            raise EdgepruneError(f"unknown device {name!r}", FORM)
        absent = missing(name)
        if absent:
            raise EdgepruneError(f"device {name}", *absent)

    def __enter__(self) -> Self:
        self.serial = _attached(self.name, self.serial)
        self.inside = self._inside()
        self.inside.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.inside.__exit__(kind, e, trace)

    def push(self, files: Mapping[str, Path]) -> None:
        self.inside.push(files)

    def run(
        self, request: Request, models: Sequence[str], accuracy: str | None, on_line: Lines
    ) -> None:
        self.inside.run(request, models, accuracy, on_line)

    def pull(self, name: str, to: Path) -> None:
        self.inside.pull(name, to)

    def _inside(self) -> Device:
        for user, pythons in USERS:
            shell = AdbShell(self.name, self.serial, user)
            for python in pythons:
                if shell.call(f"{q(python)} -c 'import numpy, onnxruntime'").code == 0:
                    shell.python = q(python)
                    return shell
        return browser.Browser(self.name, self._open)

    @contextmanager
    def _open(self, url: str) -> Iterator[Callable[[], str | None]]:
        """The phone's own browser, whose localhost is this machine's for as long as it lasts."""
        shell = AdbShell(self.name, self.serial, "")
        port = f"tcp:{urlsplit(url).port}"
        ended = stream([*shell.adb, "reverse", port, port])
        if ended.code:
            raise EdgepruneError(
                f"{self.name}: adb reverse failed", ended.said, "Android 5 or later"
            )
        looked = time.monotonic()

        def gone() -> str | None:
            nonlocal looked
            if time.monotonic() - looked < LOOK:
                return None
            looked = time.monotonic()
            return None if shell.there() else "the phone is no longer attached"

        try:
            opened: list[str] = []
            ended = shell.call(
                f"am start -a android.intent.action.VIEW -d {q(url)} 2>&1", opened.append
            )
            said = " ".join("".join(opened).split())
            if ended.code or "Error" in said:
                raise EdgepruneError(
                    f"{self.name}: no browser opened", said or ended.said,
                    "install Chrome or Firefox, or Termux with Python: pkg install python-onnxruntime",
                )  # fmt: skip
            yield gone
        finally:
            stream([*shell.adb, "reverse", "--remove", port])


class AdbShell(Shell):
    """``user``: words before ``sh``, to run as somebody else."""

    # A phone has no /tmp; the second is for the shell's user, the third for an app's.
    places = ('"${TMPDIR:-/nowhere}"', "/data/local/tmp", '"$PWD"')

    def __init__(self, name: str, serial: str, user: str) -> None:
        self.name, self.user = name, user
        self.adb = [*_command(), "-s", serial]

    def call(
        self, script: str, on_line: Lines = lambda line: None, give: Path | None = None
    ) -> Ended:
        # adb joins its words with spaces for the phone's shell, so there is one word: the script.
        said = f"{self.user}sh -c {q(script)}" if self.user else script
        ended = stream([*self.adb, "shell", "-T", said], on_line, give=give)
        # adb's own failures have the exit code of a script that failed: look whether it is there.
        if ended.code and not self.there():
            raise EdgepruneError(
                f"{self.name} not reached",
                ended.said or "connection lost",
                "is it still plugged in?",
            )
        return ended

    def there(self) -> bool:
        lines: list[str] = []
        ended = stream([*self.adb, "get-state"], lines.append)
        return ended.code == 0 and "".join(lines).strip() == "device"


def _attached(name: str, serial: str) -> str:
    """The serial of the phone that is meant, attached and ready."""
    if ":" in serial:
        # adb connect ends with 0 even when it was refused: only its words tell
        lines: list[str] = []
        ended = stream([*_command(), "connect", serial], lines.append)
        said = " ".join("".join(lines).split()) or ended.said
        if ended.code or "connected to" not in said or "failed" in said or "cannot" in said:
            raise EdgepruneError(
                f"{name} not reached", said, "switch on debugging over the network: adb tcpip 5555"
            )
    lines = []
    ended = stream([*_command(), "devices"], lines.append)
    if ended.code:
        raise EdgepruneError("adb devices", ended.said, "adb kill-server, then once more")
    rows = [line.rstrip("\n").partition("\t") for line in lines if "\t" in line]
    states = {found: state.strip() for found, _, state in rows}
    if not states:
        raise EdgepruneError(
            f"{name}: no phone is attached", "", "plug it in, and switch on USB debugging on it"
        )
    if not serial and len(states) > 1:
        raise EdgepruneError(
            f"{name}: {len(states)} phones are attached", "", f"say which: adb:{next(iter(states))}"
        )
    serial = serial or next(iter(states))
    if serial not in states:
        raise EdgepruneError(
            f"{name}: no such phone",
            f"attached: {', '.join(states)}",
            "edgeprune devices shows which can be reached",
        )
    if states[serial] != "device":
        hint = next((h for state, h in STATES.items() if states[serial].startswith(state)), "")
        raise EdgepruneError(f"{name}: the phone is {states[serial]}", "", hint)
    return serial


def _command() -> list[str]:
    return shlex.split(os.environ.get("EDGEPRUNE_ADB", "adb"))


def missing(name: str = "adb") -> tuple[str, str] | None:
    """What is missing here and how to get it; None when all is there."""
    if shutil.which(_command()[0]) is None:
        return "no adb", "apt-get install adb"
    return None
