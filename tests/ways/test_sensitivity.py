"""Sensitivity: the lowest filters leave first, and the paper's way asks convolutions alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from edgeprune.graph import trace
from edgeprune.train.step import Judged
from edgeprune.ways import paper, sensitivity


def test_the_lowest_scores_leave_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of eight filters an eighth, a quarter, half and three quarters."""
    kept: list[list[int]] = []

    def narrow(graph: Any, keep: dict[str, list[int]]) -> Any:
        kept.append(keep["a"])
        return SimpleNamespace(model=len(keep["a"]))

    monkeypatch.setattr(sensitivity.prune, "narrow", narrow)
    scores = torch.tensor([5.0, 1, 8, 3, 7, 2, 6, 4])
    dense: Any = SimpleNamespace(graph=None)
    found = sensitivity._curve(
        "a", scores, dense, Judged(0.9, 1.0, 50), lambda width: Judged(width / 10, 1.0, 50)
    )
    assert kept == [[0, 2, 3, 4, 5, 6, 7], [0, 2, 3, 4, 6, 7], [0, 2, 4, 6], [2, 4]]
    assert list(found.shares) == [0, 0.125, 0.25, 0.5, 0.75]
    assert list(found.accuracy) == [0.9, 0.7, 0.6, 0.4, 0.2]
    assert (found.baseline, found.images) == (0.9, 50)


def test_the_papers_dense_layers_keep_their_width() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(8, 10), nn.ReLU(), nn.Linear(10, 3),
    ).eval()  # fmt: skip
    graph = trace(net, torch.zeros(2, 3, 8, 8))
    assert list(graph.groups) == ["0", "2", "6"]
    assert paper.convolutions(graph) == ["0", "2"]
