"""Kinds of forwards that public bug reports name: each is followed, cut exactly, or told in one sentence."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from edgeprune import api
from edgeprune.errors import EdgepruneError
from edgeprune.graph import Graph, cost, trace
from edgeprune.graph.operators import OPERATORS, Operator
from edgeprune.prune import compose, cut, masked, narrow
from tests.graphs import random_keep, relative
from tests.nets import images


class Net(nn.Module):
    """Two convolutions; the forward is what a test asks about."""

    def __init__(self, forward: Callable[[Net, Tensor], Any], width: int = 8) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.how = forward
        self.a, self.b = nn.Conv2d(3, width, 3, padding=1), nn.Conv2d(width, 8, 3, padding=1)
        self.head = nn.Linear(8, 5)
        self.alpha, self.gate = nn.Parameter(torch.rand(3)), nn.Conv2d(8, 1, 1)

    def forward(self, x: Tensor) -> Any:
        return self.how(self, F.relu(self.a(x)))


def pooled(net: Net, y: Tensor) -> Tensor:
    return net.head(y.mean((2, 3)))


def followed(how: Callable[[Net, Tensor], Any]) -> Graph:
    return trace(Net(how).double().eval(), images(2))


def error(graph: Graph, keep: dict[str, list[int]]) -> float:
    """Of the cut network against the masked one."""
    x = images(3, seed=5)
    with torch.no_grad():
        got, expected = cut(graph.model, graph, keep)(x), masked(graph, keep)(x)
    return relative(got, expected)


# -- outputs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("last", ["argmax", "greater", "with None"])
def test_outputs_that_are_not_floats(last: str) -> None:
    def how(net: Net, y: Tensor) -> Any:
        maps = net.b(y)
        if last == "argmax":
            return maps.argmax(1)
        return maps > 0 if last == "greater" else (maps, None, maps.argmax(1))

    graph = followed(how)
    keep = {"a": [0, 3, 5]}
    small = cut(graph.model, graph, keep)
    assert small.edgeprune_kind == "module", small.edgeprune_reason
    x = images(3, seed=5)
    got, expected = small(x), masked(graph, keep)(x)
    if last == "with None":
        assert torch.equal(got[2], expected[2])
        assert relative(got[0], expected[0]) < 1e-9
    else:
        assert torch.equal(got, expected)


def test_integers_that_differ_are_seen() -> None:
    """A forward that counts its channels in an output is not the cut graph's."""

    def how(net: Net, y: Tensor) -> Any:
        return net.b(y), torch.full((y.shape[0],), y.shape[1], dtype=torch.int64)

    graph = followed(how)
    small = cut(graph.model, graph, {"a": [0, 3, 5]})
    assert small.edgeprune_kind == "graph"
    assert small(images(2))[1].tolist() == [8, 8]


# -- steps -----------------------------------------------------------------------------------------


def third_written(net: Net, y: Tensor) -> Tensor:
    y = y.clone()
    y[:, 2::3] = y[:, 2::3].sigmoid()
    return pooled(net, net.b(y))


def third_read(net: Net, y: Tensor) -> Tensor:
    return pooled(net, net.b(torch.cat([y[:, 1::3], y[:, 0::3], y[:, 2::3]], 1)))


def rest_written(net: Net, y: Tensor) -> Tensor:
    y = y.clone()
    y[:, 3:] = -y[:, 3:]
    return pooled(net, net.b(y))


@pytest.mark.parametrize("how", [third_written, third_read, rest_written])
def test_steps_are_kept(how: Callable[[Net, Tensor], Tensor]) -> None:
    graph = trace(Net(how, width=16).double().eval(), images(2))
    assert sum(g.width for g in graph.groups.values() if "a" in g.producers) == 16
    for seed in range(6):
        assert error(graph, random_keep(graph, seed, (seed + 1) / 7)) < 1e-9


