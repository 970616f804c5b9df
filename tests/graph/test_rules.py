"""Operators that few networks have: each is followed as far as it can be, and cut exactly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeprune.graph import cost, trace
from edgeprune.graph.inputs import Example, call, flat
from edgeprune.prune import compose, cut, masked, narrow
from tests.graphs import random_keep


class Net(nn.Module):
    """Two convolutions, what a test makes of their maps, and a layer that reads it."""

    def __init__(self, how: Callable[[Net, Tensor, Tensor], Any], **layers: nn.Module) -> None:
        super().__init__()
        self.how = how
        self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(3, 8, 3, padding=1)
        self.last = nn.Conv2d(8, 4, 1)
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Any:
        return self.how(self, F.relu(self.a(x)), F.relu(self.b(x)))


def noise(*sizes: int, seed: int = 0) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randn(*sizes, generator=random, dtype=torch.float64)


def checked(
    model: nn.Module, widths: dict[str, int], example: Callable[[int], Example], own: bool = True
) -> None:
    """The groups have these widths; cut, and cut again, is masked; the class is the user's ``own``."""
    model = model.double().eval()
    graph = trace(model, example(2))
    assert {name: g.width for name, g in graph.groups.items()} == widths
    keep = random_keep(graph, 0, 0.5)
    once = narrow(graph, keep)
    assert (once.kind == "module") == own, once.model.edgeprune_reason
    assert cost(graph, {n: len(u) for n, u in keep.items()}) == cost(once)
    again = random_keep(once, 1, 0.6)
    for small, kept in ((once, keep), (narrow(once, again), compose(keep, again))):
        for batch in (2, 3):
            x = example(batch)
            with torch.no_grad():
                got, expected = flat(call(small.model, x)), flat(masked(graph, kept)(x))
                whole = flat(call(model, x))
            assert any(not torch.allclose(a, b) for a, b in zip(expected, whole, strict=True))
            for a, b in zip(got, expected, strict=True):
                assert a.shape == b.shape
                assert a.dtype == b.dtype
                assert (a - b).abs().max() <= 1e-12 * b.abs().max()


def images(batch: int) -> Tensor:
    return noise(batch, 3, 8, 8, seed=batch)


# -- pointwise, along axes -------------------------------------------------------------------------


def spectrum(net: Net, a: Tensor, b: Tensor) -> Tensor:
    """A filter in the spectrum (FFC, GFNet)."""
    found = torch.fft.rfft2(a, norm="ortho")
    both = torch.complex(found.real * b.mean((2, 3), keepdim=True), found.imag)
    return net.last(torch.fft.irfft2(both, s=a.shape[2:], norm="ortho"))


def shifted_spectrum(net: Net, a: Tensor, b: Tensor) -> Tensor:
    found = torch.fft.fftshift(torch.fft.fftn(a, dim=(2, 3)), dim=(2, 3))
    found = torch.view_as_complex(
        torch.view_as_real(found) * b.mean((2, 3))[:, :, None, None, None]
    )
    return net.last(torch.fft.ifft(found, dim=3).real)


def unpooled(net: Net, a: Tensor, b: Tensor) -> Tensor:
    """Values of one map go where the maxima of another came from (SegNet)."""
    _, places = F.max_pool2d(a, 2, return_indices=True)
    return net.last(F.max_unpool2d(F.avg_pool2d(b, 2), places, 2))


def best(net: Net, a: Tensor, b: Tensor) -> Tensor:
    """The five largest of each channel, and what lies beside them in another map."""
    values, places = a.flatten(2).topk(5, dim=2)
    beside = b.flatten(2).gather(2, places)
    order = values.sort(dim=2, descending=True)[0] + beside
    return net.last((order * beside.argsort(2))[..., None])


def best_places(net: Net, a: Tensor, b: Tensor) -> Any:
    """Peaks over all channels of what cannot leave; channels of others are read there (CenterNet)."""
    places = net.last(b).amax(1).flatten(1).topk(5)[1]
    rows = a.flatten(2).gather(2, places[:, None].expand(-1, a.shape[1], -1))
    return net.last(rows[..., None]), places


def divided(net: Net, a: Tensor, b: Tensor) -> Tensor:
    found = torch.where(a > b, a.floor_divide(0.25), torch.zeros_like(b))
    return net.last(found.masked_fill(b < 0.1, 0.5).masked_fill(a > 1, 2.0))


