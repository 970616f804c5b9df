"""How the runtime lays layers out, from their shapes alone; and the network as it runs there.

The rules of layout (onnxruntime's x86 provider, read from its NCHWc transformer and from dumped graphs):
float convolutions are laid out in blocks of 16 (AVX-512) or 8 (AVX2) channels when their width allows,
and fall back to im2col + sgemm, depthwise ones to one channel at a time, where it does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

BLOCKED = "com.microsoft.nchwc"
MOVES = ("ReorderInput", "ReorderOutput", "Transpose")
INT8 = (
    "QLinearConv",
    "QLinearMatMul",
    "QGemm",
    "MatMulInteger",
    "ConvInteger",
    "MatMulIntegerToFloat",
)
QUANTISED = ("QuantizeLinear", "DequantizeLinear", *INT8)  # what stands in no float file
INT8_GRID, INT8_DEPTHWISE_GRID = 4, 16  # channels; measured: its kernels step at these


@dataclass(frozen=True)
class Layer:
    """One convolution or dense layer, for one image. Shapes without N; seconds a run."""

    name: str
    kind: str  # conv, depthwise, grouped, linear
    width_in: int
    width_out: int
    kernel: int  # its longer side
    stride: int
    groups: int
    in_shape: tuple[int, ...]
    out_shape: tuple[int, ...]
    macs: int
    weight_bytes: int
    map_bytes: int  # read and written
    operator: str = ""  # the runtime's own name for what it runs
    layout: str = ""  # blocked (NCHWc), plain, int8
    padded_macs: int = 0  # multiply-adds really done, zeros included
    fused: tuple[str, ...] = ()  # operators that run inside it
    seconds: float = 0.0
    moves: int = 0  # reorders and transposes of its input
    moving: float = 0.0  # seconds of them

    @property
    def padding(self) -> float:
        """Share of the multiply-adds that are done on zeros."""
        return 1 - self.macs / self.padded_macs if self.padded_macs else 0.0

    @property
    def flops_per_second(self) -> float | None:
        return 2 * self.macs / self.seconds if self.seconds > 0 else None


@dataclass(frozen=True)
class Other:
    """An operator that is no layer: pooling, an activation left alone, a reorder."""

    name: str
    operator: str
    seconds: float
    after: str  # the layer before it, "" at the input


@dataclass(frozen=True)
class Width:
    """Channels that are one number: cutting it changes all these layers together."""

    channels: int
    producers: tuple[str, ...]
    depthwise: tuple[str, ...]
    consumers: tuple[str, ...]

    @property
    def layers(self) -> tuple[str, ...]:
        return (*self.producers, *self.depthwise, *self.consumers)


@dataclass(frozen=True)
class Ask:
    """A layer at certain widths."""

    layer: str
    width_in: int
    width_out: int


def asked(layer: Layer, width_in: int, width_out: int) -> Ask:
    return Ask(layer.name, width_in, width_out)


@dataclass(frozen=True)
class Network:
    """A network as it runs on this machine."""

    name: str
    layers: tuple[Layer, ...]
    others: tuple[Other, ...]
    widths: tuple[Width, ...]
    seconds: float  # a whole run
    params: int
    block: int  # channels of a block on this machine, 1: none
    variable: tuple[str, ...] = field(default=())  # layers whose weights are inputs of the graph

    def __getitem__(self, name: str) -> Layer:
        return next(layer for layer in self.layers if layer.name == name)

    @property
    def macs(self) -> int:
        return sum(layer.macs for layer in self.layers)

    @property
    def weight_bytes(self) -> int:
        return sum(layer.weight_bytes for layer in self.layers)

    @property
    def int8(self) -> bool:
        return any(layer.layout == "int8" for layer in self.layers)


def up(width: int, multiple: int) -> int:
    return -(-width // multiple) * multiple


def laid_out(kind: str, width_in: int, width_out: int, groups: int, block: int) -> bool:
    """Whether a float convolution runs in blocks of channels, from its widths alone."""
    if block == 1 or kind == "linear":
        return False
    if kind == "depthwise":
        return width_in == width_out and width_in % 4 == 0
    if kind == "grouped":
        return (width_in // groups) % block == 0 and (width_out // groups) % block == 0
    return width_in < block or width_in % 4 == 0


def padded(kind: str, width_in: int, width_out: int, groups: int, block: int) -> tuple[int, int]:
    """The widths that are really computed."""
    if not laid_out(kind, width_in, width_out, groups, block):
        return width_in, width_out
    few = kind == "conv" and width_in < block  # the first layer reads unblocked maps
    return (width_in if few else up(width_in, block)), up(width_out, block)


def kind_of(groups: int, width_in: int, weight: Sequence[int]) -> str:
    if len(weight) < 3:
        return "linear"
    if groups == 1:
        return "conv"
    return "depthwise" if groups == width_in and weight[1] == 1 else "grouped"


def grid(network: Network, width: Width, names: Mapping[str, Layer]) -> int:
    """The multiple of channels at which this width runs without waste."""
    if any(names[n].layout == "int8" for n in width.layers if n in names):
        return INT8_DEPTHWISE_GRID if width.depthwise else INT8_GRID
    return network.block
