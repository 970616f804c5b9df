"""Random networks, found by hypothesis: cut == masked, twice == once, saved == loaded, cost known."""

from __future__ import annotations

import copy

import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from edgeprune.graph import cost, trace
from edgeprune.prune import compose, masked, narrow
from tests.graphs import random_keep, relative

SIDE = 6  # pixels of every feature map


class RandomNet(nn.Module):
    """Steps drawn one after another; each reads earlier feature maps and appends its own."""

    def __init__(self, draw: st.DrawFn) -> None:
        super().__init__()
        self.steps: list[tuple[str, tuple[int, ...], int]] = []
        self.layers = nn.ModuleDict()
        self.widths = [3]
        self._add("conv", (0,), draw(st.integers(2, 8)))
        for _ in range(draw(st.integers(2, 8))):
            self._draw_step(draw)
        self.last = (len(self.widths) - 1, max(1, len(self.widths) - 2))
        self.head = nn.Linear(sum(self.widths[i] for i in self.last), 4)

    def _draw_step(self, draw: st.DrawFn) -> None:
        i = draw(st.integers(1, len(self.widths) - 1))
        c = self.widths[i]
        partners = [j for j in range(1, len(self.widths)) if self.widths[j] == c]
        j = draw(st.sampled_from(partners))
        divisors = [d for d in range(2, c + 1) if c % d == 0]
        known = ["depthwise", "transposed", "instancenorm", "patches"]
        known += ["conv", "norm", "act", "gate", "slice", "roll", "pad", "cat", "softmax"]
        known += ["again", "unknown", "layernorm", "mean", "attention", "standardised", "inplace"]
        known += ["add", "mul"] if len(partners) > 1 else []
        known += ["grouped", "shuffle", "groupnorm"] if divisors else []
        known += ["halves", "glu"] if c % 2 == 0 else []
        kind = draw(st.sampled_from(known))
        number = draw(st.sampled_from(divisors)) if kind in DIVIDES else draw(st.integers(1, 7))
        j = draw(st.integers(1, len(self.widths) - 1)) if kind == "cat" else j
        used = [n for n, (k, _, _) in enumerate(self.steps) if k == "conv" and self._reads(n) == c]
        if kind == "again":  # a layer that was called before, on another map of its width
            number = draw(st.sampled_from(used)) if used else 0
            kind = kind if used else "act"
        self._add(kind, (i, j), number)

    def _reads(self, step: int) -> int:
        return self.widths[self.steps[step][1][0]]

    def _add(self, kind: str, inputs: tuple[int, ...], number: int) -> None:
        c = self.widths[inputs[0]]
        layer, width = make(kind, c, number)
        if kind == "cat":
            width = c + self.widths[inputs[1]]
        if kind == "again":
            width = self.widths[number + 1]
        if layer is not None:
            self.layers[str(len(self.steps))] = layer
        self.steps.append((kind, inputs, number))
        self.widths.append(width)

    def __repr__(self) -> str:
        return f"RandomNet(steps={self.steps}, widths={self.widths})"

    def forward(self, x: Tensor) -> Tensor:
        maps, layers = [x], dict(self.layers.items())
        for n, (kind, inputs, number) in enumerate(self.steps):
            layer = layers.get(str(number if kind == "again" else n))
            maps.append(step(kind, [maps[i] for i in inputs], number, layer))
        return self.head(torch.cat([maps[i] for i in self.last], 1).mean((2, 3)))


DIVIDES = ("grouped", "shuffle", "groupnorm")  # their number divides the channels