def sampled(net: Net, a: Tensor, b: Tensor) -> Tensor:
    """Where to read is computed; every channel is read there."""
    theta = net.last(b).mean((2, 3))[:, :3].unsqueeze(1).expand(-1, 2, -1)
    grid = F.affine_grid(theta, [len(a), 8, 8, 8], align_corners=False)
    return net.last(F.grid_sample(a, grid, align_corners=False))


def placed(net: Net, a: Tensor, b: Tensor) -> Tensor:
    rows, columns = torch.meshgrid(torch.arange(8), torch.arange(8), indexing="ij")
    return net.last(a * (rows + 1) + b * columns)


RULES: dict[str, tuple[Callable[[Net, Tensor, Tensor], Any], dict[str, int]]] = {
    "spectrum": (spectrum, {"a": 8}), "shifted spectrum": (shifted_spectrum, {"a": 8}),
    "unpooled": (unpooled, {"a": 8}), "best": (best, {"a": 8}),
    "best places": (best_places, {"a": 8}), "divided": (divided, {"a": 8}),
    "sampled": (sampled, {"a": 8}), "placed": (placed, {"a": 8}),
}  # fmt: skip


@pytest.mark.parametrize("name", RULES)
def test_an_operator_is_followed(name: str) -> None:
    torch.manual_seed(0)
    how, widths = RULES[name]
    checked(Net(how), widths, images)


ACROSS: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "transformed": (lambda a: torch.fft.fft(a, dim=1).real, "fft_fft"),
    "transformed everywhere": (lambda a: torch.fft.fftn(a).real, "fft_fftn"),
    "best channels": (lambda a: a.topk(8, dim=1)[0], "topk"),
    "sorted channels": (lambda a: a.sort(1)[0], "sort"),
    "by number": (lambda a: a.gather(1, a.argsort(1)), "argsort"),
    "smallest": (lambda a: a * a.argmin(1, keepdim=True), "argmin"),
    "pooled channels": (
        lambda a: F.max_unpool2d(*F.max_pool2d(a.transpose(1, 2), 2, return_indices=True), 2)
        .transpose(1, 2),
        "max_pool2d_with_indices",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ACROSS)
def test_what_looks_across_channels_holds_them(name: str) -> None:
    across, operator = ACROSS[name]
    model = Net(lambda net, a, b: net.last(across(a)) + net.last(b).mean()).double().eval()
    graph = trace(model, images(2))
    assert not graph.groups
    assert operator in {r.operator for r in graph.refusals}


# -- layers ----------------------------------------------------------------------------------------


