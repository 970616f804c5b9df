"""Weights that layers compute (weight norm, spectral norm, masks) are computed still after a cut."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize
from torch.nn.utils import prune as masks

from edgeprune import cut, load, plan, repair, save, trace
from edgeprune.errors import EdgepruneError
from edgeprune.graph import Graph, cost
from edgeprune.prune import masked, narrow
from tests.graphs import random_keep, relative

Made = Callable[[nn.Module], nn.Module]


class Net(nn.Module):
    """A residual sum, a depthwise and a transposed convolution, a dense layer; no batch norm."""

    def __init__(self, made: Made) -> None:
        super().__init__()
        self.stem, self.body = made(nn.Conv2d(3, 8, 3)), made(nn.Conv2d(8, 8, 3, padding=1))
        self.deep, self.up = made(nn.Conv2d(8, 8, 3, groups=8)), made(nn.ConvTranspose2d(8, 6, 2))
        self.head = made(nn.Linear(6, 4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        x = self.deep(x + self.body(x)).tanh()
        return self.head(self.up(x).relu().mean((2, 3)))


class Squashed(nn.Module):
    """A parametrisation of the user's own, element by element."""

    def forward(self, w: Tensor) -> Tensor:
        return w.tanh() + 0.1 * w


class Standardised(nn.Conv2d):
    """As timm's ScaledStdConv2d: each filter has mean 0 and a variance of its own."""

    def __init__(self, *args: object, **words: object) -> None:
        super().__init__(*args, **words)  # type: ignore[arg-type]
        self.gain = nn.Parameter(torch.full((self.out_channels, 1, 1, 1), 0.7))

    def forward(self, x: Tensor) -> Tensor:
        variance, mean = torch.var_mean(self.weight, dim=(1, 2, 3), keepdim=True)
        weight = self.gain * (self.weight - mean) * (variance + 1e-5).rsqrt()
        return F.conv2d(x, weight, self.bias, padding=self.padding)


