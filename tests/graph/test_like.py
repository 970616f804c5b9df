"""Operators of which the table says what shape their result has: it has it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeprune.graph import record
from edgeprune.graph.operators import OPERATORS
from edgeprune.graph.tape import Step

SMALL = torch.rand(1, 6, 1, 1) + 0.5
VECTOR = torch.rand(6) + 0.5
KERNEL, FIVE = torch.rand(6, 6, 3, 2), torch.rand(6, 5, 3, 2)
LINE, CUBE = torch.rand(7, 5, 2), torch.rand(7, 1, 2, 3, 2)
MATRIX, SEVEN = torch.rand(7, 4), torch.rand(7)
ONE = tuple(
    "relu relu6 leaky_relu elu selu celu gelu silu mish softplus logsigmoid sigmoid tanh "
    "hardswish hardsigmoid hardtanh neg abs exp sqrt rsqrt".split()
)
CALLS: dict[str, Callable[[Tensor], Any]] = {
    **{name: getattr(F, name, None) or getattr(torch, name) for name in ONE},
    "clamp": lambda x: x.clamp(0, 1),
    **{
        f"{name} {kind}": lambda x, f=getattr(torch, name), y=y: f(x, y)
        for name in ("add", "sub", "mul", "div")
        for kind, y in {
            "number": 2, "gate": SMALL, "longer": torch.rand(1, 2, 6, 5, 4),
            "wider": torch.rand(3, 6, 5, 4), "double": SMALL.double(),
        }.items()
    },
    "complex": lambda x: x.float() * 2j,
    "mul itself": lambda x: x * x,
    "div floor": lambda x: torch.div(x, 2, rounding_mode="floor"),
    "batch norm": lambda x: F.batch_norm(x, VECTOR, VECTOR, VECTOR, VECTOR),
    "group norm": lambda x: F.group_norm(x, 2, VECTOR, VECTOR),
    "layer norm": lambda x: F.layer_norm(x, x.shape[-1:]),
    "conv": lambda x: F.conv2d(x, KERNEL, VECTOR),
    "conv, a window": lambda x: F.conv2d(x, KERNEL, None, (2, 1), (1, 2), (1, 1)),
    "conv, stride of one number": lambda x: torch.conv2d(x, KERNEL, None, [2], [1], [1]),
    "conv, depthwise": lambda x: F.conv2d(x, KERNEL[:, :1], None, 1, 1, 1, 6),
    "conv, same": lambda x: F.conv2d(x, KERNEL[..., :1], None, 1, "same"),
    "conv1d": lambda x: F.conv1d(x.reshape(6, 5, 4), LINE),
    "conv3d": lambda x: F.conv3d(x.reshape(1, 1, 6, 5, 4), CUBE, padding=1),
    "linear": lambda x: F.linear(x, MATRIX, SEVEN),
    "pool": lambda x: F.adaptive_avg_pool2d(x, (2, 3)),
    "pool to a place": lambda x: F.adaptive_avg_pool2d(x, 1),
    "pool's own": lambda x: torch.ops.aten._adaptive_avg_pool2d(x, [2, 1]),
    "mean": lambda x: x.mean((2, 3)),
    "mean, kept": lambda x: x.mean(-1, keepdim=True),
    "mean, of all": lambda x: x.mean(),
    "mean, double": lambda x: x.mean(1, dtype=torch.float64),
    "cat": lambda x: torch.cat([x, x * 2], 1),
    "cat, from the right": lambda x: torch.cat([x, x[..., :2], x], -1),
    "concat": lambda x: torch.ops.aten.concat([x, x]),
    "cat, types": lambda x: torch.cat([x, x.double()]),
}  # fmt: skip
LAYOUTS: dict[str, Callable[[], Tensor]] = {
    "plain": lambda: torch.rand(1, 6, 5, 4) + 0.5,
    "channels last": lambda: (torch.rand(1, 6, 5, 4) + 0.5).to(memory_format=torch.channels_last),
    "cut out": lambda: (torch.rand(1, 9, 5, 8) + 0.5)[:, 2:8, :, ::2],
    "turned": lambda: (torch.rand(1, 4, 5, 6) + 0.5).permute(0, 3, 2, 1),
    "half": lambda: (torch.rand(1, 6, 5, 4) + 0.5).half(),
    "whole numbers": lambda: torch.ones(1, 6, 5, 4, dtype=torch.int64),
}


class Called(nn.Module):
    def __init__(self, f: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.f = f

    def forward(self, x: Tensor) -> Any:
        return self.f(x)


def _works(name: str, layout: str) -> bool:
    """Whether PyTorch has it; the others are no matter here."""
    try:
        CALLS[name](LAYOUTS[layout]())
    except (RuntimeError, NotImplementedError):
        return False
    return True


@pytest.mark.parametrize(
    ("name", "layout"),
    [(name, layout) for name in CALLS for layout in LAYOUTS if _works(name, layout)],
)
def test_a_recorded_result_is_as_the_real_one(name: str, layout: str) -> None:
    """Shape, type and layout; in the layout only what is plain is answered without the operator."""
    f, x = CALLS[name], LAYOUTS[layout]()
    real = f(x)
    made = record.run(record.Held(Called(f)), x).tape.output.args[0].value
    assert (made.shape, made.dtype) == (real.shape, real.dtype)
    if x.is_contiguous():
        assert made.stride() == real.stride()


def test_of_alike_layers_the_first_alone_is_asked_for_its_shape(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def on_shapes(func: Any, *rest: Any) -> Any:
        asked.append(func)
        return real(func, *rest)

    real = record._on_shapes
    monkeypatch.setattr(record, "_on_shapes", on_shapes)
    layers = nn.Sequential(*(nn.MaxPool2d(3, 1, 1) for _ in range(3)))
    tape = record.run(record.Held(layers), LAYOUTS["plain"]()).tape
    assert len([s for s in tape.nodes if s.op == "call_function"]) == 3
    assert asked == [torch.ops.aten.max_pool2d.default]


def test_what_was_made_before_was_made_of_such_numbers_and_layouts() -> None:
    def f(x: Tensor) -> list[Tensor]:
        turned = x.transpose(2, 3)
        return [x * 1, x * 1.0, x * True, x.sum(1), turned.sum(1), x.double().sum(1)]

    x = LAYOUTS["whole numbers"]()
    steps = record.run(record.Held(Called(f)), x).tape.output.args[0]
    for step, real in zip(steps, f(x), strict=True):
        assert (step.value.shape, step.value.dtype) == (real.shape, real.dtype)


WRONG: dict[str, Callable[[Tensor], Any]] = {
    "conv, channels": lambda x: F.conv2d(x, FIVE),
    "conv, a kernel too large": lambda x: F.conv2d(x, KERNEL.repeat(1, 1, 3, 4)),
    "linear": lambda x: F.linear(x, LINE[..., 0]),
    "linear, a bias of another size": lambda x: F.linear(x, MATRIX, VECTOR),
    "mean, twice": lambda x: x.mean((1, 1)),
    "mean, no axis": lambda x: x.mean(4),
    "cat, other sizes": lambda x: torch.cat([x, x[:, :, :2]], 1),
    "cat, no axis": lambda x: torch.cat([x, x], 4),
    "cat, other axes": lambda x: torch.cat([x, x[0]], 1),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_raises_is_not_told_a_shape(name: str) -> None:
    x = LAYOUTS["plain"]()
    with pytest.raises((RuntimeError, IndexError)):
        WRONG[name](x)
    with pytest.raises((RuntimeError, IndexError)):
        record.run(record.Held(Called(WRONG[name])), x)


def test_every_such_operator_is_tried() -> None:
    rows = {name for name, row in OPERATORS.items() if row.like or row.shape}
    tried: set[str] = set()
    for f in CALLS.values():
        steps = record.run(record.Held(Called(f)), LAYOUTS["plain"]()).tape.nodes
        tried |= {_name(s) for s in steps if s.op == "call_function"}
    assert rows <= tried


def _name(step: Step) -> str:
    schema = getattr(step.target, "_schema", None)
    return "" if schema is None else schema.name.removeprefix("aten::")
