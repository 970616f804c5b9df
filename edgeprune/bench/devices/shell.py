"""A device with a POSIX shell on the other side: all that ssh and adb have in common.

A device of this kind only says how a script gets there (:meth:`Shell.call`). Files go through the
script's stdin. Words for the other side's shell are quoted; the only names sent there are our own and
those of a model's external data.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from ...errors import EdgepruneError
from ..protocol import Request
from .base import Ended, Lines, runner_path, words

q = shlex.quote
VENV = ".edgeprune"  # in the user's folder there: its own packages, where the system's are closed
PYTHON = (
    f'$( [ -x "$HOME/{VENV}/bin/python" ] && echo "$HOME/{VENV}/bin/python" '
    "|| command -v python3 || command -v python )"
)
NEEDED = "numpy onnxruntime"


class Shell:
    """Enters with a fresh folder and the runner in it; leaves with the folder gone."""

    emulated = False
    name = ""
    places: Sequence[str] = ('"${TMPDIR:-/tmp}"',)  # where the folder may be, in the shell's words
    python = PYTHON  # in the shell's words
    chosen = ""  # as the user wrote it, where that was done

    def call(
        self, script: str, on_line: Lines = lambda line: None, give: Path | None = None
    ) -> Ended:
        """Run ``script`` there, with ``give`` as its stdin. Raises where the device is not reached."""
        raise NotImplementedError

    def connect(self) -> None:
        """Whatever must stand before the first call."""

    def disconnect(self) -> None:
        """The opposite; it must not raise."""

    def __enter__(self) -> Self:
        self.folder = ""
        try:
            self.connect()
            self._check_python()
            self.folder = self._make_folder()
            self.push({"runner.py": runner_path()})
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    def push(self, files: Mapping[str, Path]) -> None:
        for name, path in files.items():
            there = f"{self.folder}/{name}"
            script = f"mkdir -p {q(os.path.dirname(there))} && cat > {q(there)}"
            ended = self.call(script, give=path)
            if ended.code:
                raise EdgepruneError(
                    f"cannot copy {path.name} to {self.name}",
                    ended.said,
                    "is there room on the device, and is it still connected?",
                )

    def run(
        self, request: Request, models: Sequence[str], accuracy: str | None, on_line: Lines
    ) -> None:
        arguments = " ".join(map(q, words(request, models, accuracy)))
        # The shell waits: if the connection is cut the runner fails at its next line, and then nobody
        # else is there to tidy up.
        script = (
            f"cd {q(self.folder)} || exit; python={self.python} || exit 127; "
            f'ORT_DISABLE_TELEMETRY=1 "$python" runner.py {arguments}; code=$?; '
            f'case "$code" in 0|2) ;; *) rm -rf {q(self.folder)} ;; esac; exit "$code"'
        )
        ended = self.call(script, on_line)
        if ended.code not in (0, 2):
            raise EdgepruneError(
                f"{self.name}: the runner ended with code {ended.code}",
                ended.said,
                "run it once more; edgeprune devices says what is missing for the device",
            )

    def pull(self, name: str, to: Path) -> None:
        lines: list[str] = []
        ended = self.call(f"cat {q(f'{self.folder}/{name}')}", lines.append)
        if ended.code:
            raise EdgepruneError(
                f"cannot fetch {name} from {self.name}",
                ended.said,
                "is the device still connected? run it once more",
            )
        to.write_text("".join(lines))

    def use(self, python: str) -> None:
        """Another interpreter than the one that is found there."""
        home, slash, rest = python.partition("/")
        self.python = f'"$HOME"/{q(rest)}' if home == "~" and slash else q(python)
        self.chosen = python

    def _check_python(self) -> None:
        """Refuse before anything is copied where the packages are missing, with a recipe that works.

        Debian and its children close the system's packages to pip (PEP 668): a venv is open anywhere.
        """
        imports = f"import {', '.join(NEEDED.split())}"
        ended = self.call(
            f'python={self.python}; command -v "$python" > /dev/null || exit 127; '
            f'ORT_DISABLE_TELEMETRY=1 "$python" -c {q(imports)}'
        )
        if not ended.code:
            return
        named = self.chosen or "python3"
        if ended.code == 127:
            raise EdgepruneError(
                f"{self.name} has no {named}", ended.said, "install Python 3.9 or later there"
            )
        recipe = f"python3 -m venv ~/{VENV} && ~/{VENV}/bin/python -m pip install {NEEDED}"
        if self.chosen:
            recipe = f"{self.chosen} -m pip install {NEEDED}"
        raise EdgepruneError(
            f"{self.name}: {named} there cannot {imports}", ended.said, f"type there: {recipe}"
        )

    def _make_folder(self) -> str:
        lines: list[str] = []
        tries = " || ".join(f"mktemp -d {place}/edgeprune-XXXXXX" for place in self.places)
        ended = self.call(tries, lines.append)
        folder = lines[-1].strip() if lines else ""
        if ended.code or not folder.startswith("/"):
            raise EdgepruneError(
                f"{self.name}: no temporary folder",
                ended.said or folder,
                "make room on the device, or let its user write to /tmp",
            )
        return folder

    def _leave(self) -> None:
        with suppress(EdgepruneError):
            if self.folder:
                self.call(f"rm -rf {q(self.folder)}")
        self.disconnect()
