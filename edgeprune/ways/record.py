"""What happens in a run is shown live and written into its history."""

from __future__ import annotations

from typing import Any

from .. import train
from ..runs import Run, now
from ..train import EpochRecord, Progress


class Watch(train.Watch):
    """Hears also what ways tell; does nothing unless overridden."""

    def on_progress(self, what: str, done: int, of: int) -> None:
        """``what`` is ``done`` of ``of`` parts on."""

    def on_step(self, record: dict[str, Any]) -> None:
        """A pruning step is over; ``record`` is its line in ``history.jsonl``."""


class Recorder(Watch):
    """Passes everything on to ``watch`` and appends each epoch to the run's history."""

    def __init__(
        self, run: Run, watch: Watch, network: str, phase: str, step: int | None = None
    ) -> None:
        self.run, self.watch = run, watch
        self.head: dict[str, Any] = {"network": network, "phase": phase, "step": step}

    def on_start(self, epochs: int, done: int, seconds: float) -> None:
        self.watch.on_start(epochs, done, seconds)

    def on_batch(self, now: Progress) -> None:
        self.watch.on_batch(now)

    def on_epoch(self, record: EpochRecord) -> None:
        self.run.append(kind="epoch", **self.head, **record.to_json(), time=now())
        self.watch.on_epoch(record)

    def note(self, text: str) -> None:
        self.watch.note(text)
