"""Groups, refusals and their reasons; what trace leaves as it was."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import stochastic_depth

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
        a = torch.cummax(self.a(x), 1).values  # channels change places with the data
        return self.head(torch.cat([a, F.relu(self.b(x))], 1).mean((2, 3)))


def test_an_unknown_operator_pins_and_says_so() -> None:
    graph = trace(Unknown().double(), images(2))
    assert list(graph.groups) == ["b"]
    (refusal,) = [r for r in graph.refusals if r.operator == "cummax"]
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


@pytest.mark.parametrize("model", [DataDependent, DataSized, Broken])
def test_what_cannot_be_traced_is_told_with_its_line(model: type[nn.Module]) -> None:
    with pytest.raises(EdgepruneError, match=r" \(.*test_trace\.py:\d+\) — "):
        trace(model(), images(2))


@pytest.mark.parametrize("model", [DataDependent, DataSized, Broken, Leaving])
def test_a_module_that_cannot_be_traced_is_told_in_one_line(
    model: type[nn.Module], capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(EdgepruneError, match=r"cannot be traced: .* — (make|give)") as caught:
        trace(model(), images(2))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")  # torch prints the graph it had come to


# -- what is told in a sentence of its own ---------------------------------------------------------


def quantised(how: str) -> nn.Module:
    """By torch.ao's eager mode."""
    from torch.ao import quantization as q

    layers = (nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
    net = q.QuantWrapper(nn.Sequential(*layers)).eval()
    if how == "float":
        return net
    if how == "qat":
        net.qconfig = q.get_default_qat_qconfig("fbgemm")  # type: ignore[assignment]
        return q.prepare_qat(net.train()).eval()
    net.qconfig = q.get_default_qconfig("fbgemm")  # type: ignore[assignment]
    net = q.prepare(net)
    net(images(2).float())
    return q.convert(net) if how == "int8" else net


@pytest.mark.parametrize("how", ["observed", "qat", "int8"])
def test_a_quantised_network_is_told_to_prune_the_float_one(how: str) -> None:
    with pytest.raises(
        EdgepruneError, match=r"is quantised .* — prune the float network, and quan"
    ):
        trace(quantised(how), images(2).float())


def test_what_will_be_quantised_is_float_still() -> None:
    assert trace(quantised("float"), images(2).float()).groups


class Rounded(nn.Module):
    """Quantised in the graph itself, as exported networks are."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.fake_quantize_per_tensor_affine(self.a(x), 0.1, 0, -128, 127))


def test_a_quantising_operator_is_told_too() -> None:
    with pytest.raises(EdgepruneError, match=r"quantised .* — prune the float network"):
        trace(Rounded(), images(2).float())


@pytest.mark.parametrize(
    "name", ["ssdlite320_mobilenet_v3_large", "fasterrcnn_mobilenet_v3_large_fpn"]
)
def test_a_whole_detector_is_told_to_give_backbone_and_head(name: str) -> None:
    from torchvision.models import detection

    torch.manual_seed(0)
    net = getattr(detection, name)(weights=None, weights_backbone=None).eval()
    with pytest.raises(EdgepruneError, match=r"a tensor's numbers .* the backbone and the head"):
        trace(net, ([torch.rand(3, 64, 64), torch.rand(3, 64, 64)],))


def written(y: Tensor) -> Tensor:
    return y + torch.empty_like(y).normal_()


CHANCE: dict[str, Callable[[Tensor], Tensor]] = {
    "rand": lambda y: y + torch.rand(y.shape[1:]),
    "like": lambda y: y * torch.randn_like(y),
    "in place": written,
    "dropout": lambda y: F.dropout(y, 0.5, training=True),
    "feature dropout": lambda y: F.dropout2d(y, 0.5, training=True),
    "stochastic depth": lambda y: stochastic_depth(y, 0.5, "row", training=True),
    "order": lambda y: y[:, torch.randperm(8)],
}


@pytest.mark.parametrize("name", CHANCE)
def test_a_forward_that_draws_random_numbers_is_told(name: str) -> None:
    with pytest.raises(EdgepruneError, match=r"draws random numbers .* only in training"):
        trace(Chance(CHANCE[name]), images(2).float())


class Chance(nn.Module):
    def __init__(self, how: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.a, self.b, self.how = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3), how

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.how(self.a(x)))


@pytest.mark.parametrize(
    "quiet",
    [
        lambda y: F.dropout(y, 0.5, training=False),
        lambda y: F.dropout2d(y, 0.5, training=False),
        lambda y: stochastic_depth(y, 0.5, "row", training=False),
        lambda y: F.dropout(y, 0.0, training=True),
        lambda y: F.rrelu(y),
    ],
)
def test_what_draws_only_in_training_is_followed(quiet: Callable[[Tensor], Tensor]) -> None:
    assert list(trace(Chance(quiet), images(2).float()).groups) == ["a"]


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
