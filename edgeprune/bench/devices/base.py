"""A device: a place to push files to, to run the runner in, and to pull files from."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from ...errors import EdgepruneError
from ..protocol import Request

Lines = Callable[[str], None]


class Device(Protocol):
    """Entering makes an empty folder on the device; leaving removes it, whatever happened."""

    emulated: bool  # its times are not those of any real machine

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


def deploy_path(name: str) -> Path:
    """A file of ``deploy/``: in the wheel it lies in this package, in a checkout beside it."""
    package = Path(__file__).resolve().parents[2]
    for folder in (package / "_deploy", package.parent / "deploy"):
        if (folder / name).is_file():
            return folder / name
    raise EdgepruneError(f"deploy/{name}", "not found", "install edgeprune again")


def runner_path() -> Path:
    return deploy_path("runner.py")


def words(request: Request, models: Sequence[str], accuracy: str | None) -> list[str]:
    """The runner's arguments. Models come after ``--`` last: a name may begin with a dash."""
    given = ["--accuracy", accuracy] if accuracy else []
    return [*request.arguments(), *given, "--stream", "--", *models]


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code, and the end of its stderr on one line."""

    code: int
    said: str


def stream(
    command: Sequence[str],
    on_line: Lines = lambda line: None,
    *,
    cwd: Path | None = None,
    give: Path | None = None,
) -> Ended:
    """Run ``command``, with ``give`` as its stdin, and hand on its stdout line by line.

    The process is ended when this is left by an exception, Ctrl-C included.
    """
    environment = {**os.environ, "ORT_DISABLE_TELEMETRY": "1"}
    with tempfile.TemporaryFile() as noise, open(give or os.devnull, "rb") as given:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=environment,
            stdin=given,
            stdout=subprocess.PIPE,
            stderr=noise,
            text=True,
            errors="replace",
        )
        assert process.stdout is not None
        try:
            for line in process.stdout:
                on_line(line)
        except BaseException:
            process.terminate()
            raise
        finally:
            process.stdout.close()
            code = process.wait()
        noise.seek(0)
        return Ended(code, " ".join(noise.read().decode(errors="replace").split())[-300:])


def python() -> str:
    """The interpreter for sessions on this machine."""
    return sys.executable or "python3"
