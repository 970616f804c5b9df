"""Groups, refusals and their reasons; what trace leaves as it was."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeprune.errors import EdgepruneError
from edgeprune.graph import trace
from edgeprune.prune import narrow
from tests.graphs import traced
from tests.nets import images

# Units of every group: pinning hides missing rules, so what can leave is written down.
UNITS = {
    "Plain": {"features.0": 6, "features.3": 8, "classifier.0": 10},
    "Depthwise": {"stem": 6, "pw.0": 8},
    "Residual": {"stem.0": 8, "a.0": 6, "squeeze": 4},
    "Dense": {"stem": 5, "a": 4, "b": 3},
    "Shuffle": {"stem.0": 6, "stem.0#2": 6, "last.0": 7},
    "Grouped": {"stem": 3, "few": 4, "up": 6},
    "Attention": {"stem": 12, "qkv": 4},
    "Scaled": {"stem": 8, "last": 6},
    "Slices": {"stem.0": 5, "stem.0#2": 5, "a.0": 2, "a.0#2": 2, "b.0": 6, "c.0": 6},
    "Gated": {"stem": 6, "gate": 4, "einsum": 7},
    "Fused": {"stem": 12, "q": 6, "v": 6, "v#2": 2},
    "Tied": {"stem.0": 8, "b.0": 6},
}


@pytest.mark.parametrize("name", sorted(UNITS))
def test_what_can_leave(name: str) -> None:
    assert {group: g.width for group, g in traced(name).groups.items()} == UNITS[name]


def test_sites_lie_on_real_axes() -> None:
    graph = traced("Depthwise")
    constants = graph.constants()
    for group in graph.groups.values():
        for site in group.sites:
            assert len(site.unit) == constants[site.tensor].shape[site.axis]
            assert set(site.unit.tolist()) - {-1} == set(range(group.width))
    assert {s.tensor for s in graph.groups["stem"].sites} >= {"stem.weight", "dw.1.running_var"}


class Behind(nn.Module):
    """A layer of eight filters, and something behind it."""

    def __init__(self, rest: nn.Module) -> None:
        super().__init__()
        self.stem, self.rest, self.last = nn.Conv2d(3, 8, 3), rest, nn.Conv2d(8, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.rest(self.stem(x)))


class Call(nn.Module):
    def __init__(self, f: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.f = f

    def forward(self, x: Tensor) -> Tensor:
        return self.f(x)


class LayerNorm(nn.LayerNorm):
    """Over the channels of a feature map."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


COUPLED: dict[str, tuple[Callable[[], nn.Module], int, str]] = {
    # what stands behind eight filters -> units that can leave (0: none), and the reason if none can
    "each channel its own group": (lambda: nn.GroupNorm(8, 8), 8, ""),
    "two channels a group": (lambda: nn.GroupNorm(4, 8), 4, ""),
    "one group of all": (lambda: nn.GroupNorm(1, 8), 0, "channels"),
    "layer norm": (lambda: LayerNorm(8), 0, "channels"),
    "softmax": (lambda: nn.Softmax(1), 0, "mixes channels"),
    "mean": (lambda: Call(lambda x: x - x.mean(1, keepdim=True)), 0, "reduces over channels"),
    "softmax over a row": (lambda: nn.Softmax(3), 8, ""),
    "mean over a row": (lambda: Call(lambda x: x - x.mean(3, keepdim=True)), 8, ""),
}


@pytest.mark.parametrize("name", COUPLED)
def test_what_counts_or_mixes_channels_holds_them(name: str) -> None:
    build, width, reason = COUPLED[name]
    graph = trace(Behind(build()).double().eval(), images(2))
    assert {name: g.width for name, g in graph.groups.items()} == ({"stem": width} if width else {})
    if reason:
        assert any(reason in refusal.reason for refusal in graph.refusals)


class Unknown(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Conv2d(3, 6, 1), nn.Conv2d(3, 8, 1), nn.Linear(14, 5)

    def forward(self, x: Tensor) -> Tensor:
        a = torch.sort(self.a(x), 1).values  # channels change places with the data
        return self.head(torch.cat([a, F.relu(self.b(x))], 1).mean((2, 3)))


def test_an_unknown_operator_pins_and_says_so() -> None:
    graph = trace(Unknown().double(), images(2))
    assert list(graph.groups) == ["b"]
    (refusal,) = [r for r in graph.refusals if r.operator == "sort"]
    assert refusal.reason == "no rule for this operator"
    assert "test_trace.py:" in refusal.source


class DataDependent(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


class DataSized(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[x > 0]


class Broken(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise ValueError("first line\nsecond line")


class Leaving(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        sys.exit("no more")


@pytest.mark.parametrize("model", [DataDependent, DataSized, Broken, Leaving])
def test_a_module_that_cannot_be_traced_is_told_in_one_line(
    model: type[nn.Module], capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(EdgepruneError, match=r"cannot be traced: .* — make its forward") as caught:
        trace(model(), images(2))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")  # torch prints the graph it had come to


class Whole(nn.Module):
    """Every channel is an output."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 5, 16)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x).flatten(1)


def test_a_network_with_nothing_to_prune() -> None:
    model = Whole().double()
    graph = trace(model, images(2))
    assert graph.groups == {}
    assert [r.reason for r in graph.refusals] == ["an output of the network"]
    same = narrow(graph, {}).model
    with torch.no_grad():
        assert torch.equal(same(images(3)), model(images(3)))
    with pytest.raises(EdgepruneError, match="no group 'head': nothing of this network can leave"):
        narrow(graph, {"head": [0]})


def test_one_image_is_too_few() -> None:
    with pytest.raises(EdgepruneError, match="batch of 2"):
        trace(Unknown().double(), images(1))


def test_fingerprints_tell_networks_apart() -> None:
    again = trace(traced("Plain").model, images(2, seed=9))
    assert again.fingerprint == traced("Plain").fingerprint != traced("Residual").fingerprint
