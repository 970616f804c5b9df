"""What happens in a run is shown live and written into its history."""

from __future__ import annotations

import math
from dataclasses import replace

from .. import records, train
from ..runs import Run, now
from ..train import Progress


class Watch(train.Watch):
    """Hears also what ways tell; does nothing unless overridden."""

    def on_progress(self, what: str, done: int, of: int, left: float = math.nan) -> None:
        """``what`` is ``done`` of ``of`` parts on; all of it takes ``left`` seconds more (NaN: unknown)."""

    def on_step(self, record: records.Step, layer: str | None) -> None:
        """A pruning step is over; ``record`` is its line in the history, ``layer`` as people read it."""


class Recorder(Watch):
    """Passes everything on to ``watch`` and appends each epoch to the run's history."""

    def __init__(
        self, run: Run, watch: Watch, network: str, phase: str, step: int | None = None
    ) -> None:
        self.run, self.watch = run, watch
        self.network, self.phase, self.step = network, phase, step

    def on_start(self, epochs: int, done: int, seconds: float) -> None:
        self.watch.on_start(epochs, done, seconds)

    def on_batch(self, now: Progress) -> None:
        self.watch.on_batch(now)

    def on_epoch(self, record: records.Epoch) -> None:
        self.run.append(
            replace(record, network=self.network, phase=self.phase, step=self.step, time=now())
        )
        self.watch.on_epoch(record)

    def note(self, text: str) -> None:
        self.watch.note(text)
