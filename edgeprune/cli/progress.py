"""Training as a person follows it: live bars in a terminal, a line now and then in a log (stderr)."""

from __future__ import annotations

import math
import sys
import time
from types import TracebackType
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bars

from .. import units
from ..train.watch import EpochRecord, Progress, Watch

LINE_EVERY = 15.0  # seconds between two lines where stderr is no terminal


class Terminal(Watch):
    """A watch for stderr; ``with Terminal("Training dense") as watch: fit(..., watch=watch)``.

    One may follow many trainings, one after the other: `stage` says which one is next.
    """

    def __init__(self, title: str = "Training", stream: TextIO | None = None) -> None:
        self.title = title
        self._console = Console(file=stream or sys.stderr, highlight=False)
        self._live = self._console.is_terminal
        self._bars = Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[words]}", markup=False),
            console=self._console,
            transient=True,  # the lines of the epochs stay
            disable=not self._live,
        )
        self._task = self._bars.add_task(title, total=1, words="", visible=False)
        self._last_line = 0.0

    def __enter__(self) -> Terminal:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def stage(self, title: str) -> None:
        """What the next training is for: ``"Step 3: features.28 512 to 480"``."""
        self.title = title

    def on_start(self, epochs: int, done: int, seconds: float) -> None:
        going_on = f" (goes on after epoch {done})" if done else ""
        self._line(f"{self.title}: {epochs} epochs at most{going_on}{_left(seconds)}")
        self._last_line = time.monotonic()

    def on_batch(self, now: Progress) -> None:
        where = f"{self.title}, epoch {now.epoch}/{now.epochs}"
        words = f"loss {now.loss:.3f}{_left(now.left)}"
        if self._live:
            self._bars.update(
                self._task,
                description=where,
                completed=now.batch,
                total=now.batches,
                words=words,
                visible=True,
            )
        elif time.monotonic() - self._last_line >= LINE_EVERY:
            self._line(f"{where}, batch {now.batch}/{now.batches}: {words}")

    def on_epoch(self, record: EpochRecord) -> None:
        self._line(
            f"{self.title}, epoch {record.epoch}/{record.epochs}: "
            f"loss {record.train_loss:.3f}, "
            f"validation {units.percent(record.validation_accuracy)}, lr {record.lr:.1e}, "
            f"{units.duration(record.seconds)}"
        )

    def note(self, text: str) -> None:
        self._line(text)

    def _line(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)
        self._last_line = time.monotonic()


def _left(seconds: float) -> str:
    return "" if math.isnan(seconds) else f", {units.duration(seconds)} left at most"