class Words(nn.Module):
    """A table for words, added to maps."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.a, self.last = nn.Embedding(9, 8), nn.Conv2d(3, 8, 3), nn.Linear(8, 4)

    def forward(self, x: Tensor, word: Tensor) -> Tensor:
        return self.last(F.relu(self.a(x) + self.table(word)[:, :, None, None]).mean((2, 3)))


def test_a_table_of_words_has_columns_that_leave() -> None:
    torch.manual_seed(0)

    def example(batch: int) -> Example:
        return images(batch), torch.arange(batch) * 2

    checked(Words(), {"a": 8}, example)


def deformed(net: Any, a: Tensor, b: Tensor) -> Tensor:
    return net.last(F.relu(net.deform(a, net.offset(b), net.mask(b).sigmoid())))


@pytest.mark.parametrize(
    ("groups", "shared", "widths"),
    [
        (1, 1, {"a": 8, "b": 8, "deform": 8}),
        (1, 2, {"a": 4, "b": 8, "deform": 8}),
        (8, 1, {"a": 8, "b": 8}),
        (2, 1, {"a": 4, "b": 8, "deform": 4}),
    ],
)
def test_a_deformable_convolution(groups: int, shared: int, widths: dict[str, int]) -> None:
    from torchvision.ops import DeformConv2d

    torch.manual_seed(0)
    layers = {
        "deform": DeformConv2d(8, 8, 3, padding=1, groups=groups, bias=groups == 1),
        "offset": nn.Conv2d(8, 18 * shared, 3, padding=1),
        "mask": nn.Conv2d(8, 9 * shared, 3, padding=1),
    }
    own = groups == 1  # else its bias is made of a size that the cut changes
    checked(Net(deformed, **layers), widths, images, own)


# -- recurrent layers ------------------------------------------------------------------------------


class Recurrent(nn.Module):
    def __init__(self, rnn: nn.RNNBase, last: int) -> None:
        super().__init__()
        self.a, self.rnn, self.last = nn.Conv1d(5, 8, 3, padding=1), rnn, nn.Linear(last, 4)

    def forward(self, x: Tensor) -> Any:
        y = F.relu(self.a(x))
        y = y.transpose(1, 2) if self.rnn.batch_first else y.permute(2, 0, 1)
        out, state = self.rnn(y)
        hidden = state[0] if isinstance(state, tuple) else state
        return self.last(out), self.last(torch.cat([*hidden[: 1 + self.rnn.bidirectional]], -1))


@pytest.mark.parametrize("layer", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("words", [{}, {"bidirectional": True, "num_layers": 2}, {"bias": False}])
@pytest.mark.parametrize("batch_first", [True, False])
def test_hidden_units_leave(layer: Any, words: dict[str, Any], batch_first: bool) -> None:
    torch.manual_seed(0)
    rnn = layer(8, 6, batch_first=batch_first, **words)
    model = Recurrent(rnn, 12 if rnn.bidirectional else 6)
    checked(model, {"a": 8, "rnn": 6}, lambda n: noise(n, 5, 7, seed=n))
    assert (
        cut(model, trace(model, noise(2, 5, 7)), {"rnn": [1, 4]}).get_submodule("rnn").hidden_size
        == 2
    )


def test_what_is_projected_stays_whole() -> None:
    torch.manual_seed(0)
    model = Recurrent(nn.LSTM(8, 10, proj_size=6), 6)
    checked(model, {"a": 8}, lambda n: noise(n, 5, 7, seed=n))


class Cells(nn.Module):
    """Steps written in Python, from zeros, or from what is learned or computed of the input."""

    def __init__(self, cell: nn.RNNCellBase, start: str) -> None:
        super().__init__()
        self.a, self.cell, self.last = nn.Conv1d(5, 8, 3, padding=1), cell, nn.Linear(6, 4)
        self.first, self.start, self.how = nn.Parameter(torch.rand(6)), nn.Linear(8, 6), start

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.a(x))
        state = y.new_zeros(len(y), 6)
        if self.how == "learned":
            state = self.first.expand(len(y), -1)
        elif self.how == "computed":
            state = self.start(y.mean(2))
        cell = torch.zeros_like(state)
        for t in range(3):
            if isinstance(self.cell, nn.LSTMCell):
                state, cell = self.cell(y[:, :, t], (state, cell))
            else:
                state = self.cell(y[:, :, t], state)
        return self.last(state)


@pytest.mark.parametrize("start", ["zeros", "learned", "computed"])
@pytest.mark.parametrize("layer", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_hidden_units_of_single_steps_leave(layer: Any, start: str) -> None:
    torch.manual_seed(0)
    widths = {"a": 8, "cell": 6} if start != "computed" else {"a": 8, "start": 6}
    own = start != "zeros"  # whose size is written in the forward
    checked(Cells(layer(8, 6), start), widths, lambda n: noise(n, 5, 7, seed=n), own)


class ConvLSTM(nn.Module):
    """A state of maps, zeros at first."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.gates = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(14, 24, 3, padding=1)
        self.last = nn.Conv2d(6, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        state = cell = None
        for t in range(x.shape[1]):
            y = F.relu(self.a(x[:, t]))
            if state is None or cell is None:
                state = torch.zeros(len(y), 6, *y.shape[2:], dtype=y.dtype)
                cell = torch.zeros_like(state)
            i, f, o, g = self.gates(torch.cat([y, state], 1)).chunk(4, 1)
            cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
            state = o.sigmoid() * cell.tanh()
        return self.last(state)


def test_a_state_of_zeros_is_cut_with_what_it_becomes() -> None:
    torch.manual_seed(0)
    checked(ConvLSTM(), {"a": 8, "gates": 6}, lambda n: noise(n, 3, 3, 8, 8, seed=n), own=False)


class Handwritten(nn.Module):
    """A recurrence of linear layers from zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.i, self.h = nn.Conv1d(5, 8, 3), nn.Linear(8, 6), nn.Linear(6, 6)
        self.last = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.a(x))
        state = torch.zeros(len(y), 6, dtype=y.dtype) * 0.5
        for t in range(3):
            state = torch.tanh(self.i(y[:, :, t]) + self.h(state))
        return self.last(state)


def test_a_layer_reads_a_state_of_zeros() -> None:
    torch.manual_seed(0)
    checked(Handwritten(), {"a": 8, "i": 6}, lambda n: noise(n, 5, 7, seed=n), own=False)
