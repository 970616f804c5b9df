"""What a core can attain, by hand: 100 GFLOP/s, 10 GB/s, for layers of round numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgeprune.runtime.layout import Layer, Network
from edgeprune.runtime.roofline import Peaks, bandwidth, bound

FLAT = Peaks(100e9, 400e9, ((1.0, 10e9),), ((1.0, 10e9),), 1e-6)


def layer(
    macs: float, weights: float, maps: float, seconds: float = 1.0, layout: str = ""
) -> Layer:
    return Layer(
        name="x", kind="conv", width_in=8, width_out=8, kernel=3, stride=1, groups=1,
        in_shape=(8, 4, 4), out_shape=(8, 4, 4), macs=int(macs), weight_bytes=int(weights),
        map_bytes=int(maps), seconds=seconds, layout=layout,
    )  # fmt: skip


def network(*layers: Layer) -> Network:
    return Network("n", layers, (), (), 1.0, 0, 16)


@pytest.mark.parametrize(
    ("made", "by", "attainable", "share"),
    [
        # 2 x 0.5 G / 100 G/s = 10 ms; 10 MB / 10 GB/s = 1 ms
        (layer(0.5e9, 10e6, 10e6, 0.02), "arithmetic", 0.01, 0.5),
        (layer(0.5e9, 200e6, 10e6, 0.04), "weights", 0.02, 0.5),
        (layer(0.5e9, 10e6, 300e6, 0.04), "maps", 0.03, 0.75),
        # a quarter of what is attainable, and less: neither explains the time
        (layer(0.5e9, 0, 0, 0.0399), "arithmetic", 0.01, 0.25),
        (layer(0.5e9, 0, 0, 0.041), "overhead", 0.01, 0.244),
        (layer(0.5e9, 0, 0, 0.005), "arithmetic", 0.01, 1.0),  # faster than that is a lucky clock
        (layer(0.5e9, 0, 0, 0.005, "int8"), "arithmetic", 0.0025, 0.5),  # four times the peak
    ],
)
def test_what_holds_a_layer_back(made: Layer, by: str, attainable: float, share: float) -> None:
    found = bound(made, network(made), FLAT)
    assert found.by == by
    assert found.attainable == pytest.approx(attainable)
    assert found.share == pytest.approx(share, rel=3e-3)


def test_bandwidth_lies_on_a_line_in_the_logarithm() -> None:
    curve = ((1e6, 90.0), (1e8, 10.0))
    sizes = (1.0, 1e6, 1e7, 1e8, 1e12)
    assert [bandwidth(curve, s) for s in sizes] == pytest.approx([90, 90, 50, 10, 10])


def test_weights_come_from_where_all_of_them_lie() -> None:
    """1 MB of weights in a network of 100 MB: all others are read before it is read again."""
    peaks = replace(FLAT, weights=((1e6, 100e9), (1e8, 10e9)), maps=((1e6, 100e9), (1e8, 10e9)))
    small, rest = layer(0, 1e6, 1e6), layer(0, 99e6, 0)
    found = bound(small, network(small, rest), peaks)
    assert found.weights == pytest.approx(1e6 / 10e9)
    assert found.maps == pytest.approx(1e6 / 100e9)  # its own maps were just written
