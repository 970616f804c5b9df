"""What a training tells while it runs, and whom: the words between the loop and a progress bar."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class EpochRecord:
    """One epoch as it goes into ``history.jsonl`` (the caller adds network, phase and time)."""

    epoch: int  # 1..epochs
    epochs: int  # at most
    lr: float  # of the epoch's last step
    train_loss: float  # mean over the epoch, as trained (smoothing, teacher)
    validation_loss: float  # cross entropy, no smoothing
    validation_accuracy: float  # share 0..1
    seconds: float  # training and validation

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Progress:
    """Where a training stands between two epochs' ends."""

    epoch: int  # the running one, 1..epochs
    epochs: int
    batch: int  # done in this epoch
    batches: int
    loss: float  # mean over this epoch so far
    left: (
        float  # seconds to the last epoch's end, from what was measured so far; nan: not yet known
    )


class Watch:
    """Hears what happens and does nothing; a progress bar overrides what it wants to hear."""

    def on_start(self, epochs: int, done: int, seconds: float) -> None:
        """``done`` epochs lie behind (resumed); the others take about ``seconds`` (nan: unknown)."""

    def on_batch(self, now: Progress) -> None:
        """Some ten times a second at most."""

    def on_epoch(self, record: EpochRecord) -> None:
        """After each epoch. One that was lost in a kill is told again, with the same numbers."""

    def note(self, text: str) -> None:
        """A sentence for the user."""


SILENT = Watch()
