"""Each case must be explained right. What runs comes from the real runtime; times are set by the test."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgeprune.doctor.findings import Case, Finding, Said, findings, questions
from edgeprune.runtime import Prediction
from edgeprune.runtime.layout import Layer, Network, Other, asked
from edgeprune.runtime.roofline import Peaks, bound

from . import networks

MIB = 2**20
PEAKS = Peaks(
    flops=250e9, int8=1000e9, weights=((MIB, 90e9), (64 * MIB, 20e9)), maps=((MIB, 100e9), (64 * MIB, 40e9)),
    call=2e-6,
)  # fmt: skip
L2 = [
    {"level": 2, "kind": "Unified", "bytes": MIB},
    {"level": 3, "kind": "Unified", "bytes": 32 * MIB},
]


def case(network: Network, gain: float = 0.5) -> Case:
    """``network`` with times of 100 us a layer; at the widths of the grid layers take 1 - ``gain``."""
    layers = tuple(replace(x, seconds=1e-4, moving=1e-5 * x.moves) for x in network.layers)
    others = tuple(replace(o, seconds=1e-6) for o in network.others)
    network = replace(network, layers=layers, others=others, seconds=1.05e-4 * len(layers))
    what_if = {
        asked(x, i, o): 1.0 if (i, o) == (x.width_in, x.width_out) else 1 - gain
        for x, i, o in questions(network)
    }
    return Case(network, PEAKS, {x.name: bound(x, network, PEAKS) for x in layers}, what_if, L2)


def one(found: list[Finding], kind: str) -> Finding:
    mine = [f for f in found if f.kind == kind]
    assert len(mine) == 1, found
    return mine[0]


def test_depthwise_of_odd_width(run: dict[str, Network]) -> None:
    f = one(findings(case(run["dw 63"])), "depthwise off layout")
    assert f.width == 64
    assert f.layers == ("dw", "pw")
    assert "63 is no multiple of 4" in f.cause
    # half of stem, dw and pw, and the reorder
    assert f.seconds == pytest.approx(3 * 0.5e-4 + 1e-5, rel=0.05)


def test_64_to_63(run: dict[str, Network]) -> None:
    f = one(findings(case(run["63"])), "off layout")
    assert (f.width, f.layers) == (64, ("last",))
    assert "64 filters instead of 63 in middle" in f.next


@pytest.mark.parametrize("healthy", ["64", "dw 64", "E 192", "int8 64"])
def test_healthy_networks_are_not_off_layout(run: dict[str, Network], healthy: str) -> None:
    kinds = {f.kind for f in findings(case(run[healthy]))}
    assert not kinds & {
        "off layout",
        "depthwise off layout",
        "padding",
        "int8 width",
        "grouped off layout",
    }


def test_residual_expansion_191(run: dict[str, Network]) -> None:
    f = one(findings(case(run["E 191"])), "depthwise off layout")
    assert f.width == 192
    assert set(f.layers) == {"dw", "project"}
    assert "in expand" in f.next


def test_stem_of_21_filters(run: dict[str, Network]) -> None:
    found = findings(case(run["MobileNet-A"]))
    f = one(found, "depthwise off layout")
    assert f.width == 24
    assert set(f.layers) == {"features.1.dw.conv", "features.1.pw.conv"}
    assert "24 filters instead of 21 in features.0.conv" in f.next
    assert run["MobileNet-A"]["features.0.conv"].layout == "blocked"  # the stem itself is not slow
    again = {f.kind for f in findings(case(run["MobileNet-A, stem 24"]))}
    assert "depthwise off layout" not in again


@pytest.mark.parametrize(("name", "kind"), [("63", "off layout"), ("dw 63", "depthwise off layout"),
                                            ("60", "padding"), ("int8 63", "int8 width")])  # fmt: skip
def test_a_loss_is_not_sold_as_a_gain(run: dict[str, Network], name: str, kind: str) -> None:
    f = one(findings(case(run[name], gain=-0.1)), kind)
    assert f.seconds == 0
    assert "ms" not in f.next
    assert f.width == 64  # upwards: a narrower one wins nothing


def test_padding_says_what_is_free(run: dict[str, Network]) -> None:
    f = one(findings(case(run["60"])), "padding")
    assert "60 channels are computed as 64" in f.seen
    assert "4 more filters in middle are free" in f.next


def test_int8_of_odd_width(run: dict[str, Network]) -> None:
    f = one(findings(case(run["int8 63"])), "int8 width")
    assert f.width == 64
    assert set(f.layers) == {"stem", "dw", "pw"}
    assert "depthwise kernel steps at multiples of 16" in f.cause
    assert "back" not in one(findings(case(run["int8 63"], gain=-0.1)), "int8 width").next


def test_grouped_and_variable(run: dict[str, Network]) -> None:
    assert one(findings(case(run["grouped"])), "grouped off layout").layers == ("grouped",)
    f = one(findings(case(run["variable"])), "variable weights")
    assert f.layers == ("middle", "last") or f.layers == ("first", "middle", "last")


def vgg(widths: tuple[int, ...], name: str) -> Case:
    """Every layer takes exactly its roofline's time."""
    layers = networks.vgg_layers(widths)

    def made(layers: tuple[Layer, ...]) -> Network:
        size = sum(x.weight_bytes for x in layers) // 4
        return Network(name, layers, (), (), sum(x.seconds for x in layers), size, 16)

    network = made(layers)
    timed = tuple(
        replace(x, seconds=bound(replace(x, seconds=1), network, PEAKS).attainable) for x in layers
    )
    network = made(timed)
    return Case(network, PEAKS, {x.name: bound(x, network, PEAKS) for x in timed}, {}, L2)


