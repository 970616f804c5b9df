"""A network that is cut while it trains: the best epoch is one after the last cut."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from tiny_training import CONVENTION, RECIPE, dataset, network
from torch import nn

from edgeprune.train import Cutter, fit, loop
from edgeprune.train.step import Judged


class Once(Cutter):
    """Hands over a copy of the network when half of the training is done."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.shares, self.copy = model, list[float](), None

    def words(self) -> Any:
        return {"done": self.copy is not None}

    def cut(self, share: float, optimizer: torch.optim.Optimizer) -> nn.Module | None:
        self.shares.append(share)
        if self.copy is not None or share < 0.5:
            return None
        self.copy = copy.deepcopy(self.model)
        new = dict(zip(self.model.parameters(), self.copy.parameters(), strict=True))
        for group in optimizer.param_groups:
            group["params"] = [new[p] for p in group["params"]]
        return self.copy


def test_an_epoch_before_the_cut_is_never_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    """Epochs 1 and 2 are the most accurate, but of a network that is there no more."""
    played = iter([0.9, 0.8, 0.5, 0.6])
    monkeypatch.setattr(loop, "judge", lambda *_: Judged(next(played), 1.0, 100))
    model = network()
    cutter = Once(model)
    before = [p.detach().clone() for p in model.parameters()]
    done = fit(model, dataset(32), CONVENTION, RECIPE.but(epochs=4), cutter=cutter)
    assert [r.validation_accuracy for r in done.epochs] == [0.9, 0.8, 0.5, 0.6]
    assert done.best.epoch == 4
    assert cutter.shares == [0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875]  # before each step
    assert cutter.copy is not None
    pairs = zip(before, model.parameters(), cutter.copy.parameters(), strict=True)
    assert all(not torch.equal(a, b) and not torch.equal(b, c) for a, b, c in pairs)