def test_a_written_index_is_cut_again() -> None:
    """Where a step cannot be written, an index is, and a second cut follows it."""
    graph = trace(Net(third_written, width=16).double().eval(), images(2))
    first = {"a": [0, 1, *range(3, graph.groups["a"].width)]}  # channel 3, which is not written
    half = narrow(graph, first)
    targets = {str(node.target) for node in half.module.graph.nodes}
    assert "aten.index_copy.default" in targets
    second = random_keep(half, 2, 0.6)
    twice, once = narrow(half, second), narrow(graph, compose(first, second))
    x = images(2, seed=4)
    with torch.no_grad():
        assert torch.equal(twice.model(x), once.model(x))
    assert trace(half.model, images(2)).groups.keys() == half.groups.keys()


# -- what is repeated ------------------------------------------------------------------------------


def gated(how: str) -> Callable[[Net, Tensor], Tensor]:
    def forward(net: Net, y: Tensor) -> Tensor:
        k = net.gate(y)  # (N, 1, H, W)
        if how == "expand_as":
            k = k.expand_as(y)
        elif how == "expand":
            k = k.expand(-1, 8, -1, -1)
        elif how == "repeat":
            k = k.repeat(1, 8, 1, 1)
        elif how == "tile":
            k = k.tile(8, 1, 1)
        y = F.normalize(y, dim=1) if how == "normalize" else y * torch.sigmoid(k)
        return pooled(net, net.b(y))

    return forward


@pytest.mark.parametrize("how", ["plain", "expand_as", "expand", "repeat", "tile", "normalize"])
def test_repeated_axes_prune_alike(how: str) -> None:
    graph = followed(gated(how))
    assert {n: g.width for n, g in graph.groups.items()} == {"a": 8, "b": 8}
    assert error(graph, {"a": [1, 4, 6], "b": [0, 7]}) < 1e-9


def test_what_was_repeated_gives_way_without_a_word() -> None:
    """A mask repeated along channels that cannot leave holds nothing else, and is no refusal."""

    def how(net: Net, y: Tensor) -> Any:
        grid = torch.linspace(0, 1, 16).expand(8, 16, 16).double()
        return net.b(y) + grid

    graph = followed(how)
    assert {r.operator for r in graph.refusals} == {"output"}
    assert error(graph, {"a": [0, 1]}) < 1e-9


def test_of_two_axes_the_one_with_more_stays() -> None:
    """One operand bears channels, the other those of another layer: one gives way, not both."""

    def how(net: Net, y: Tensor) -> Tensor:
        many = net.b(y).mean((2, 3))  # (N, 8)
        few = net.head(y.mean((2, 3)))  # (N, 5)
        return (many[:, :, None] * few[:, None, :]).sum((1, 2), keepdim=True)

    graph = followed(how)
    assert {n: g.width for n, g in graph.groups.items()} == {"a": 8, "b": 8}
    assert next(r.reason for r in graph.refusals).startswith("meets another tensor's channels")
    assert error(graph, random_keep(graph, 0, 0.5)) < 1e-9


# -- widths of one ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dims", [(), (1,), (1, 2)])
@pytest.mark.parametrize("units", [[5], [1, 5]])
def test_squeeze_takes_only_what_it_took(dims: tuple[int, ...], units: list[int]) -> None:
    def how(net: Net, y: Tensor) -> Tensor:
        y = F.adaptive_avg_pool2d(F.relu(net.b(y)), 1)
        y = y.squeeze() if not dims else y[..., 0].squeeze(dims if len(dims) > 1 else dims[0])
        return net.head(y.reshape(y.shape[0], -1))

    graph = followed(how)
    assert graph.groups["b"].width == 8
    assert error(graph, {"a": [2], "b": units}) < 1e-9


# -- folded constants ------------------------------------------------------------------------------


def mixed(net: Net, y: Tensor) -> Tensor:
    """A weighted sum of branches (DARTS, BiFPN): the scalars come from a learned vector."""
    w = net.alpha.softmax(0)
    return pooled(net, w[0] * net.b(y) + w[1] * F.relu(net.b(y)) + w[2])


