"""What happens in a run is shown live and written into its history."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ..runs import Run, now
from ..train import EpochRecord, Watch


class Recorder(Watch):
    """Passes everything on to ``watch`` and appends each epoch to the run's history."""

    def __init__(
        self, run: Run, watch: Watch, network: str, phase: str, step: int | None = None
    ) -> None:
        self.run, self.watch = run, watch
        self.head: dict[str, Any] = {"network": network, "phase": phase, "step": step}

    def on_start(self, *args: Any, **more: Any) -> None:
        self.watch.on_start(*args, **more)

    def on_batch(self, *args: Any, **more: Any) -> None:
        self.watch.on_batch(*args, **more)

    def on_epoch(self, record: EpochRecord) -> None:
        self.run.append(kind="epoch", **self.head, **asdict(record), time=now())
        self.watch.on_epoch(record)

    def note(self, text: str) -> None:
        self.watch.note(text)
