"""This machine: a temporary folder and a process."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from ...errors import EdgepruneError
from ..protocol import Request
from ..scratch import Scratch
from .base import Lines, python, runner_path, stream, words


class Cpu:
    emulated = False
    _extra: Sequence[str] = ()  # more words for the runner

    def __init__(self, name: str = "cpu") -> None:
        if name != "cpu":
            raise EdgepruneError(f"unknown device {name!r}", "this machine is called cpu")

    def __enter__(self) -> Self:
        self._scratch = Scratch()
        self.folder = self._scratch.path
        try:
            shutil.copyfile(runner_path(), self.folder / "runner.py")
        except BaseException:
            self._scratch.remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._scratch.remove()

    def push(self, files: Mapping[str, Path]) -> None:
        for name, path in files.items():
            target = self.folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)

    def run(
        self, request: Request, models: Sequence[str], accuracy: str | None, on_line: Lines
    ) -> None:
        arguments = words(request, models, accuracy)
        command = [python(), "runner.py", *self._extra, *arguments]
        ended = stream(command, on_line, cwd=self.folder)
        if ended.code not in (0, 2):  # at 2 the runner's last line says why
            raise EdgepruneError(
                f"the runner ended with code {ended.code}",
                ended.said,
                "run it once more; edgeprune devices says what is missing for the device",
            )

    def pull(self, name: str, to: Path) -> None:
        shutil.copyfile(self.folder / name, to)
