"""Training as a person follows it: live bars in a terminal, a line now and then in a log (stderr)."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bars

from .. import units
from ..errors import one_line
from ..records import Epoch, Step
from ..train import Progress
from ..ways import Watch
from . import output

LONGEST = 34  # characters of what a bar is of; the bar and the forecast need their place
LINE_EVERY = 15.0  # seconds between two lines where stderr is no terminal


@contextmanager
def watch(stream: TextIO | None = None) -> Iterator[Terminal]:
    """A watch for one command: ``with progress.watch() as watch: ways.dense(..., watch)``."""
    terminal = Terminal(stream or sys.stderr)
    with terminal.bars:
        yield terminal


class Terminal(Watch):
    """Bars while something runs, and a line for what is worth keeping; in a log only lines."""

    def __init__(self, stream: TextIO) -> None:
        console = Console(file=stream, highlight=False)
        self.live = console.is_terminal
        self.bars = Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[words]}", markup=False),
            console=console,
            transient=True,  # the lines stay
            redirect_stdout=False,  # rich would send a result that goes to a file to the terminal
            disable=not self.live or output.Loud.quiet,
        )
        self._task = self.bars.add_task("", total=1, words="", visible=False)
        self._last_line = 0.0
        self._phase = Phase()

    def on_start(self, epochs: int, done: int, seconds: float) -> None:
        many = "epoch" if epochs == 1 else "epochs"
        self._line(f"training: {epochs} {many} at most{_left(seconds)}")

    def on_batch(self, now: Progress) -> None:
        self._bar(
            f"epoch {now.epoch}/{now.epochs}",
            now.batch,
            now.batches,
            f"loss {now.loss:.3f}{_left(now.left)}",
        )

    def on_epoch(self, record: Epoch) -> None:
        self._line(
            f"epoch {record.epoch}/{record.epochs}: "
            f"loss {record.train_loss:.3f}, "
            f"validation {units.percent(record.validation_accuracy)}, lr {record.lr:.1e}, "
            f"{units.duration(record.seconds)}"
        )

    def on_progress(self, what: str, done: int, of: int, left: float = math.nan) -> None:
        if math.isnan(left):  # whoever works knows no better than how fast it went until now
            left = self._phase.left(done, of, time.monotonic())
        known = not math.isnan(left) and done < of
        words = f"about {units.duration(max(left, 1.0))} left" if known else ""
        self._bar(what, done, of, words)

    def on_step(self, record: Step, layer: str | None) -> None:
        if layer is None or record.layer is None:  # a round over all layers
            what = f"round {record.step}:"
        else:
            width = record.widths[record.layer]
            before = width + len(record.removed)
            what = f"step {record.step}: {layer} {before} -> {width} filters,"
        size = f"{units.count(record.params)} parameters, {units.count(record.flops)} FLOPs"
        verdict = "" if record.kept else ": taken back"
        shares = (record.before, record.accuracy, record.baseline)
        accuracy = ""
        if None not in shares:
            cut, retrained, dense = (units.percent(share or 0.0) for share in shares)
            accuracy = f", validation {cut} cut, {retrained} retrained (dense {dense})"
        self._line(f"{what} {size}{accuracy}{verdict}")

    def note(self, text: str) -> None:
        self._line(text)

    def end(self) -> None:
        """The work is done: no bar stands where the result is printed."""
        if self.live and not output.Loud.quiet:  # in a log rich would print an empty line
            self.bars.stop()

    def _bar(self, what: str, done: int, of: int, words: str) -> None:
        if output.Loud.quiet:
            return
        if self.live:
            said = what if len(what) <= LONGEST else f"…{what[1 - LONGEST :]}"
            self.bars.update(
                self._task, description=said, completed=done, total=of, words=words, visible=True
            )
        elif time.monotonic() - self._last_line >= LINE_EVERY:
            self._line(f"{what}, {done}/{of}{': ' if words else ''}{words}")

    def _line(self, text: str) -> None:
        if output.Loud.quiet:
            return
        self.bars.console.print(one_line(output.stamped(text)), markup=False, soft_wrap=True)
        self._last_line = time.monotonic()


class Phase:
    """What is counted from 0 to ``of``: the seconds left at the pace until now."""

    def __init__(self) -> None:
        self._of, self._done = 0, 0
        self._first, self._begun = 0, 0.0  # what was done when the phase was first heard of

    def left(self, done: int, of: int, now: float) -> float:
        """NaN while nothing is known: at the first call of a phase, and in its first second."""
        if of != self._of or done < self._done:
            self._of, self._first, self._begun = of, done, now
        self._done = done
        gone, passed = done - self._first, now - self._begun
        return math.nan if gone < 1 or passed < 1 else passed / gone * (of - done)


def _left(seconds: float) -> str:
    return "" if math.isnan(seconds) else f", {units.duration(max(seconds, 1.0))} left at most"