class ByHand(nn.Linear):
    """A weight norm that is written in the forward, its lengths in a vector."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__(layer.in_features, layer.out_features)
        self.length = nn.Parameter(torch.linspace(-0.5, 2, layer.out_features))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight / self.weight.norm(dim=1, keepdim=True)
        return F.linear(x, self.length.unsqueeze(1) * weight, self.bias)


def squashed(m: nn.Module) -> nn.Module:
    parametrize.register_parametrization(m, "weight", Squashed())
    return m


def some_masked(m: nn.Module) -> nn.Module:
    masks.random_unstructured(m, "weight", 0.3)  # type: ignore[no-untyped-call]
    return m


def over(dim: int | None, old: bool = False) -> Made:
    norm = nn.utils.weight_norm if old else parametrizations.weight_norm
    return lambda m: norm(m, dim=dim)  # type: ignore[arg-type]


KINDS: dict[str, Made] = {
    "weight norm": over(0),
    "weight norm over inputs": over(1),
    "weight norm of all": over(None),
    "old weight norm": over(0, old=True),
    "old weight norm of all": over(None, old=True),
    "spectral norm": parametrizations.spectral_norm,
    "old spectral norm": nn.utils.spectral_norm,
    "masks": some_masked,
    "squashed": squashed,
    "by hand": lambda m: ByHand(m) if isinstance(m, nn.Linear) else m,
}
SPECTRAL = ("spectral norm", "old spectral norm")


def images(n: int, seed: int = 0) -> Tensor:
    return torch.randn(
        n, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )


def network(kind: str) -> Net:
    torch.manual_seed(0)
    net = Net(KINDS[kind]).double()
    with torch.no_grad():
        for _ in range(3):  # a spectral norm comes near its weight's norm
            net(images(2))
        for name, p in net.named_parameters():
            if name.endswith(("original0", "weight_g")):
                p.mul_(-1.7)  # a length may be negative
    return net.eval()


def halved(kind: str, seed: int = 0) -> tuple[Graph, dict[str, list[int]]]:
    graph = trace(network(kind), images(2))
    return graph, random_keep(graph, seed, 0.5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_class_its_tensors_and_what_it_computes_stay(kind: str) -> None:
    graph, keep = halved(kind)
    small, whole = cut(graph, keep), graph.model
    assert type(small) is Net, small.edgeprune_reason
    assert set(small.state_dict()) == set(whole.state_dict())
    assert sum(t.numel() for t in small.parameters()) < sum(t.numel() for t in whole.parameters())
    assert relative(small(images(3)), masked(graph, keep)(images(3))) < 1e-12
    assert [type(m) for m in small.modules()] == [type(m) for m in whole.modules()]
    counts = ("out_channels", "in_channels", "groups", "in_features", "out_features")
    for m in (small.stem, small.body, small.deep, small.up, small.head):
        told = [getattr(m, c) for c in counts if hasattr(m, c)]
        size = list(m.weight.shape)  # type: ignore[union-attr]
        expected = {"deep": [4, 4, 4], "up": [size[1], size[0], 1]}
        name = next(n for n, own in small.named_children() if own is m)
        plain = [*size[1::-1]] if name == "head" else [size[0], size[1], 1]
        assert told == expected.get(name, plain)


@pytest.mark.parametrize("kind", KINDS)
def test_training_goes_on(kind: str) -> None:
    """The optimizer follows; where a weight does not depend on the mode, training starts exactly."""
    whole = network(kind).train()
    optimizer = torch.optim.Adam(whole.parameters(), lr=0.01)
    steps(whole, optimizer)
    graph = trace(whole, images(2))
    keep = random_keep(graph, 1, 0.5)
    before = masked(graph, keep)(images(3))
    small = cut(graph, keep, optimizer=optimizer)
    assert small.training
    if kind not in SPECTRAL:
        assert relative(small(images(3)), before) < 1e-12
    assert {id(p) for g in optimizer.param_groups for p in g["params"]} == {
        id(p) for p in small.parameters()
    }
    for p, state in optimizer.state.items():
        assert state["exp_avg"].shape == p.shape
    old = {name: p.detach().clone() for name, p in small.named_parameters()}
    steps(small, optimizer)
    assert all(not torch.equal(p, old[name]) for name, p in small.named_parameters())


def steps(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    for seed in range(2):
        optimizer.zero_grad()
        model(images(4, seed)).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize("kind", SPECTRAL)
def test_training_divides_by_the_smaller_weights_own_norm(kind: str) -> None:
    graph, keep = halved(kind)
    small = cut(graph, keep).train()
    for _ in range(200):
        small(images(2))
    small.eval()(images(2))
    for m in (small.stem, small.body, small.head):
        weight = m.weight.flatten(1)  # type: ignore[union-attr, operator]
        assert abs(float(torch.linalg.matrix_norm(weight.detach(), 2)) - 1) < 1e-3


@pytest.mark.parametrize("kind", ["weight norm", "old weight norm", "spectral norm", "masks"])
def test_saved_loaded_and_cut_once_more(kind: str, tmp_path: Path) -> None:
    graph, keep = halved(kind)
    first = narrow(graph, keep)
    with torch.no_grad():
        for p in first.model.parameters():
            p.mul_(1.1)  # trained: the graph reads what the layers compute now
    again = random_keep(first, 2, 0.6)
    assert relative(masked(first, {})(images(3)), first.model(images(3))) < 1e-12
    expected = masked(first, again)(images(3))
    small = narrow(first, again).model
    assert relative(small(images(3)), expected) < 1e-12
    assert cost(first).params == cost(trace(first.model, images(2))).params
    save(cut(graph, keep), tmp_path / "small.safetensors")
    there = load(tmp_path / "small.safetensors", lambda: Net(KINDS[kind]).double())
    assert torch.equal(there(images(3)), cut(graph, keep)(images(3)))


@pytest.mark.parametrize("kind", ["weight norm", "old weight norm of all", "spectral norm"])
def test_an_average_follows(kind: str) -> None:
    graph, keep = halved(kind)
    average = copy.deepcopy(graph.model) if "old" not in kind else network(kind)
    with torch.no_grad():
        for p in average.parameters():
            p.mul_(1 + 0.1 * torch.rand_like(p))
    expected = masked(trace(average, images(2)), keep)(images(3))
    cut(graph, keep, ema=average)
    assert relative(average(images(3)), expected) < 1e-12


@pytest.mark.parametrize(
    "kind", ["weight norm", "weight norm of all", "old weight norm", *SPECTRAL]
)
def test_repair_is_that_of_the_same_network_with_plain_weights(kind: str) -> None:
    net, plain = network(kind), Net(lambda m: m).double().eval()
    with torch.no_grad():
        if kind == "weight norm":
            net.head.parametrizations.weight.original0[1] = 0  # type: ignore[union-attr, index]
        net(images(2))
        for (_, own), (_, bare) in zip(net.named_children(), plain.named_children(), strict=True):
            bare.weight.copy_(own.weight)  # type: ignore[union-attr, operator, arg-type]
            bare.bias.copy_(own.bias)  # type: ignore[union-attr, operator, arg-type]
    loader = [images(16, seed) for seed in range(3)]
    graph, other = trace(net, images(2)), trace(plain, images(2))
    keep = random_keep(graph, 0, 0.5)
    x = images(5, seed=9)
    with torch.no_grad():
        repaired, expected = repair(graph, keep, loader), repair(other, keep, loader)
        assert relative(repaired(x), expected(x)) < 1e-9
        assert relative(repaired(x), plain(x)) < 0.8 * relative(cut(graph, keep)(x), plain(x))
    assert type(repaired) is Net


@pytest.mark.parametrize("what", ["direction", "length"])
def test_a_filter_of_which_nothing_is_left_gives_no_nan(what: str) -> None:
    net = network("weight norm")
    with torch.no_grad():
        if what == "direction":
            net.head.parametrizations.weight.original1[1, :3] = 0  # type: ignore[union-attr, index]
        else:
            net.head.parametrizations.weight.original0[1] = 0  # type: ignore[union-attr, index]
    graph = trace(net, images(2))
    keep = {"up": [0, 1, 2]}
    small = cut(graph, keep)
    assert type(small) is Net
    assert relative(small(images(3)), masked(graph, keep)(images(3))) < 1e-12


class Normed(nn.Module):
    """Its second convolution is standardised over the filters of the first."""

    def __init__(self) -> None:
        super().__init__()
        self.plain, self.norm = nn.Conv2d(3, 8, 3), Standardised(8, 8, 3)
        self.after, self.head = nn.Conv2d(8, 6, 1), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.plain(x).relu()).relu()
        return self.head(self.after(x).relu().mean((2, 3)))


def test_a_standardised_weight_keeps_its_class_where_its_inputs_stay() -> None:
    torch.manual_seed(0)
    graph = trace(Normed().double().eval(), images(2))
    keep = random_keep(graph, 0, 0.5)
    small = cut(graph, keep)
    assert small.edgeprune_kind == "graph"
    assert str(small.edgeprune_reason) == (
        "norm computes its weight from norm.gain, norm.weight, and nothing smaller of these gives"
        " what stays of it"
    )
    assert relative(small(images(3)), masked(graph, keep)(images(3))) < 1e-12
    del keep["plain"]
    small = cut(graph, keep)
    assert type(small) is Normed
    assert small.norm.weight.shape[0] == 4  # type: ignore[union-attr, index]
    assert relative(small(images(3)), masked(graph, keep)(images(3))) < 1e-12
    assert plan(graph, keep_params=0.93).widths["plain"] < 8
    planned = plan(graph, keep_params=0.93, own_class=True)
    assert type(cut(graph, planned)) is Normed
    assert planned.widths["plain"] == planned.widths["norm"] == 8
    assert planned.widths["after"] < 6
    assert planned.reasons["plain"] == "kept whole: the Python of norm wants it"
    with pytest.raises(EdgepruneError, match=r"ask for --keep-params 0\.927"):
        plan(graph, keep_params=0.3, own_class=True)


class LookedUp(nn.Module):
    """A weight that is looked up in a shorter table, as relative positions are (BoTNet, HaloNet)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 4)
        self.table = nn.Parameter(torch.randn(4, 8))
        self.register_buffer("places", torch.arange(8) % 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.linear(self.stem(x).relu().mean((2, 3)), self.table[self.places])
        return self.head(x.relu())


def test_a_table_that_is_looked_up_is_no_weight_of_that_shape() -> None:
    torch.manual_seed(0)
    net, x = LookedUp().double().eval(), torch.randn(2, 3, 9, 9, dtype=torch.float64)
    graph = trace(net, x)
    assert graph.folded
    keep = {name: [0, 3, 5, 7] for name, group in graph.groups.items() if group.width == 8}
    assert keep
    small = narrow(graph, keep)
    assert small.kind == "graph"
    assert relative(small.model(x), masked(graph, keep)(x)) < 1e-12
