"""The predictor learns a device that is known exactly: times made by a formula with steps at the grid."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgeprune import records
from edgeprune.doctor import probe
from edgeprune.doctor.layers import counted
from edgeprune.errors import EdgepruneError
from edgeprune.runtime import device, predictor
from edgeprune.runtime.layout import Layer, Network, padded
from edgeprune.runtime.roofline import Peaks

BLOCK = 16
PEAKS = Peaks(200e9, None, ((1e6, 80e9), (6e7, 20e9)), ((1e5, 90e9), (6e7, 30e9)), 2e-6)


def true_seconds(x: Layer) -> float:
    """A machine of its own: efficiency depends on the side and the kind, widths are padded."""
    a, b = padded(x.kind, x.width_in, x.width_out, x.groups, BLOCK)
    macs = math.prod(x.out_shape[1:]) * x.kernel**2 * b * (1 if x.kind == "depthwise" else a)
    off = predictor.way(x, BLOCK).startswith("plain")
    efficiency = (
        (0.9 - 0.3 / x.out_shape[1]) * (0.4 if x.kind == "depthwise" else 1) * (0.3 if off else 1)
    )
    return 3e-6 + 2 * macs / (PEAKS.flops * efficiency) + 4 * x.kernel**2 * a * b / 60e9


def layer(kind: str, a: int, b: int, kernel: int, side: int) -> Layer:
    return Layer(
        name=f"{kind}{a}-{b}", kind=kind, width_in=a, width_out=b, kernel=kernel, stride=1,
        groups=a if kind == "depthwise" else 1, in_shape=(a, side, side), out_shape=(b, side, side),
        macs=0, weight_bytes=0, map_bytes=0,
    )  # fmt: skip


def made(random: np.random.Generator, i: int) -> Network:
    layers, before = [], 32
    for _ in range(12):
        side, to = int(random.choice([4, 7, 14, 28, 56])), int(random.integers(17, 400))
        kind = str(random.choice(["conv", "depthwise"]))
        kernel = 3 if kind == "depthwise" else int(random.choice([1, 3]))
        layers.append(layer(kind, before, before if kind == "depthwise" else to, kernel, side))
        before = layers[-1].width_out
    timed = tuple(replace(x, seconds=true_seconds(x)) for x in layers)
    return Network(f"n{i}", timed, (), (), sum(x.seconds for x in timed) + 5e-6, 0, BLOCK)


@pytest.fixture(scope="module")
def model() -> predictor.Model:
    random = np.random.default_rng(0)
    return predictor.fit([made(random, i) for i in range(20)], PEAKS, BLOCK)


def test_networks_it_never_saw(model: predictor.Model) -> None:
    random = np.random.default_rng(1)
    errors = []
    for i in range(12):
        unseen = made(random, i)
        errors.append(abs(predictor.predict(model, unseen.layers).seconds / unseen.seconds - 1))
    assert np.median(errors) < 0.05
    assert max(errors) < 0.15


def test_it_knows_the_grid(model: predictor.Model) -> None:
    def seconds(width: int) -> float:
        return predictor.predict(model, [layer("conv", 64, width, 3, 14)]).layers[0]

    assert seconds(52) == pytest.approx(seconds(64))
    assert seconds(48) < 0.9 * seconds(64)

    def reader(width: int) -> float:
        return predictor.predict(model, [layer("conv", width, 64, 3, 14)]).layers[0]

    assert reader(63) > 1.5 * reader(64)


def test_reorders_and_the_rest_are_predicted() -> None:
    """63 channels leave the blocks of 16: their 63 x 10 x 10 floats are laid out anew, 25,200 bytes."""
    plain = predictor.Model(BLOCK, PEAKS, {}, (0.0, 0.0), (0.0, 0.0, 0.0))
    first, last = layer("conv", 32, 63, 3, 10), layer("conv", 63, 32, 3, 10)
    assert predictor.moves([first, last], BLOCK) == [4 * 32 * 100, 4 * 63 * 100]
    bare = predictor.predict(plain, [first, last])
    moved = predictor.predict(replace(plain, move=(1e-3, 1e-6)), [first, last])
    more = [b - a for a, b in zip(bare.layers, moved.layers, strict=True)]
    assert more == pytest.approx([1e-3 + 1e-6 * 12_800, 1e-3 + 1e-6 * 25_200])
    assert moved.seconds - bare.seconds == pytest.approx(sum(more))
    assert bare.seconds == pytest.approx(sum(bare.layers))
    rest = predictor.predict(replace(plain, rest=(1e-3, 1e-4, 1e-9)), [first, last])
    maps = 4 * (63 + 32) * 100  # bytes that the two layers write
    assert rest.seconds - bare.seconds == pytest.approx(1e-3 + 2 * 1e-4 + maps * 1e-9)
    assert rest.layers == bare.layers


def test_a_convolution_in_groups_is_not_a_dense_one(model: predictor.Model) -> None:
    """Counted as a convolution of several groups or read off a file: the same price, and a lower one."""
    dense = layer("conv", 256, 256, 3, 28)
    by_graph, by_file = replace(dense, groups=8), replace(dense, groups=8, kind="grouped")
    one, other = (predictor.predict(model, [x]).layers[0] for x in (by_graph, by_file))
    assert one == other
    assert one < 0.4 * predictor.predict(model, [dense]).layers[0]
    off = replace(by_graph, width_in=248, width_out=248, out_shape=(248, 28, 28))  # 31 a group
    assert predictor.way(by_graph, BLOCK) == "blocked grouped"
    assert predictor.way(off, BLOCK) == "plain grouped"


def test_shapes_that_the_probe_never_met_are_said(model: predictor.Model) -> None:
    known = layer("conv", 128, 256, 3, 28)
    wide = layer("conv", 128, 4096, 3, 28)
    large = replace(known, out_shape=(256, 224, 224))
    grouped = replace(known, kind="grouped", groups=8)
    said = predictor.strange(model, [known, wide, large, grouped, layer("norm", 8, 8, 1, 1)])
    assert said[0] == ""
    assert said[1].startswith("4096 filters, the probe met ")
    assert said[2] == "50176 places of its map, the probe met 16 to 3136"
    assert said[3] == "the probe met no blocked grouped layer"
    assert len(said) == 4
    assert predictor.strange(replace(model, processes={}), [wide]) == ("",)


def test_other_kinds_cost_nothing(model: predictor.Model) -> None:
    rows = [layer("norm", 64, 64, 1, 14), layer("conv", 64, 64, 3, 14)]
    assert len(predictor.predict(model, rows).layers) == 1
    assert predictor.predict(model, []).seconds == 0


def test_a_profile_survives_its_file(model: predictor.Model, tmp_path: Path) -> None:
    known = device.Device("a cpu", "1.0", model, device.Error(0.01, 0.02, 0.03, 4), "now")
    path = tmp_path / "device.json"
    path.write_text(json.dumps(records.plain(known)))
    again = device.load(path).model
    rows = made(np.random.default_rng(2), 0).layers
    assert predictor.predict(again, rows) == predictor.predict(model, rows)
    path.write_text('{"format": 99}')
    with pytest.raises(EdgepruneError, match="delete it"):
        device.load(path)


@pytest.mark.parametrize(("part", "odd", "said"), [
    ("peaks", {"flops": 0.0}, "delete it"), ("peaks", {"weights": []}, "delete it"),
    ("peaks", {"maps": [[0.0, 0.0]]}, "delete it"), ("peaks", {"int8": -1.0}, "delete it"),
    (None, {"whole": [1.0]}, "delete it"), (None, {"lines": {"plain kxk": [1.0]}}, "delete it"),
    (None, {"rest": [1e308, 1e308, 1e308]}, "predicts inf s"), (None, {"rest": [-1e9, 0, 0]}, "predicts -"),
])  # fmt: skip
def test_a_profile_of_no_device_is_refused(
    model: predictor.Model, part: str | None, odd: dict[str, object], said: str, tmp_path: Path
) -> None:
    known = device.Device("a cpu", "1.0", model, device.Error(0.01, 0.02, 0.03, 4), "now")
    told = json.loads(json.dumps(records.plain(known)))
    (told["model"] if part is None else told["model"][part]).update(odd)
    path = tmp_path / "device.json"
    path.write_text(json.dumps(told))
    with pytest.raises(EdgepruneError, match=said):
        predictor.predict(device.load(path).model, made(np.random.default_rng(2), 0).layers)


def test_random_networks_are_whole() -> None:
    import onnx

    random = np.random.default_rng(0)
    grouped = 0
    for _ in range(20):
        made = probe.random_network(random, 16)
        onnx.checker.check_model(made, full_check=True)
        grouped += any(x.kind == "grouped" for x in counted(made))
    assert grouped  # what a probe has not met it can only guess


def test_a_device_of_which_only_whole_networks_are_timed() -> None:
    """The layers' times are lines in their shapes; sums of them are all that is seen."""

    def seconds(x: Layer) -> float:
        patches = (
            math.prod(x.out_shape[1:]) * x.kernel**2 * (1 if x.kind == "depthwise" else x.width_in)
        )
        rate = 2e9 if x.kind == "depthwise" else 20e9
        return 4e-6 + patches * x.width_out / rate + patches / 1e9

    random = np.random.default_rng(0)
    networks = []
    for i in range(60):
        layers = made(random, i).layers
        networks.append(predictor.Whole(layers, sum(map(seconds, layers)) + 1e-4))
    model = predictor.fit_whole(networks[:40], 1)
    for unseen in networks[40:]:
        said = predictor.predict(model, unseen.rows)
        assert said.seconds == pytest.approx(unseen.seconds, rel=0.01)
        for row, each in zip(unseen.rows, said.layers, strict=True):
            assert each == pytest.approx(seconds(row), rel=0.25, abs=2e-5)
    again = records.value(records.plain(model), predictor.Model, "model")
    assert predictor.predict(again, networks[0].rows) == predictor.predict(model, networks[0].rows)
    error = probe.left_out_whole(networks, 1)
    assert error.worst < 0.02
    assert error.layer_median is None


