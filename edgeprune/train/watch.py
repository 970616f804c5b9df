"""What a training tells while it runs, and whom: the words between the loop and a progress bar."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..records import Epoch


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

    def on_epoch(self, record: Epoch) -> None:
        """After each epoch. One that was lost in a kill is told again, with the same numbers."""

    def note(self, text: str) -> None:
        """A sentence for the user."""


class Cutter:
    """Makes the network smaller while it is trained; the loop asks it before each step."""

    def words(self) -> Any:
        """JSON-able: what `take_up` needs; together with the first network it decides all cuts."""
        raise NotImplementedError

    def cut(self, share: float, optimizer: torch.optim.Optimizer) -> nn.Module | None:
        """The smaller network, ``optimizer`` pointed at it, if one is due at ``share`` (0..1)."""
        raise NotImplementedError

    def take_up(self, words: Any, optimizer: torch.optim.Optimizer) -> nn.Module:
        """The network of ``words``, in its shape; the loop fills in the tensors."""
        raise NotImplementedError


SILENT = Watch()
