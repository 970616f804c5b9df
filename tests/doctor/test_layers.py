"""The rules of layout against what the real runtime wrote into its optimised graph."""

from __future__ import annotations

import pytest

from edgeprune.bench import subject
from edgeprune.doctor.layers import _widths
from edgeprune.doctor.synthetic import Builder
from edgeprune.runtime.layout import Network, Width, laid_out, padded

from . import networks
from .conftest import MADE


@pytest.mark.parametrize("name", [n for n in MADE if not n.startswith(("int8", "variable"))])
def test_layout_as_the_rules_say(run: dict[str, Network], name: str) -> None:
    network = run[name]
    for layer in network.layers:
        expected = laid_out(
            layer.kind, layer.width_in, layer.width_out, layer.groups, network.block
        )
        assert (layer.layout == "blocked") == expected, layer


def test_every_layer_is_found_and_timed(run: dict[str, Network]) -> None:
    for name, network in run.items():
        counted = [n for n in MADE[name].graph.node if n.op_type in ("Conv", "Gemm")]
        assert len(network.layers) == len(counted), name
        assert all(layer.seconds > 0 for layer in network.layers), name
        assert network.seconds > 0


def test_padding_is_that_of_the_next_block(run: dict[str, Network]) -> None:
    network = run["60"]
    assert padded("conv", 64, 60, 1, network.block) == (64, 64)
    assert network["middle"].padding == pytest.approx(1 - 60 / 64)
    assert network["last"].padding == pytest.approx(1 - 60 / 64)
    assert run["64"]["middle"].padding == 0


def test_activations_run_inside_the_layer(run: dict[str, Network]) -> None:
    for name in ("64", "63", "dw 64", "int8 64"):
        assert all(layer.fused == ("Relu",) for layer in run[name].layers), name


def test_int8_layers_are_told_apart(run: dict[str, Network]) -> None:
    assert {layer.layout for layer in run["int8 63"].layers} == {"int8"}
    assert run["int8 63"]["dw"].kind == "depthwise"
    assert run["int8 63"]["pw"].weight_bytes == 63 * 64


def test_reorders_stand_with_the_layer_that_reads_them(run: dict[str, Network]) -> None:
    assert run["63"]["last"].moves == 1
    assert all(layer.moves == 0 for layer in run["64"].layers)


def test_widths_join_what_is_one_number(run: dict[str, Network]) -> None:
    widths = {w.channels: w for w in run["E 191"].widths}
    assert widths[191] == Width(191, ("expand",), ("dw",), ("project",))
    assert set(widths[32].producers) == {"stem", "project"}  # tied by the sum
    assert set(widths[32].consumers) == {"expand", "head"}


def test_what_a_network_answers_with_is_no_width(run: dict[str, Network]) -> None:
    """Nobody rounds the number of classes, and nobody the depthwise maps that come out."""
    assert {w.channels for w in run["MobileNet-A"].widths} == set(networks.MOBILENET_A)
    assert [w.producers for w in run["63"].widths] == [("first",), ("middle",)]
    b = Builder()
    x = b.conv("stem", b.input("x", (1, 3, 8, 8)), 3, 20)
    x = b.conv("head", x, 20, 13)
    b.output(b.op("Sigmoid", "answer", [b.conv("dw", x, 13, 13, groups=13)]))
    model = b.model()
    widths = _widths(model, subject.weighted(model, batch=1) or (), 1)
    assert [(w.channels, w.producers) for w in widths] == [(20, ("stem",))]


def test_nodes_without_names_are_layers_too(run: dict[str, Network]) -> None:
    assert [layer.kind for layer in run["unnamed"].layers] == ["conv", "depthwise", "conv"]
    assert len({layer.name for layer in run["unnamed"].layers}) == 3


def test_weights_among_the_inputs_are_seen(run: dict[str, Network]) -> None:
    assert run["variable"].variable == ("first", "middle", "last")
    assert run["64"].variable == ()
