"""A device: a place to push files to, to run the runner in, and to pull files from."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from ...errors import EdgepruneError
from ..protocol import Request

Lines = Callable[[str], None]


class Device(Protocol):
    """Entering makes an empty folder on the device; leaving removes it, whatever happened."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def push(self, files: Mapping[str, Path]) -> None:
        """Copy ``files`` (name there -> path here) into the folder."""

    def run(
        self, request: Request, models: Sequence[str], accuracy: str | None, on_line: Lines
    ) -> None:
        """Measure ``models`` (names there). Each line that the runner prints goes to ``on_line``;
        the last one is its document, or its ``{"error"}``."""

    def pull(self, name: str, to: Path) -> None:
        """Copy a file of the folder back."""


def runner_path() -> Path:
    """``deploy/runner.py``: in the wheel beside this package, in a checkout beside ``edgeprune/``."""
    package = Path(__file__).resolve().parents[2]
    for path in (package / "_deploy" / "runner.py", package.parent / "deploy" / "runner.py"):
        if path.is_file():
            return path
    raise EdgepruneError("deploy/runner.py", "not found", "install edgeprune again")


def words(request: Request, models: Sequence[str], accuracy: str | None) -> list[str]:
    """The runner's arguments. Models come after ``--`` last: a name may begin with a dash."""
    given = ["--accuracy", accuracy] if accuracy else []
    return [*request.arguments(), *given, "--stream", "--", *models]


def stream(command: Sequence[str], on_line: Lines, *, cwd: Path | None = None) -> None:
    """Run ``command`` and hand on its stdout line by line. If that is empty, its stderr is the error.

    The process is ended when this is left by an exception, Ctrl-C included.
    """
    environment = {**os.environ, "ORT_DISABLE_TELEMETRY": "1"}
    with tempfile.TemporaryFile() as noise:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=noise,
            text=True,
            errors="replace",
        )
        assert process.stdout is not None
        last = ""
        try:
            for line in process.stdout:
                last = line
                on_line(line)
        except BaseException:
            process.terminate()
            raise
        finally:
            process.stdout.close()
            code = process.wait()
        if not _is_object(last):
            noise.seek(0)
            said = " ".join(noise.read().decode(errors="replace").split())[-300:]
            raise EdgepruneError(f"the runner ended with code {code}", said or "it said nothing")


def _is_object(line: str) -> bool:
    with suppress(ValueError):
        return isinstance(json.loads(line), dict)
    return False


def python() -> str:
    """The interpreter for sessions on this machine."""
    return sys.executable or "python3"
