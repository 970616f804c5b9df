"""How far a network may go that is to lose few answers: every decision, counted by hand."""

from __future__ import annotations

import doctest
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgeprune import prices
from edgeprune.errors import EdgepruneError
from edgeprune.models import Convention
from edgeprune.ways import aim, drop
from edgeprune.ways import post_training as way
from edgeprune.ways.drop import Tried
from edgeprune.ways.examples import Photos
from edgeprune.ways.post_training import Settings, post_training

SIX = drop.Within(6.0)


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


def search(
    loses: Callable[[float], float], points: float = 5, least: float = 0.1, most: float = 1.0
) -> tuple[list[float], float | None]:
    """The shares that are tried, and the one that is taken."""
    tried: list[Tried] = []
    while (share := drop.next_share(tried, points, least, most)) is not None:
        assert least <= share <= most
        tried.append(Tried(share, loses(share)))
        assert len(tried) <= drop.TRIALS
    found = drop.best(tried, points)
    return [t.share for t in tried], None if found is None else tried[found].share


@pytest.mark.parametrize("threshold", [0.15, 0.2, 0.35, 0.5, 0.6875, 0.8, 0.9])
@pytest.mark.parametrize("steep", [1, 2, 4])
def test_where_the_loss_rises_evenly_the_smallest_is_found(threshold: float, steep: int) -> None:
    """5 points at the threshold, less above it and more below."""
    _, found = search(lambda share: 0.05 * ((1 - share) / (1 - threshold)) ** steep)
    assert found is not None
    assert threshold <= found <= 1.06 * threshold


@pytest.mark.parametrize("threshold", [0.3, 0.35, 0.45])
def test_a_larger_network_that_loses_more_hides_no_smaller_one(threshold: float) -> None:
    """Between 0.6 and 0.9 of the price 7 points are lost, further down to the threshold 4: by halving,
    0.9 was found."""

    def loses(share: float) -> float:
        if 0.6 < share < 0.9:
            return 0.07
        return 0.04 if share >= threshold else 0.04 + 2 * (threshold - share)

    _, found = search(loses)
    assert found is not None
    assert threshold - 0.005 <= found <= 1.06 * threshold


def test_nothing_is_looked_for_below_what_loses_far_too_much() -> None:
    """At 0.75 half of the answers are lost, where 5 points may be."""
    shares, found = search(lambda share: 0.0 if share > 0.9 else 0.5)
    assert found is not None
    assert 0.9 < found < 0.95
    assert min(shares) == 0.75


def test_where_no_network_loses_few_enough_none_is_taken() -> None:
    assert search(lambda share: 0.2)[1] is None
    assert search(lambda share: 0.9)[0] == pytest.approx([0.75, 0.866, 0.931, 0.965], abs=1e-3)


def test_it_goes_down_to_the_least_and_from_the_most() -> None:
    assert drop.next_share([Tried(0.75, 0.0)], 5, 0.74) is None
    assert drop.next_share([], 5, 0.9) == 0.9
    assert search(lambda share: 0.0)[1] == pytest.approx(0.1, rel=0.04)
    shares, found = search(lambda share: 0.01 if share < 0.3 else 0.1, most=0.45)
    assert max(shares) == pytest.approx(0.75 * 0.45)
    assert found == pytest.approx(0.1, rel=0.04)


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
    done = post_training(model, photos(400), Settings(), within=SIX)
    assert done.forecast.agreement == 1.0
    assert done.plan.promised["flops"] / done.plan.dense["flops"] < 0.4


def test_both_are_asked_together() -> None:
    torch.manual_seed(0)
    model = Colours().eval()
    half = Settings(target=prices.Target("flops", 0.5))
    done = post_training(model, photos(400), half, within=SIX)
    assert done.plan.reached()["flops"] == pytest.approx(0.5, abs=0.05)
    hard = Settings(
        target=prices.Target("flops", 0.06), floor=0.01, compensate="none", score="random"
    )
    with pytest.raises(EdgepruneError) as e:
        post_training(model, photos(400), hard, within=SIX)
    said = str(e.value)
    assert "--keep-flops 0.06 and --max-drop 6: cannot both be met" in said
    least = float(said.rpartition("or for --keep-flops ")[2])  # what is possible, and it is
    assert 0.06 < least < 1
    kept = replace(hard, target=prices.Target("flops", least))
    done = post_training(model, photos(400), kept, within=SIX)
    assert done.plan.reached()["flops"] == pytest.approx(least, abs=0.03)


def test_a_smaller_network_that_meets_both_is_taken() -> None:
    """At the target another answer comes by chance; right below it none does."""
    torch.manual_seed(0)
    model, seen = Colours().eval(), []
    real = way.lost

    def unlucky(start: Any, done: Any) -> float:
        seen.append(done.plan.reached()["flops"])
        return 50.0 if len(seen) == 1 else real(start, done)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(way, "lost", unlucky)
        half = Settings(target=prices.Target("flops", 0.5))
        done = post_training(model, photos(400), half, within=SIX)
    assert seen[0] == pytest.approx(0.5, abs=0.05)
    assert done.plan.promised["flops"] / done.plan.dense["flops"] < seen[0]


def test_the_fastest_is_looked_for_where_a_device_is_predicted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A millisecond a channel beside 30 of all else: half of the time is out of reach."""
    torch.manual_seed(0)
    place = prices.Place("board")

    class Straight:
        dense = 62.0

        def at(self, widths: Any) -> float:
            return 30.0 + next(iter({"a": 32, **widths}.values()))

    row = prices.Price("ms", "predicted time", str, lambda graph: Straight())
    table = {**prices.PRICES, "ms": row}
    monkeypatch.setattr(aim, "kept", lambda device, threads: device == "board")
    monkeypatch.setattr(aim, "rows", lambda target, visits=(): table)
    within = drop.Within(6.0, place)
    done = post_training(Colours().eval(), photos(400), Settings(), within=within)
    assert done.plan.promised["ms"] == pytest.approx(34, abs=2)  # 4 of 32 channels: the floor
    assert "of the predicted time on board, 1 thread" in done.notes[-1]
    monkeypatch.setattr(aim, "kept", lambda device, threads: None)
    done = post_training(Colours().eval(), photos(400), Settings(), within=within)
    assert "of the FLOPs" in done.notes[-1]
