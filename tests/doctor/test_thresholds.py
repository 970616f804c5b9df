"""Where each finding begins: a run of one second, times and bounds written down, one step on each side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from edgeprune.doctor import fix
from edgeprune.doctor.findings import Case, Finding, findings
from edgeprune.errors import EdgepruneError
from edgeprune.graph import trace
from edgeprune.runtime.layout import Layer, Network, Other, padded
from edgeprune.runtime.roofline import Bound, Peaks

SLOW, FAST = 10e9, 100e9  # bytes a second, beyond 1 MiB and up to half of it
PEAKS = Peaks(1e12, None, ((2**19, FAST), (2**20, SLOW)), ((1.0, FAST),), call=1e-3)
L2 = ({"level": 2, "kind": "Unified", "bytes": 2**20},)


def layer(name: str, seconds: float, **words: Any) -> Layer:
    usual: dict[str, Any] = {
        "kind": "conv", "width_in": 64, "width_out": 64, "kernel": 3, "stride": 1, "groups": 1,
        "in_shape": (64, 8, 8), "out_shape": (64, 8, 8), "macs": 100, "weight_bytes": 0,
        "map_bytes": 0, "layout": "blocked", "operator": "NCHWc Conv", "padded_macs": 100,
    }  # fmt: skip
    return Layer(name=name, seconds=seconds, **usual | words)


def case(
    *layers: Layer, seconds: float = 1.0, others: Sequence[Other] = (), by: str = "arithmetic",
    name: str = "n",
) -> Case:  # fmt: skip
    """A network that takes ``seconds``, each layer held back ``by`` the same reason."""
    bound = Bound(1e-9, 0.0, 0.0, 1.0, by)
    network = Network(name, layers, tuple(others), (), seconds, 1, 16)
    return Case(network, PEAKS, {x.name: bound for x in layers}, {}, L2)


def kinds(found: Case, dense: Case | None = None) -> list[str]:
    return [f.kind for f in findings(found, dense)]


@pytest.mark.parametrize(("seconds", "told"), [(0.019, False), (0.021, True)])
def test_what_costs_less_than_two_hundredths_is_not_told(seconds: float, told: bool) -> None:
    alone = [Other("relu", "Relu", seconds, "a")]
    assert ("not fused" in kinds(case(layer("a", 0.9), others=alone))) == told


@pytest.mark.parametrize(
    ("share", "work", "told"),
    [
        (0.21, 10, True),  # more than twice its tenth of the arithmetic
        (0.19, 10, False),
        (0.06, 1, True),  # more than a twentieth of the time
        (0.04, 1, False),
    ],
)
def test_depthwise_layers_must_take_more_than_their_share(
    share: float, work: int, told: bool
) -> None:
    slim = layer("dw", share, kind="depthwise", groups=64, macs=work)
    found = kinds(case(slim, layer("pw", 1 - share, macs=100 - work)))
    assert ("bound by maps" in found) == told


@pytest.mark.parametrize(
    ("small", "seconds", "told"),
    [
        (2, 0.019, True),  # two calls of 1 ms are more than a tenth of 19 ms
        (2, 0.021, False),
        (1, 0.005, False),  # one layer is no pattern
    ],
)
def test_overhead_is_a_tenth_of_the_time(small: int, seconds: float, told: bool) -> None:
    layers = [layer(f"l{i}", 2.9e-3) for i in range(small)]
    assert ("overhead" in kinds(case(*layers, seconds=seconds))) == told
    slower = [layer(f"l{i}", 3.1e-3) for i in range(small)]  # more than three calls each
    assert "overhead" not in kinds(case(*slower, seconds=seconds))


@pytest.mark.parametrize(("more", "told"), [(0, False), (4096, True)])
def test_the_near_cache_holds_what_fits(more: int, told: bool) -> None:
    heavy = layer("fc", 1e-3, weight_bytes=2**20 + more)
    assert ("outside the caches" in kinds(case(heavy, seconds=1e-3, by="weights"))) == told


@pytest.mark.parametrize(("width", "told"), [(60, True), (64, False)])
def test_a_pool_stays_blocked_at_whole_blocks(width: int, told: bool) -> None:
    pool = [Other("pool", "MaxPool", 0.05, "a")]
    before = layer("a", 0.9, width_out=width, out_shape=(width, 8, 8))
    assert ("pool off layout" in kinds(case(before, others=pool))) == told


def promised(seconds: float) -> Finding:
    """Half of the arithmetic: twice as fast is promised; the pruned network takes ``seconds`` of 3."""
    dense = case(*(layer(n, 1.0, macs=100) for n in "xyz"), seconds=3.0, by="weights", name="dense")
    scale = (seconds - 0.3) / 1.4
    pruned = case(
        layer("x", 0.9 * scale, macs=50, weight_bytes=1), layer("y", 0.3, macs=50, weight_bytes=1),
        layer("z", 0.5 * scale, macs=50, weight_bytes=1), seconds=seconds,
    )  # fmt: skip
    return findings(pruned, dense)[0]


def test_what_became_of_a_promise() -> None:
    assert promised(3 / 2.2).kind == "more than promised"  # by a tenth
    near = promised(3 / 2.05)
    assert (near.kind, near.next) == ("promise", "nothing to mend here")
    below = promised(3 / 1.92)  # within 5 %
    assert (below.kind, below.next) == ("promise", "nothing to mend here")
    short = promised(3 / 1.75)
    assert short.cause.startswith("furthest behind their share: x, z, y;")
    assert short.seconds == pytest.approx(3 / 1.75 - 1.5)


def test_a_first_layer_reads_what_is_not_padded() -> None:
    assert padded("conv", 3, 60, 1, 16) == (3, 64)
    assert padded("conv", 20, 60, 1, 16) == (32, 64)
    assert padded("conv", 21, 60, 1, 16) == (21, 60)  # off the layout nothing is padded


def test_a_fixed_network_that_answers_otherwise_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a norm over all channels would make it; nothing is written then."""
    net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 2, 1)).eval()
    x = torch.randn(2, 3, 4, 4)
    other = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 2, 1)).eval()
    kept = {name: [0, 1, 2] for name in trace(net, x).groups}
    loaded = SimpleNamespace(model=net, example=x, kept=kept)
    monkeypatch.setattr(fix.checkpoint, "load", lambda run, which: loaded)
    monkeypatch.setattr(fix.checkpoint, "read_spec", lambda run: SimpleNamespace(factored=None))
    monkeypatch.setattr(fix, "refilled", lambda *_: other)
    run = SimpleNamespace(name="r", path=tmp_path / "r")
    with pytest.raises(EdgepruneError, match="it gives other answers"):
        fix.fix(run, 4)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