def test_vgg16_a_beats_its_promise() -> None:
    dense, pruned = vgg(networks.VGG16, "dense"), vgg(networks.VGG16_A, "pruned")
    by = {name: b.by for name, b in dense.bounds.items()}
    assert [by[f"conv{i}"] for i in (11, 12, 13)] == ["weights"] * 3
    assert by["conv2"] == "arithmetic"
    f = findings(pruned, dense)[0]
    assert f.kind == "more than promised"
    assert {"conv11", "conv12", "conv13"} <= set(f.layers)
    assert "bound by reading weights" in f.cause


def test_a_network_outside_the_caches() -> None:
    f = one(findings(vgg(networks.VGG16, "dense")), "outside the caches")
    assert "56." in f.seen  # MiB of weights
    assert "main memory" in f.seen
    small = vgg(tuple(w // 8 for w in networks.VGG16), "small")
    assert "outside the caches" not in {f.kind for f in findings(small)}


def test_most_expensive_first(run: dict[str, Network]) -> None:
    costs = [f.seconds for f in findings(case(run["MobileNet-A"]))]
    assert costs == sorted(costs, reverse=True)


def test_less_than_promised_names_who_is_behind(run: dict[str, Network]) -> None:
    pruned, dense = case(run["dw 63"]), case(run["dw 64"])
    f = findings(pruned, dense)[0]
    assert f.kind == "promise"
    assert f.seconds > 0 or "nothing to mend" in f.next


def test_8_bits_beside_the_float_network_that_they_came_from(run: dict[str, Network]) -> None:
    eight, parent = case(run["int8 64"]), case(run["dw 64"])

    def taking(share: float) -> Case:
        seconds = share * parent.network.seconds
        return replace(eight, network=replace(eight.network, seconds=seconds))

    f = findings(taking(1.5), parent)[0]
    assert f.kind == "int8 slower"
    assert f.seen.startswith("1.50x slower than ")
    assert "8 bits do not pay here" in f.next
    assert f.seconds == pytest.approx(0.5 * parent.network.seconds)
    layers = eight.network.layers
    assert f"{sum(x.layout == 'int8' for x in layers)} of {len(layers)} layers run in" in f.cause
    fast = findings(taking(0.5), parent)[0]
    assert (fast.kind, fast.seconds) == ("int8", 0)
    assert fast.seen.startswith("2.00x faster than ")
    assert findings(eight, eight)[0].kind == "promise"  # both in 8 bits


def foretold(taking: dict[str, float], others: tuple[Other, ...] = ()) -> Case:
    """Four convolutions, predicted 1 ms each and 0.2 ms beside them; ``taking`` says what some took."""
    found = vgg(networks.VGG16[:4], "n")
    layers = tuple(replace(x, seconds=taking.get(x.name, 1e-3)) for x in found.network.layers)
    seconds = sum(x.seconds for x in layers) + sum(o.seconds for o in others)
    network = replace(found.network, layers=layers, others=others, seconds=seconds)
    said = Said(
        Prediction((1e-3,) * 4, 4.2e-3),
        ("", "128 filters, the probe met 8 to 64", "", ""),
        0.03,
        0.3,
    )
    return replace(found, network=network, said=said)


POOL = Other("pool", "MaxPool", 1e-4, "conv2")


def test_which_parts_are_not_as_predicted() -> None:
    """The oracle: one layer takes twice its time, and sigmoids that nobody predicted take a millisecond."""
    sigmoids = tuple(Other(f"s{i}", "Sigmoid", 5e-4, "conv3") for i in range(2))
    f = one(findings(foretold({"conv2": 2e-3}, (*sigmoids, POOL))), "not as predicted")
    assert f.layers == ("conv2",)
    assert "6.1 ms, predicted 4.2 ms: off by 45 %" in f.seen
    assert "conv2 took 2 ms, predicted 1 ms (128 filters, the probe met 8 to 64)" in f.cause
    assert "2 x Sigmoid took 1 ms, predicted 0.182 ms (not probed by itself)" in f.cause
    assert "conv1" not in f.cause
    assert "MaxPool" not in f.cause
    assert f.seconds == pytest.approx(1.9e-3)
    faster = one(findings(foretold({"conv1": 2e-4, "conv2": 1.1e-3}, (POOL,))), "not as predicted")
    assert faster.layers == ("conv1",)  # what is slower does not explain it
    assert faster.seconds == 0


@pytest.mark.parametrize(
    ("share", "told"), [(1.08, False), (1.10, True), (0.92, False), (0.90, True)]
)
def test_a_time_within_the_predictors_own_error_is_not_told(share: float, told: bool) -> None:
    """Three medians of 3 % are nine."""
    taking = {f"conv{i}": (4.2e-3 * share - 1e-4) / 4 for i in range(1, 5)}
    f = findings(foretold(taking, (POOL,)))
    assert ("not as predicted" in {x.kind for x in f}) == told
    near = foretold(taking, (POOL,))
    assert near.said is not None
    exact = replace(near, said=replace(near.said, worst=0.01))  # never misses by more
    assert "not as predicted" in {x.kind for x in findings(exact)}
    assert "not as predicted" not in {x.kind for x in findings(replace(near, said=None))}


def test_reorders_are_told_with_the_layers_that_read_them() -> None:
    found = foretold({"conv3": 1.7e-3}, (Other("r", "ReorderInput", 3e-4, "conv2"), POOL))
    layers = tuple(
        replace(x, moves=1, moving=3e-4) if x.name == "conv3" else x for x in found.network.layers
    )
    f = one(
        findings(replace(found, network=replace(found.network, layers=layers))), "not as predicted"
    )
    assert f.cause == "conv3 took 2 ms, predicted 1 ms"
