"""Beyond least squares: what is fitted, what it is judged by, and what happens when it fails."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeprune.graph import Graph, trace
from edgeprune.prune import blocks, narrow
from edgeprune.prune.images import Images
from tests.nets import build, images

SEEN = Images([images(8, seed) for seed in range(16)])


def pruned_by_half(dense: Graph) -> tuple[dict[str, list[int]], Graph]:
    keep = {n: list(range(max(1, g.width // 2))) for n, g in dense.groups.items()}
    return keep, narrow(dense, keep)


def test_a_block_that_got_worse_is_put_back() -> None:
    """A rate of 100 ruins every block; then least squares alone stands, as with a rate of 0."""
    dense = trace(build("Depthwise"), images(2))
    keep, ruined = pruned_by_half(dense)
    _, still = pruned_by_half(dense)
    report = blocks.blocks(dense, ruined, keep, SEEN, steps=4, lr=100.0)
    blocks.blocks(dense, still, keep, SEEN, steps=4, lr=0.0)
    assert all(b.after == b.before for b in report)
    wanted = still.model.state_dict()
    for name, value in ruined.model.state_dict().items():
        torch.testing.assert_close(value, wanted[name], rtol=0, atol=0)


def test_each_eighth_batch_judges_and_teaches_nothing() -> None:
    fitting, judging = blocks._parts(range(17))
    assert judging == [7, 15]
    assert fitting == [0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14, 16]
    assert blocks._parts(range(3)) == ([0, 1, 2], [0, 1, 2])  # too few to spare one
    two_views = [*range(9), *range(9)]  # the other view of an image that judges does not teach
    assert blocks._parts(two_views)[1] == [7, 16]


def test_the_rate_falls_to_nothing() -> None:
    """Adam's step under a constant gradient is its rate: lr (1 + cos(pi t / 4)) / 2, added up 2.5 lr."""
    w = torch.zeros(1, dtype=torch.float64)
    blocks.descend([w], [lambda: -w.sum() for _ in range(4)], steps=4, lr=0.1)
    assert w.item() == pytest.approx(0.25, rel=1e-6)
    assert not w.requires_grad


class Narrow(nn.Module):
    """One map is alive between ``a`` and ``b``: there the last block begins."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 8, 3), nn.Linear(8, 4)

    def features(self, x: Tensor) -> Tensor:
        return F.relu(self.b(F.relu(self.a(x)))).mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


def first_loss(
    dense: Graph,
    pruned: Graph,
    keep: Any,
    x: Tensor,
    monkeypatch: pytest.MonkeyPatch,
    **words: float,
) -> float:
    """What distillation starts to minimise on ``x``; nothing is trained."""
    found: list[float] = []

    def caught(weights: Any, losses: Iterable[Any], steps: int, lr: float) -> None:
        found.extend(float(loss()) for loss in losses)

    monkeypatch.setattr(blocks, "descend", caught)
    monkeypatch.setattr(blocks, "bfloat16_pays", lambda: False)
    blocks.distil(dense, pruned, keep, [x], steps=1, how=blocks.Distillation(**words))
    (loss,) = found
    return loss


def test_distillation_minimises_answers_and_features(monkeypatch: pytest.MonkeyPatch) -> None:
    """T^2 KL(dense || pruned) of answers softened by T, and the relative error of the last map."""
    torch.manual_seed(0)
    net = Narrow().double().eval()
    with torch.no_grad():
        net.head.weight.mul_(40)
    dense = trace(net, images(2))
    keep = {"a": [0, 2, 3, 5]}
    pruned = narrow(dense, keep)
    small, x = pruned.model, images(8, 7)
    with torch.no_grad():
        p, q = (F.softmax(m(x) / 3, 1) for m in (net, small))
        whole, left = net.features(x), small.features(x)
    kl = float((p * (p / q).log()).sum(1).mean())
    answers = first_loss(dense, pruned, keep, x, monkeypatch, temperature=3.0, feature_share=0.0)
    assert answers == pytest.approx(9 * kl, rel=1e-4)
    both = first_loss(dense, pruned, keep, x, monkeypatch, temperature=3.0, feature_share=2.0)
    error = float((whole - left).square().mean() / whole.var())
    assert both - answers == pytest.approx(2 * error, rel=1e-3)