def make(kind: str, c: int, number: int) -> tuple[nn.Module | None, int]:
    """The step's layer (None if it has none) and the channels that it gives."""
    if kind == "conv":
        return nn.Conv2d(c, number + 1, 3, padding=1), number + 1
    if kind == "grouped":
        return nn.Conv2d(c, 2 * c, 3, padding=1, groups=number), 2 * c
    if kind == "depthwise":
        return nn.Conv2d(c, 2 * c, 3, padding=1, groups=c, bias=False), 2 * c
    if kind == "transposed":
        return nn.ConvTranspose2d(c, number, 3, padding=1), number
    if kind == "instancenorm":
        return nn.InstanceNorm2d(c, affine=number % 2 == 0), c
    if kind == "norm":
        return nn.BatchNorm2d(c), c
    if kind == "groupnorm":
        return nn.GroupNorm(number, c), c
    if kind == "layernorm":
        return nn.LayerNorm(c), c
    if kind == "standardised":
        return nn.Conv2d(c, c, 3, padding=1), c
    if kind == "gate":
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(c, c, 1), nn.Sigmoid()), c
    widths = {"slice": len(range(c)[:: 1 + number % 3]), "pad": c + number, "glu": c // 2}
    return None, widths.get(kind, c)


def step(kind: str, inputs: list[Tensor], number: int, layer: nn.Module | None) -> Tensor:
    x = inputs[0]
    n, c = x.shape[:2]
    if kind == "gate":
        return x * layer(x)  # type: ignore[misc]
    if kind == "layernorm":
        return layer(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # type: ignore[misc]
    if kind == "standardised":
        weight = layer.weight - layer.weight.mean((1, 2, 3), keepdim=True)  # type: ignore[union-attr, operator]
        return F.conv2d(x, weight, layer.bias, padding=1)  # type: ignore[union-attr, arg-type]
    if kind == "inplace":
        return F.relu_(x + 0.1).mul_(x)
    if kind == "attention":
        tokens = x.flatten(2).transpose(1, 2)
        y = F.scaled_dot_product_attention(tokens, tokens, tokens)
        return y.transpose(1, 2).reshape(x.shape)
    if layer is not None:
        return layer(x)
    if kind == "shuffle":
        return x.view(n, number, c // number, SIDE, SIDE).transpose(1, 2).reshape(x.shape)
    functions = {
        "act": lambda: F.hardswish(x),
        "add": lambda: x + inputs[1],
        "mul": lambda: x * torch.sigmoid(inputs[1]),
        "cat": lambda: torch.cat(inputs, 1),
        "slice": lambda: x[:, :: 1 + number % 3],
        "roll": lambda: torch.roll(x, number, 1),
        "pad": lambda: F.pad(x, (0, 0, 0, 0, number // 2, number - number // 2)),
        "softmax": lambda: x.softmax(1),
        "unknown": lambda: torch.logcumsumexp(x, 1),  # an operator without a rule
        "mean": lambda: x - x.mean(1, keepdim=True),
        "halves": lambda: torch.cat([F.relu(t) for t in reversed(x.chunk(2, 1))], 1),
        "patches": lambda: F.fold(F.unfold(x, 3, padding=1), (SIDE, SIDE), 3, padding=1),
        "glu": lambda: F.glu(x, 1),
    }
    return functions[kind]()


@st.composite
def nets(draw: st.DrawFn) -> nn.Module:
    torch.manual_seed(draw(st.integers(0, 99)))
    net = RandomNet(draw).double().eval()
    for name, tensor in [*net.named_parameters(), *net.named_buffers()]:
        if tensor.is_floating_point() and tensor.ndim == 1:
            tensor.data.uniform_(0.5, 1.5) if "var" in name else tensor.data.normal_(0.2, 0.5)
    return net


def holds(net: nn.Module, seed: int, share: float, exact_norms: bool) -> None:
    random = torch.Generator().manual_seed(seed)
    traced, fresh = (
        torch.randn(n, 3, SIDE, SIDE, generator=random, dtype=torch.float64) for n in (2, 5)
    )
    graph = trace(net, traced, exact_norms=exact_norms)
    first = random_keep(graph, seed, share)
    small = narrow(graph, first)
    second = random_keep(small, seed + 1, 0.6)
    smaller = narrow(small, second)
    with torch.no_grad():
        assert relative(small.model(fresh), masked(graph, first)(fresh)) < 1e-9
        both = masked(graph, compose(first, second))(fresh)
        assert relative(smaller.model(fresh), both) < 1e-9
    assert cost(graph, {name: len(kept) for name, kept in first.items()}) == cost(small)
    other = trace(shaken(net), traced, exact_norms=exact_norms)
    loads(narrow(other, first).model, small.model, fresh)


def shaken(net: nn.Module) -> nn.Module:
    """The same network with other weights, as a fresh build has them."""
    other = copy.deepcopy(net)
    with torch.no_grad():
        for tensor in [*other.parameters(), *other.buffers()]:
            if tensor.is_floating_point():
                tensor.uniform_(0.5, 1.5)
    return other


def loads(fresh: nn.Module, small: nn.Module, x: Tensor) -> None:
    """The cut network's file, read into a network that was built and cut anew, gives its logits."""
    fresh.load_state_dict(safetensors.torch.load(safetensors.torch.save(small.state_dict())))
    with torch.no_grad():
        assert torch.equal(fresh(x), small(x))


relaxed = settings(  # without shrinking: an export takes too long to be tried a thousand times
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


CASES = {
    "net": nets(),
    "seed": st.integers(0, 9),
    "share": st.sampled_from([0.2, 0.5, 0.8]),
    "exact_norms": st.booleans(),
}


@settings(relaxed, max_examples=100)
@given(**CASES)
def test_random_networks(net: nn.Module, seed: int, share: float, exact_norms: bool) -> None:
    holds(net, seed, share, exact_norms)


@pytest.mark.zoo
@pytest.mark.timeout(7200)
@settings(relaxed, max_examples=2000, derandomize=False)
@given(**CASES)
def test_many_random_networks(net: nn.Module, seed: int, share: float, exact_norms: bool) -> None:
    holds(net, seed, share, exact_norms)
