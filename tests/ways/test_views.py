"""Post-training's small decisions by hand: views of an image, statistics taken again, the forecast."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from edgeprune import prices
from edgeprune.graph import trace
from edgeprune.models import Convention
from edgeprune.prune.images import Images
from edgeprune.records import Port
from edgeprune.tasks import CLASSIFICATION
from edgeprune.ways.examples import Photos
from edgeprune.ways.post_training import Settings, compared, repair

INPUT = Convention(4, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def test_the_first_view_is_the_middle_and_the_second_its_mirror_image() -> None:
    """Of 6 x 6 pixels, numbered from left to right, the columns 1 to 4."""
    pixels = np.broadcast_to(np.arange(6, dtype=np.uint8)[:, None], (1, 6, 6, 3))
    rng = np.random.default_rng(0)
    first, second = (
        Photos(pixels, INPUT).view(np.arange(1), n, rng)[0, 0, 0] * 255 for n in (0, 1)
    )
    assert first.round().tolist() == [1, 2, 3, 4]
    assert second.round().tolist() == [4, 3, 2, 1]


@pytest.mark.parametrize("compensate", ["none", "mean"])
def test_where_nothing_is_refitted_the_norms_look_again(compensate: str) -> None:
    """Running mean and variance are those of the pruned network's own maps, batch by batch."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 1), nn.ReLU(), nn.Conv2d(6, 4, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2),
    ).double().eval()  # fmt: skip
    xs = [torch.randn(8, 3, 4, 4, dtype=torch.float64) + i for i in range(3)]
    settings = Settings(target=prices.Target("flops", 0.5), score="l1", compensate=compensate)
    small = repair(trace(net, xs[0][:2]), {"0": [0, 2, 5]}, Images(xs), settings)[0].model
    with torch.no_grad():
        maps = [small[:3](x) for x in xs]
    means = torch.stack([m.mean((0, 2, 3)) for m in maps]).mean(0)
    spreads = torch.stack([m.var((0, 2, 3)) for m in maps]).mean(0)
    torch.testing.assert_close(small[3].running_mean, means)
    torch.testing.assert_close(small[3].running_var, spreads)


def test_the_forecast_by_hand() -> None:
    """Variance about the mean (1, 1): 8. The second network is off by 1 and 1/2, or changes its mind."""
    dense = torch.tensor([[2.0, 0], [0, 2], [2, 0], [0, 2]])
    near, other = dense.clone(), dense.clone()
    rows = [(Port("", (2,)), CLASSIFICATION)]
    near[0] = torch.tensor([1.0, 0.5])
    other[0] = torch.tensor([0.0, 1.0])
    found = compared([([dense], [near])], rows)
    assert (found.images, found.agreement) == (4, 1.0)
    assert found.variance_kept == pytest.approx(1 - 1.25 / 8)
    found = compared([([dense], [other])], rows)
    assert found.agreement == 0.75
    assert found.variance_kept == pytest.approx(1 - 5 / 8)
