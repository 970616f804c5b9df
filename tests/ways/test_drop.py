"""How far a network may go that is to lose few answers: every decision, counted by hand."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
import torch
from torch import nn

from edgeprune import prices
from edgeprune.errors import EdgepruneError
from edgeprune.models import Convention
from edgeprune.ways import drop
from edgeprune.ways.drop import Tried
from edgeprune.ways.examples import Photos
from edgeprune.ways.post_training import Settings, post_training


def test_the_examples_of_the_search() -> None:
    assert doctest.testmod(drop).failed == 0


def test_the_far_end_of_the_interval_counts() -> None:
    """Wilson's interval of 95 of 100 reaches down to 0.888; of 16 of 16 to 0.806."""
    assert drop.lost(0.95, 100) == pytest.approx(1 - 0.8882, abs=1e-4)
    assert drop.lost(1.0, 16) == pytest.approx(0.1936, abs=1e-4)
    assert drop.fewest(19.4) == 16
    assert drop.fewest(1.0) == 381
    with pytest.raises(EdgepruneError, match="give 5,000,000 images or more"):
        drop.check(1e-320, 1000)


@pytest.mark.parametrize(("points", "images", "said"), [
    (0.0, 500, "above 0"), (100.0, 500, "below 100"), (5.0, 40, "show no less than 8.8 points"),
    (1.0, 380, "give 1,905 images or more"),
])  # fmt: skip
def test_what_held_out_images_cannot_show_is_refused(points: float, images: int, said: str) -> None:
    with pytest.raises(EdgepruneError, match=said):
        drop.check(points, images)


def test_the_search_halves_between_too_much_and_few_enough() -> None:
    def loses(share: float) -> float:
        return 0.08 * (1 - share) / 0.5  # 5 points at 0.6875

    tried: list[Tried] = []
    while (share := drop.next_share(tried, 5, 0.1)) is not None:
        tried.append(Tried(share, loses(share)))
    assert [t.share for t in tried] == pytest.approx(
        [0.75, 0.425, 0.5875, 0.66875, 0.709375, 0.6890625]
    )
    assert drop.best(tried, 5) == 5
    assert drop.best(tried[:2], 5) == 0
    assert drop.best(tried[1:2], 5) is None


def test_it_ends_near_the_least_that_there_is() -> None:
    assert drop.next_share([Tried(0.75, 0.0)], 5, 0.74) is None
    assert drop.next_share([], 5, 0.9) == 0.9


class Colours(nn.Module):
    """The class is the brightest colour; sixteen channels say the same."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 32, 1), nn.Linear(32, 3)
        with torch.no_grad():
            self.a.weight[:, :, 0, 0] = torch.eye(3).repeat(11, 1)[:32]
            self.a.bias.zero_()
            self.b.weight.copy_(torch.eye(3).repeat(1, 11)[:, :32])
            self.b.bias.zero_()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.b(self.a(x).relu().mean((2, 3)))
        return y


def photos(n: int) -> Photos:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 100, (n, 8, 8, 3)).astype(np.uint8)
    pixels[np.arange(n), :, :, np.arange(n) % 3] += 120
    return Photos(pixels, Convention(8))


def test_the_smallest_network_within_the_loss() -> None:
    """A network of three channels answers as that of thirty-two does: it goes far below the first try."""
    torch.manual_seed(0)
    model = Colours().eval()
    done = post_training(model, photos(400), Settings(), within=6.0)
    assert done.forecast.agreement == 1.0
    assert done.plan.promised["flops"] / done.plan.dense["flops"] < 0.4


def test_both_are_asked_together() -> None:
    torch.manual_seed(0)
    model = Colours().eval()
    half = Settings(target=prices.Target("flops", 0.5))
    done = post_training(model, photos(400), half, within=6.0)
    assert done.plan.reached()["flops"] == pytest.approx(0.5, abs=0.05)
    hard = Settings(
        target=prices.Target("flops", 0.06), floor=0.01, compensate="none", score="random"
    )
    with pytest.raises(EdgepruneError, match="is met, and up to"):
        post_training(model, photos(400), hard, within=6.0)
