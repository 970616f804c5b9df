"""The recording computes what the forward computes, at any batch, and leaves the module as it was."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from edgeprune.graph.record import Refused, record


class Forward(nn.Module):
    """A module around one function, with a layer, a buffer and a cache to use."""

    def __init__(self, f: Callable[[Forward, Tensor], Any]) -> None:
        super().__init__()
        self.f = f
        self.conv = nn.Conv2d(4, 6, 3, padding=1)
        self.linear = nn.Linear(5, 5)
        self.register_buffer("scale", torch.rand(6, 1, 1))
        self.plain = torch.rand(6, 1, 1)  # no buffer, no parameter
        self.cache: dict[str, Tensor] = {}

    def forward(self, x: Tensor) -> Any:
        return self.f(self, x)


def sliced(m: Forward, x: Tensor) -> Tensor:
    y = m.conv(x)
    y[:, 1:3] = y[:, 1:3] * 2
    y[:, 1::2] += 1
    return y


def viewed(m: Forward, x: Tensor) -> Tensor:
    y = m.conv(x)
    y.view(x.shape[0], 2, 3, 8, 5).permute(0, 2, 1, 3, 4)[:, 1].relu_()
    return y


def chunked(m: Forward, x: Tensor) -> Tensor:
    y = m.conv(x)
    a, b, c = y.chunk(3, 1)
    b.mul_(a)
    first, second = c.split([1, 1], dim=1)
    second.sub_(first)
    return y


def alias_later(m: Forward, x: Tensor) -> Tensor:
    y = m.conv(x)
    before = y[:, 2:]
    y.add_(1)
    view = y.transpose(2, 3)
    view.clamp_(min=0.2)
    return before * y[:, :4] + view.transpose(3, 2)[:, 1:5]


def unbound(m: Forward, x: Tensor) -> Tensor:
    y = m.conv(x)
    for i, part in enumerate(y.unbind(1)):
        part.mul_(i)
    y[:, 0].zero_()
    y[:, 3].fill_(0.5)
    return y


def cached(m: Forward, x: Tensor) -> Tensor:
    if "grid" not in m.cache:
        m.cache["grid"] = torch.arange(5, dtype=x.dtype, device=x.device) / 5
    return m.linear(m.conv(x)) + m.cache["grid"]


def literal(m: Forward, x: Tensor) -> Tensor:
    weights = torch.tensor([0.5, -1.0, 2.0, 0.0, 1.5, 1.0], device=x.device).view(1, 6, 1, 1)
    return m.conv(x) * weights + m.plain


def folded_batch(m: Forward, x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    y = m.conv(x.view(n // 1, c, h, w)).permute(0, 2, 3, 1).reshape(n * h, w, 6)
    return (y @ y.transpose(1, 2)).view(n, h, w, w).mean((2, 3))


def attention(m: Forward, x: Tensor) -> Tensor:
    y = m.conv(x).flatten(2).transpose(1, 2).reshape(x.shape[0], 40, 2, 3).transpose(1, 2)
    return F.scaled_dot_product_attention(y, y, y)


def wide(m: Forward, x: Tensor) -> Tensor:
    y = torch.zeros(x.shape[0], 8, 8, 5, dtype=x.dtype)
    y[:, 1:7] = m.conv(x)
    return torch.cat([y, y.new_ones(x.shape[0], 1, 8, 5)], 1)


def nested(m: Forward, x: Tensor) -> Any:
    y = m.conv(x)
    return {"maps": [y, y.mean(1)], "most": (y.argmax(1),)}


def written_again(m: Forward, x: Tensor) -> Tensor:
    first, *rest = m.conv(x).unbind(1)
    first.add_(1)
    return torch.stack([*rest, first], 1)


class Both(NamedTuple):
    out: Tensor
    most: Tensor


def sets_data(m: Forward, x: Tensor) -> Tensor:
    y = m.conv(x)
    y.data = y.data * 2
    return y


def turned(m: Forward, x: Tensor) -> Tensor:
    y = m.conv(x)
    y[..., :5, :].transpose_(2, 3)
    return y


EXACT: dict[str, Callable[[Forward, Tensor], Any]] = {
    "slices": sliced, "views": viewed, "chunks": chunked, "aliases": alias_later,
    "unbound": unbound, "cache": cached, "literal": literal, "folded batch": folded_batch,
    "attention": attention, "wide": wide, "nested": nested,
    "divided": lambda m, x: m.conv(x) / x.shape[0],
    "relu": lambda m, x: F.relu(m.conv(x), inplace=True) * m.scale,
    "buffer": lambda m, x: m.conv(x) * m.scale.sqrt().clamp_(max=0.5),
    "dropped": lambda m, x: F.dropout(m.conv(x), 0.5, m.training).add_(1),
    "checkpoint": lambda m, x: checkpoint(m.conv, x, use_reentrant=False),
    "autocast off": lambda m, x: _without_autocast(m, x),
    "input": lambda m, x: (x.clone().mul_(2), m.conv(x))[1],
    "meshgrid": lambda m, x: m.conv(x) + torch.meshgrid(
        torch.linspace(0, 1, 8), torch.linspace(0, 1, 5), indexing="ij")[0],
    "interpolate": lambda m, x: F.interpolate(m.conv(x), scale_factor=2, mode="bilinear"),
    "no grad": lambda m, x: _quietly(m, x),
    "to a device": lambda m, x: m.conv(x).to(m.plain.device) + torch.arange(5.0).to(x.device, x.dtype),
    "unbound again": written_again,
    "names": lambda m, x: Both(m.conv(x), m.conv(x).argmax(1)),
    "power": lambda m, x: m.conv(x).pow_(2),
    "a stride's number": lambda m, x: (
        m.conv(x) * m.plain[2, 0, 0].item() + torch.full((5,), m.scale[1, 0, 0])),
    "moved": lambda m, x: m.to(x.device).conv(x),
}  # fmt: skip


def _without_autocast(m: Forward, x: Tensor) -> Tensor:
    with torch.autocast("cpu", enabled=False):
        return m.conv(x.float())


def _quietly(m: Forward, x: Tensor) -> Tensor:
    with torch.no_grad():
        y = m.conv(x)
    return y.detach() + 1


def writes_a_buffer(m: Forward, x: Tensor) -> Tensor:
    m.scale.add_(1)
    return m.conv(x) * m.scale


def asks(m: Forward, x: Tensor) -> Tensor:
    return m.conv(x) if x.sum() > 0 else x


REFUSED: dict[str, tuple[Callable[[Forward, Tensor], Any], str]] = {
    "item": (lambda m, x: m.conv(x) * x.max().item(), "numbers"),
    "if": (asks, "numbers"),
    "item of a weight": (lambda m, x: m.conv(x) * m.conv.bias[0].item(), "numbers"),
    "numpy": (lambda m, x: m.conv(x) * float(x.numpy()[0, 0, 0, 0]), "numpy"),
    "tolist": (lambda m, x: m.conv(x) * x.tolist()[0][0][0][0], "tolist"),
    "nonzero": (lambda m, x: x[x.nonzero()[:, 0]], "numbers"),
    "mask": (lambda m, x: m.conv(x)[m.conv(x) > 0], "numbers"),
    "buffer": (writes_a_buffer, "parameter or buffer"),
    "other operators": (lambda m, x: m.conv(x).relu() if len(x) > 2 else m.conv(x), "another batch"),
    "another number": (lambda m, x: m.conv(x) * (1 / len(x)), "depends on the batch"),
    "no line": (lambda m, x: m.conv(x) + torch.ones(len(x) ** 2).sum(), "no line"),
    "data": (sets_data, r"\.data"),
    "turned": (turned, "shape in place"),
    "literal of the batch": (lambda m, x: m.conv(x) * torch.tensor(float(len(x))), "on the batch"),
    "array of the batch": (lambda m, x: m.conv(x)[torch.from_numpy(np.arange(len(x)))], "on the batch"),
    "array of chance": (lambda m, x: m.conv(x) * torch.from_numpy(np.random.rand(1)), "on chance"),
    "thing": (lambda m, x: iter([m.conv(x)]), "gives a"),
    "expanded write": (lambda m, x: m.conv(x).mean(1, True).expand(-1, 6, -1, -1).add_(1), "expand"),
}  # fmt: skip


def state(module: nn.Module) -> dict[str, Any]:
    """Each attribute of each module, containers with what they hold."""
    found: dict[str, Any] = {}
    for prefix, m in module.named_modules():
        for name, value in m.__dict__.items():
            held = value.items() if isinstance(value, dict) else [(name, value)]
            found |= {f"{prefix}.{name}.{key}": id(v) for key, v in held}
    return found


def outputs(value: Any) -> list[Tensor]:
    return [v for v in torch.utils._pytree.tree_leaves(value) if isinstance(v, Tensor)]


def example() -> Tensor:
    return torch.randn(2, 4, 8, 5)


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("batch", [1, 3, 5])
def test_a_recording_is_the_forward_at_any_batch(name: str, batch: int) -> None:
    torch.manual_seed(0)
    module = Forward(EXACT[name]).eval()
    recorded = record(module, example())
    x = torch.randn(batch, 4, 8, 5)
    with torch.no_grad():
        got, wanted = outputs(recorded(x.clone())), outputs(module(x.clone()))
    assert len(got) == len(wanted) > 0
    assert all(torch.equal(a, b) for a, b in zip(got, wanted, strict=True))


@pytest.mark.parametrize("name", EXACT)
def test_nothing_in_a_recording_writes(name: str) -> None:
    recorded = record(Forward(EXACT[name]).eval(), example())
    written = [
        n for n in recorded.graph.nodes
        if isinstance(n.target, torch._ops.OpOverload) and n.target._schema.is_mutable
    ]  # fmt: skip
    assert not written


@pytest.mark.parametrize("name", [*EXACT, *(f"refused: {n}" for n in REFUSED)])
def test_the_module_is_left_as_it_was(name: str) -> None:
    refused = name.removeprefix("refused: ")
    module = Forward(EXACT[name] if name in EXACT else REFUSED[refused][0]).eval()
    before = state(module)
    try:
        record(module, example())
    except Refused:
        assert name not in EXACT
    assert state(module) == before


@pytest.mark.parametrize("name", REFUSED)
def test_what_depends_on_the_data_is_refused_with_the_reason(name: str) -> None:
    forward, reason = REFUSED[name]
    with pytest.raises(Refused, match=reason):
        record(Forward(forward).eval(), example())


def test_a_torchscript_module_is_named() -> None:
    module = nn.Sequential(nn.Conv2d(4, 6, 3), torch.jit.script(nn.ReLU()))
    with pytest.raises(Refused, match=r"1 is a torch\.jit module"):
        record(module.eval(), example())


@pytest.mark.parametrize("old", [True, False])
def test_weight_norm(old: bool) -> None:
    make = nn.utils.weight_norm if old else nn.utils.parametrizations.weight_norm
    module = nn.Sequential(make(nn.Conv2d(4, 6, 3)), nn.ReLU(True)).eval()
    recorded = record(module, example())
    x = torch.randn(3, 4, 8, 5)
    assert torch.equal(recorded(x), module(x))


def test_leaves_keep_their_names_and_are_shared() -> None:
    module = nn.Sequential(nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6)).eval()
    recorded = record(module, example())
    named = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    read = {**dict(recorded.named_parameters()), **dict(recorded.named_buffers())}
    assert set(read) == set(named) - {"1.num_batches_tracked"}
    assert all(read[name] is named[name] for name in read)


def test_a_table_that_a_forward_keeps_elsewhere_can_be_used_afterwards() -> None:
    kept: dict[int, Tensor] = {}

    def tabled(m: Forward, x: Tensor) -> Tensor:
        if 6 not in kept:
            kept[6] = torch.arange(6).view(6, 1, 1)[:] + 1
            kept[6][0] = 7
        return m.conv(x) * kept[6]

    module, x = Forward(tabled).eval(), torch.randn(3, 4, 8, 5)
    recorded = record(module, example())
    table = torch.tensor([7, 2, 3, 4, 5, 6]).view(6, 1, 1)
    for network in (recorded, module, record(module, example())):
        assert torch.equal(network(x), module.conv(x) * table)
    module(x).sum().backward()
    assert module.conv.weight.grad is not None


def test_what_a_forward_keeps_of_an_input_is_refused() -> None:
    kept: list[Tensor] = []

    def keeping(m: Forward, x: Tensor) -> Tensor:
        kept.append(m.conv(x))
        return kept[0] * m.conv(x)

    with pytest.raises(Refused, match="outside of the recording"):
        record(Forward(keeping).eval(), example())


def test_two_threads_may_record_one_module() -> None:
    module = Forward(sliced).eval()
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(record(module, example()).code))
        for _ in range(4)
    ]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(found) == 4
    assert len(set(found)) == 1


VIEWS: list[Callable[[Tensor, int], Tensor]] = [
    lambda t, i: t[:, i % t.shape[1] :] if t.ndim > 1 else t,
    lambda t, i: t.transpose(-1, -2) if t.ndim > 2 else t,
    lambda t, i: t.flatten(1) if t.is_contiguous() else t,
    lambda t, i: t.chunk(2, 1)[i % 2] if t.ndim > 1 and t.shape[1] > 1 else t,
    lambda t, i: t.unsqueeze(1),
    lambda t, i: t.select(1, i % t.shape[1]) if t.ndim > 2 else t,
    lambda t, i: t[..., ::2],
    lambda t, i: t.narrow(-1, 0, 1),
    lambda t, i: t,
]
WRITES: list[Callable[[Tensor, Tensor], Any]] = [
    lambda t, other: t.mul_(1.5),
    lambda t, other: t.add_(other.mean()),
    lambda t, other: t.copy_(t.relu() + 1),
    lambda t, other: t.zero_(),
    lambda t, other: t.clamp_(min=0.1),
    lambda t, other: t.sub_(t.amax(-1, True)),
]
STEP = st.tuples(st.integers(0, 5), st.integers(0, 8), st.integers(0, 5), st.integers(0, 7))


@settings(max_examples=150, deadline=None)
@given(program=st.lists(STEP, min_size=1, max_size=8))
def test_random_programs_of_views_and_writes(program: list[tuple[int, int, int, int]]) -> None:
    def forward(m: Forward, x: Tensor) -> Tensor:
        held = [m.conv(x)]
        for which, view, write, i in program:
            part = VIEWS[view](held[which % len(held)], i)
            held.append(part)
            if i % 3:
                WRITES[write](part, held[0])
        return torch.cat([t.reshape(x.shape[0], -1) for t in held], 1)

    torch.manual_seed(0)
    module = Forward(forward).eval()
    recorded = record(module, example())
    x = torch.randn(3, 4, 8, 5)
    with torch.no_grad():
        assert torch.equal(recorded(x), module(x))
