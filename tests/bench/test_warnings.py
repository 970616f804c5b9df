"""Each warning on a measurement that deserves it, and none on a good one."""

from __future__ import annotations

import copy
from typing import Any

from edgeprune import records
from edgeprune.bench.warnings import warnings

NETWORK = records.plain(
    records.Judged(
        name="dense", latency=records.Latency(clock="wall", samples=100), unswitched_share=0.9
    )
)
WEATHER = {"time": 0.0, "load": [3.9, 1, 1], "steal_ticks": 0, "throttled": 0}
SESSION = records.plain(records.Session()) | {"pass": 0}
GOOD: dict[str, Any] = {
    "runner": 1,
    "models": [
        {"bytes": 1, "sha256": "", "accuracy": None, "sessions": [dict(SESSION) for _ in range(3)]}
    ],
    "options": {"threads": 1, "samples": 64, "limit": 60.0},
    "environment": {"onnxruntime": "none", "cpu": {"name": None, "cores": 2}},
    "before": WEATHER,
    "after": WEATHER | {"time": 10.0},
    "stopped": "enough",
}


def seen(change: Any) -> list[str]:
    network, measured = copy.deepcopy(NETWORK), copy.deepcopy(GOOD)
    change(network, measured)
    typed = records.value(measured, records.Measured, "measured")
    return [w.seen for w in warnings([records.value(network, records.Judged, "network")], typed)]


def test_nothing_on_a_good_one() -> None:
    assert seen(lambda n, m: None) == []


def test_each() -> None:
    def contended(n: Any, m: Any) -> None:
        n.update(contended=True, unswitched_share=0.24)

    def throttled(n: Any, m: Any) -> None:
        m["after"]["throttled"] = 3

    def stolen(n: Any, m: Any) -> None:
        m["after"]["steal_ticks"] = 100  # a second of ten

    def short(n: Any, m: Any) -> None:
        m["stopped"], n["latency"]["samples"] = "limit", 12

    def random(n: Any, m: Any) -> None:
        m["models"][0]["sessions"][0].update(worst_difference=0.1, differing_runs=7)

    def unstable(n: Any, m: Any) -> None:
        m["models"][0]["sessions"] = [SESSION | {"stable": False}] * 3

    def unseen(n: Any, m: Any) -> None:
        n["unswitched_share"] = None

    def fewer(n: Any, m: Any) -> None:
        m["options"] |= {"threads_asked": 4, "threads": 1}

    def unheeded(n: Any, m: Any) -> None:
        m["options"] |= {"cores": [1], "max_temperature": 40}
        m["environment"]["provider"] = "wasm"

    def heeded(n: Any, m: Any) -> None:
        m["options"] |= {"cores": [1], "max_temperature": 40}
        m["before"]["temperatures"] = {"zone0": 30.0}

    assert seen(unheeded) == ["the cores to run on and the highest temperature could not be heeded"]
    assert seen(heeded) == []
    assert seen(unseen) == ["whether runs were interrupted is not known"]
    assert seen(fewer) == ["4 threads were asked for, 1 ran"]
    assert seen(contended) == [
        "contended: share of runs that kept their core: dense 24 %, load 3.9 on 2 cores"
    ]
    assert seen(throttled) == ["the processor was throttled while it was measured"]
    assert seen(stolen) == ["the host of this virtual machine took 10 % of a core away"]
    assert seen(short) == ["stopped after 12 usable runs, 64 were wanted"]
    assert seen(random) == ["dense: 7 timed runs gave another answer (by 0.1 of the scale)"]
    assert seen(unstable) == ["dense: run times had not settled when warm-up ended"]


def test_where_each_begins() -> None:
    """Just below nothing is said, just above it is."""

    def unsettled(n: Any, m: Any, of: tuple[bool, ...]) -> None:
        m["models"][0]["sessions"] = [SESSION | {"stable": stable} for stable in of]

    def other(n: Any, m: Any, by: float) -> None:
        m["models"][0]["sessions"][1].update(worst_difference=by, differing_runs=1)

    def stolen(n: Any, m: Any, ticks: int) -> None:  # of 10 ms, in 10 s
        m["after"]["steal_ticks"] = ticks

    def limit(n: Any, m: Any, samples: int) -> None:
        m["stopped"], n["latency"]["samples"] = "limit", samples

    for change, quiet, loud in (
        (unsettled, (False, True), (False, False, True)),  # half of them may, not more
        (other, 1e-4, 1.1e-4),
        (stolen, 49, 50),
        (limit, 64, 63),
    ):
        assert seen(lambda n, m, c=change, v=quiet: c(n, m, v)) == []
        assert len(seen(lambda n, m, c=change, v=loud: c(n, m, v))) == 1


def test_8_bits_that_are_slower_than_their_float_network() -> None:
    def told(**medians: float) -> list[records.Warning]:
        networks = [
            records.Judged(
                name=name.replace("_", "-"), unswitched_share=0.9, int8="int8" in name,
                latency=records.Latency(clock="wall", samples=100, median_s=median),
            )
            for name, median in medians.items()
        ]  # fmt: skip
        models = GOOD["models"] * len(networks)
        measured = records.value(GOOD | {"models": models}, records.Measured, "measured")
        return warnings(networks, measured)

    assert told(dense=2.0, pruned=1.0, dense_int8=1.9, pruned_int8=0.9) == []
    (found,) = told(dense=2.0, pruned=1.0, dense_int8=1.0, pruned_int8=1.5)
    assert found.seen == "pruned-int8 is 1.50x slower than pruned"
    assert "pruned-int8.onnx" in found.next
    assert told(dense=2.0, pruned_int8=3.0) == []  # its float network was not measured