def test_sums_are_corrected_by_what_whole_networks_take() -> None:
    random = np.random.default_rng(0)
    networks = [made(random, i).layers for i in range(40)]
    said = [sum(map(true_seconds, layers)) for layers in networks]

    def taken(layers: tuple[Layer, ...], seconds: float) -> float:
        return 0.9 * seconds * (predictor.weight_bytes(layers, BLOCK) / 1e6) ** 0.05

    seconds = [taken(layers, s) for layers, s in zip(networks, said, strict=True)]
    line = predictor.correction(networks[:30], said[:30], seconds[:30], BLOCK)
    for layers, s, t in zip(networks[30:], said[30:], seconds[30:], strict=True):
        assert predictor.corrected(line, layers, s, BLOCK) == pytest.approx(t, rel=1e-3)
        assert predictor.corrected((5.0, 0, 0, 0, 0), layers, s, BLOCK) == pytest.approx(2 * s)


def test_a_profiles_name_stands_for_its_transport(monkeypatch: pytest.MonkeyPatch) -> None:
    class Enough(Exception):
        pass

    def measure(paths: list[Path], *, device: object, label: str, **_: object) -> None:
        raise Enough(device, label)

    monkeypatch.setattr(probe.devices, "connect", lambda name: name)  # no browser is needed
    monkeypatch.setattr(probe, "bench", measure)
    with pytest.raises(Enough) as e:
        probe.probe_elsewhere("chromium", count=1)
    assert e.value.args == ("browser:headless", "chromium")
