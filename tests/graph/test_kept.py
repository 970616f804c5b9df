"""What stays of a tensor, whatever its size."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from edgeprune.graph import kept, trace
from edgeprune.prune import cut, masked


@pytest.mark.parametrize("rows", [0, 1, 7, 300])
@pytest.mark.parametrize(("shape", "axis"), [((300, 40), 1), ((300, 9, 5), 2), ((300, 6, 3, 2), 1)])
def test_rows_and_columns_at_once_are_one_after_the_other(
    shape: tuple[int, ...], axis: int, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "BLOCK", 500)
    value = torch.arange(torch.Size(shape).numel()).reshape(shape)
    some, index = torch.randperm(300)[:rows], torch.tensor([1, 3, 4])
    whole = value.index_select(0, some).index_select(axis, index)
    assert torch.equal(kept._rows_and(value, some, axis, index), whole)


def test_large_layers_are_cut_as_small_ones_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "BLOCK", 10)
    taken: list[Tensor] = []
    real = kept._rows_and
    monkeypatch.setattr(kept, "_rows_and", lambda v, *a: taken.append(v) or real(v, *a))
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 6, 3),
        nn.Flatten(),
        nn.Linear(6 * 16, 5),
    )
    net = net.double().eval()
    graph = trace(net, torch.randn(2, 3, 8, 8, dtype=torch.float64))
    keep = {"0": [0, 2, 5], "2": [1, 4]}
    x = torch.randn(3, 3, 8, 8, dtype=torch.float64)
    small = cut(net, graph, keep)
    assert len(taken) == 1  # the second convolution
    torch.testing.assert_close(small(x), masked(graph, keep)(x), rtol=1e-12, atol=1e-12)