def test_a_constant_of_which_nothing_left_goes_on_being_computed() -> None:
    graph = followed(mixed)
    assert graph.folded
    keep = {"a": [0, 3], "b": [1, 2, 6]}
    once = narrow(graph, keep)
    assert (once.kind, type(once.model)) == ("module", Net)
    assert once.model.get_parameter("alpha").shape == (3,)
    assert error(graph, keep) < 1e-9
    with torch.no_grad():  # a further cut reads what was trained meanwhile
        once.model.get_parameter("alpha").mul_(3)
        twice = narrow(once, {"b": [0, 2]})
        x = images(2)
        assert relative(twice.model(x), masked(once, {"b": [0, 2]})(x)) < 1e-9
    assert cost(twice).params == cost(once, {"b": 2}).params


def test_in_a_graph_too_the_learned_vector_stays() -> None:
    def how(net: Net, y: Tensor) -> Tensor:
        return mixed(net, torch.cat(y.chunk(2, 1)[::-1], 1))  # unequal halves: a graph

    graph = followed(how)
    small = cut(graph.model, graph, {"a": [0, 1, 2]})
    assert small.edgeprune_kind == "graph"
    assert small.get_parameter("alpha").shape == (3,)
    small(images(2)).sum().backward()
    assert small.get_parameter("alpha").grad is not None


class Standardised(nn.Module):
    """Weights computed over the filters, so that nothing smaller gives what stays of them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.w = nn.Parameter(torch.randn(8, 3, 3, 3), requires_grad=False)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        w = self.w - self.w.mean(0, keepdim=True)
        return self.head(F.conv2d(x, w).mean((2, 3)))


@pytest.mark.parametrize("trained", [False, True])
def test_a_folded_constant_is_trained_only_if_its_source_was(trained: bool) -> None:
    model = Standardised().double().eval()
    model.w.requires_grad_(trained)
    graph = trace(model, images(2))
    (name,) = graph.folded
    small = cut(model, graph, {next(iter(graph.groups)): [0, 2, 3]})
    assert small.edgeprune_kind == "graph"
    assert (name in dict(small.named_parameters())) == trained
    assert small.state_dict()[name].shape == (3, 3, 3, 3)


# -- modes, flags, hooks ---------------------------------------------------------------------------


class Forgetful(nn.Module):
    """Its copies are made anew, as torchvision's feature extractors are."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6)
        self.note = "of its own"

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))

    def __deepcopy__(self, memo: dict[int, Any]) -> Forgetful:
        new = type(self)()
        del new.note
        new.conv, new.bn = copy.deepcopy(self.conv, memo), copy.deepcopy(self.bn, memo)
        for module in new.modules():
            module.training = True
        return new


def test_modes_flags_and_hooks_are_those_of_the_original() -> None:
    torch.manual_seed(0)
    body = Forgetful()
    net = nn.Sequential(body, nn.Conv2d(6, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()).double()
    seen: list[int] = []
    body.register_forward_hook(lambda module, given, out: seen.append(len(out)))
    body.bn.bias.requires_grad_(False)
    net.train()
    body.bn.eval()
    small = cut(net, trace(net, images(2)), {"0.conv": [0, 2, 5]})
    assert small.edgeprune_kind == "module", small.edgeprune_reason
    modes = {name: m.training for name, m in small.named_modules()}
    assert modes == {name: m.training for name, m in net.named_modules()}
    assert not small.get_parameter("0.bn.bias").requires_grad
    assert small.get_parameter("0.bn.weight").requires_grad
    assert small.get_submodule("0").note == "of its own"
    seen.clear()
    small(images(3))
    assert seen == [3]


# -- inputs ----------------------------------------------------------------------------------------


class Variadic(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 2)

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.head(F.relu(self.a(inputs[0])).mean((2, 3)))


def test_a_forward_of_any_number_of_tensors() -> None:
    graph = trace(Variadic().double().eval(), images(2))
    assert list(graph.groups) == ["a"]
    assert error(graph, {"a": [1, 2]}) < 1e-9


@pytest.mark.parametrize("wrap", [tuple, list])
def test_several_inputs_are_traced(wrap: Callable[[Any], Any]) -> None:
    graph = trace(Variadic().double().eval(), wrap([images(2), images(2)]))
    assert list(graph.groups) == ["a"]


def test_a_keyword_that_the_forward_does_not_know_is_refused_in_one_sentence() -> None:
    with pytest.raises(EdgepruneError, match=r"unexpected keyword argument 'x' — give an example"):
        trace(Variadic(), {"x": images(2)})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_save_and_load_in_every_type(dtype: torch.dtype, tmp_path: Any) -> None:
    def built() -> nn.Module:
        torch.manual_seed(0)
        layers = (nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3))
        return nn.Sequential(*layers).to(dtype).eval()

    graph = trace(built(), images(2).to(dtype))
    small = api.cut(graph, {"0": [0, 3, 4]}).eval()
    again = api.load(api.save(small, tmp_path / "small.safetensors"), built)
    x = images(3).to(dtype)
    with torch.no_grad():
        assert torch.equal(again(x), small(x))


