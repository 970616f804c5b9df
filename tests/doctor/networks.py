"""Small networks with one awkward width each, as a foreign tool might write them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgeprune.doctor.synthetic import Builder
from edgeprune.runtime import Layer

VGG16 = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
VGG16_A = (64, 64, 128, 128, 256, 256, 256, 192, 192, 192, 128, 128, 128)  # the paper's network A
MOBILENET_A = (21, 64, 128, 128, 256, 256, 384, 384, 384, 384, 256, 256, 256, 128)
STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)


def stack(width: int) -> Any:
    """3 -> 64 -> width -> 64, 3x3."""
    b = Builder()
    x = b.conv("first", b.input("x", (1, 3, 14, 14)), 3, 64)
    x = b.conv("middle", x, 64, width)
    b.output(b.conv("last", x, width, 64))
    return b.model()


def separable(width: int, int8: bool = False) -> Any:
    b = Builder(int8=int8)
    x = b.conv("stem", b.input("x", (1, 3, 14, 14)), 3, width)
    x = b.conv("dw", x, width, width, groups=width)
    b.output(b.conv("pw", x, width, 64, 1))
    return b.model()


def residual(trunk: int, expansion: int) -> Any:
    b = Builder()
    x = b.conv("stem", b.input("x", (1, 3, 14, 14)), 3, trunk)
    y = b.conv("expand", x, trunk, expansion, 1)
    y = b.conv("dw", y, expansion, expansion, groups=expansion)
    y = b.conv("project", y, expansion, trunk, 1, activation="")
    x = b.op("Add", "add", [x, y])
    b.output(b.conv("head", x, trunk, 64, 1))
    return b.model()


def mobilenet(widths: Sequence[int]) -> Any:
    """MobileNetV1 at 32 pixels, names as in edgeprune's own."""
    b = Builder()
    before = widths[0]
    x = b.conv("features.0.conv", b.input("images", (1, 3, 32, 32)), 3, before, stride=2)
    for i, (width, stride) in enumerate(zip(widths[1:], STRIDES, strict=True), 1):
        x = b.conv(f"features.{i}.dw.conv", x, before, before, stride=stride, groups=before)
        x = b.conv(f"features.{i}.pw.conv", x, before, width, 1)
        before = width
    x = b.op("Flatten", "flat", [b.op("GlobalAveragePool", "gap", [x])])
    b.output(b.dense("classifier.0", x, before, 10))
    return b.model()


def grouped() -> Any:
    """Groups of 8 channels: less than a block."""
    b = Builder()
    x = b.conv("first", b.input("x", (1, 3, 14, 14)), 3, 64)
    b.output(b.conv("grouped", x, 64, 64, groups=16))
    return b.model()


def variable() -> Any:
    """Weights listed among the graph's inputs, as old exporters did."""
    from onnx import helper

    model = stack(64)
    model.graph.input.extend(
        helper.make_tensor_value_info(t.name, t.data_type, list(t.dims))
        for t in model.graph.initializer
    )
    return model


def unnamed() -> Any:
    """No node has a name."""
    model = separable(64)
    for node in model.graph.node:
        node.name = ""
    return model


def vgg_layers(widths: Sequence[int]) -> tuple[Layer, ...]:
    """VGG16's convolutions at 32 pixels as the runtime lays them out, times not filled in."""
    layers, before, side = [], 3, 32
    for i, width in enumerate(widths):
        if i in (2, 4, 7, 10):
            side //= 2
        macs = side * side * 9 * before * width
        layers.append(
            Layer(
                name=f"conv{i + 1}", kind="conv", width_in=before, width_out=width, kernel=3, stride=1,
                groups=1, in_shape=(before, side, side), out_shape=(width, side, side), macs=macs,
                weight_bytes=4 * 9 * before * width, map_bytes=4 * side * side * (before + width),
                operator="NCHWc Conv", layout="blocked", padded_macs=macs,
            )
        )  # fmt: skip
        before = width
    return tuple(layers)
