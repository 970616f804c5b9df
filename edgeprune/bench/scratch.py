"""Temporary folders that nobody has to tidy up by hand.

Leaving removes a folder, by an exception too. A process that is killed outright leaves its own behind; the
next one removes it. Which are dead is told by a lock on the folder itself, which the system lets go when
its process ends, however that was: unlike a process id it is not given to somebody else, and it holds
across containers that share a /tmp.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

PREFIX = "edgeprune-bench-"
FRESH = 60.0  # seconds in which a folder may not be locked yet


class Scratch:
    """``with Scratch() as path``: a fresh folder in ``parent``, by default the system's."""

    def __init__(self, parent: Path | None = None) -> None:
        parent = parent or Path(tempfile.gettempdir())
        for left in parent.glob(f"{PREFIX}*"):
            _remove_if_dead(left)
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        self._held = _lock(self.path)

    def __enter__(self) -> Path:
        return self.path

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        _let_go(self._held)
        self._held = None


def short_place() -> Path:
    """The system's temporary folder, or /tmp where its path is too long for sockets inside it.

    Their names may have 104 letters at most; ssh and Chromium need some 80 of them.
    """
    found = Path(tempfile.gettempdir())
    return Path("/tmp") if len(str(found)) > 20 and Path("/tmp").is_dir() else found


def _remove_if_dead(folder: Path) -> None:
    """Remove another process's folder: ours to remove, not fresh, and locked by nobody."""
    with suppress(OSError):
        seen = folder.lstat()
        mine = not hasattr(os, "getuid") or seen.st_uid == os.getuid()
        if folder.is_symlink() or not mine or time.time() - seen.st_mtime < FRESH:
            return
        held = _lock(folder)
        if held is not None:
            shutil.rmtree(folder, ignore_errors=True)
            _let_go(held)


def _lock(folder: Path) -> int | None:
    """A handle that locks ``folder`` while this process lives; None where that cannot be had."""
    try:
        import fcntl
    except ImportError:  # Windows: then nothing is ever taken for dead
        return None
    held = None
    try:
        held = os.open(folder, os.O_RDONLY)  # not inherited by the processes that are started
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return held
    except OSError:
        _let_go(held)
        return None


def _let_go(held: int | None) -> None:
    if held is not None:
        with suppress(OSError):
            os.close(held)