# -- recurrent layers ------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("both", [False, True])
def test_recurrent_layers_read_channels(layer: type[nn.RNNBase], both: bool) -> None:
    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.conv = nn.Conv2d(3, 8, 3)
            self.rnn = layer(8, 6, num_layers=2, batch_first=True, bidirectional=both)  # type: ignore[call-arg]
            self.head = nn.Linear(12 if both else 6, 5)

        def forward(self, x: Tensor) -> Tensor:
            steps = F.relu(self.conv(x)).mean(2).transpose(1, 2)
            return self.head(self.rnn(steps)[0])

    graph = trace(Reader().double().eval(), images(2))
    keep = {"conv": [0, 3, 7]}
    assert graph.groups["conv"].width == 8
    assert error(graph, keep) < 1e-9
    once = narrow(graph, keep)
    assert once.kind == "module"
    assert once.model.get_submodule("rnn").input_size == 3
    rows = {r.kind: r for r in cost(graph).rows}
    weights = sum(p.numel() for n, p in graph.model.named_parameters() if "rnn.weight" in n)
    assert rows["recurrent"].macs == 14 * weights
    assert cost(graph, {"conv": 3}) == cost(once)


# -- nothing but the project's own error -----------------------------------------------------------


def test_a_rule_that_does_not_know_a_form_holds_what_touches_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def puzzled(f: Any, node: fx.Node, *args: Any) -> Any:
        raise TypeError("three operands")

    monkeypatch.setitem(OPERATORS, "relu", Operator("relu", puzzled))
    graph = followed(lambda net, y: pooled(net, net.b(y)))
    assert list(graph.groups) == ["b"]
    assert any("three operands" in r.reason for r in graph.refusals)


def test_a_rewriting_that_raises_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(r: Any, old: fx.Node, new: fx.Node) -> None:
        raise IndexError("no such axis")

    graph = followed(lambda net, y: pooled(net, net.b(y)))
    row = OPERATORS["conv2d"]
    monkeypatch.setitem(OPERATORS, "conv2d", Operator("conv2d", row.follow, broken))
    with pytest.raises(EdgepruneError, match=r"conv2d.*IndexError: no such axis"):
        cut(graph.model, graph, {"a": [0]})


def test_a_rewriting_touches_only_what_loses_something(monkeypatch: pytest.MonkeyPatch) -> None:
    touched: list[str] = []

    def noting(r: Any, old: fx.Node, new: fx.Node) -> None:
        touched.append(old.name)

    graph = followed(lambda net, y: pooled(net, net.b(y)))
    row = OPERATORS["conv2d"]
    monkeypatch.setitem(OPERATORS, "conv2d", Operator("conv2d", row.follow, noting))
    cut(graph.model, graph, {})
    assert not touched
    cut(graph.model, graph, {"a": [0, 1]})
    assert len(touched) == 2


def test_groups_that_hang_on_the_input_are_refused() -> None:
    """StyleGAN's modulated convolution: as many groups as images."""

    def how(net: Net, y: Tensor) -> Tensor:
        n, c, h, w = y.shape
        weight = net.b.weight.expand(n, -1, -1, -1, -1).flatten(0, 1)
        maps = F.conv2d(y.reshape(1, n * c, h, w), weight, padding=1, groups=n)
        return pooled(net, maps.view(n, 8, h, w))

    graph = followed(how)
    keep = random_keep(graph, 0, 0.5)
    assert any(r.operator == "conv2d" for r in graph.refusals)
    assert not keep or error(graph, keep) < 1e-9
