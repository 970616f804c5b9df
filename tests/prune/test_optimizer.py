"""Training goes on after a cut as the masked network's would: moments follow their parameters."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeprune.graph import trace
from edgeprune.prune import cut
from tests.graphs import random_keep, relative
from tests.nets import build, images

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, lr=1e-3, amsgrad=True),
}


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
    x, y = images(6), torch.arange(6) % 5
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()


class Zeroed(nn.Module):
    """The whole network, its dropped units' readers held at zero by a mask on their weights.

    In :class:`tests.nets.Plain` every unit is read by one weight axis, so masking that axis, before
    and after each step, trains exactly the network that the cut leaves.
    """

    def __init__(self, model: nn.Module, readers: dict[str, Tensor]) -> None:
        super().__init__()
        self.model, self.readers = model, readers

    def forward(self, x: Tensor) -> Tensor:
        masked = {n: p * self.readers.get(n, 1.0) for n, p in self.model.named_parameters()}
        return torch.func.functional_call(self.model, masked, (x,))


@pytest.mark.parametrize("kind", sorted(OPTIMIZERS))
def test_moments_follow(kind: str) -> None:
    model = build("Plain")
    optimizer = OPTIMIZERS[kind](model.parameters())
    train(model, optimizer, 3)
    graph = trace(model, images(2))
    keep = random_keep(graph, 0, 0.5)
    readers = {}
    for name, kept in keep.items():
        group = graph.groups[name]
        for site in group.sites[len(group.producers) :]:
            parameter = model.get_parameter(site.tensor)
            if site.axis == 1:
                stays = torch.isin(torch.from_numpy(site.unit), torch.tensor([-1, *kept]))
                shape = [-1] + [1] * (parameter.ndim - 2)
                readers[site.tensor] = stays.reshape(shape).double()
    small = cut(model, graph, keep, optimizer=(moved := OPTIMIZERS[kind](model.parameters())))
    assert {id(p) for g in moved.param_groups for p in g["params"]} == set(
        map(id, small.parameters())
    )

    reference = copy.deepcopy(model)
    follower = OPTIMIZERS[kind](reference.parameters())
    follower.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    small = cut(model, graph, keep, optimizer=optimizer)
    train(small, optimizer, 3)
    train(Zeroed(reference, readers), follower, 3)
    x = images(4, seed=8)
    with torch.no_grad():
        assert relative(small(x), Zeroed(reference, readers)(x)) < 1e-9


def test_moments_of_tied_weights_follow() -> None:
    model = build("Tied")
    optimizer = OPTIMIZERS["adam"](model.parameters())
    train(model, optimizer, 1)
    small = cut(model, images(2), {"stem.0": [0, 3, 4]}, optimizer=optimizer)
    weight = small.get_parameter("c.weight")
    assert optimizer.state[weight]["exp_avg"].shape == weight.shape == (3, 3, 3, 3)
    train(small, optimizer, 1)


def test_frozen_parameters_stay_frozen() -> None:
    model = build("Plain")
    model.features.requires_grad_(False)  # type: ignore[union-attr]
    small = cut(model, images(2), {"features.0": [0, 2]})
    frozen = {n: p.requires_grad for n, p in model.named_parameters()}
    assert {n: p.requires_grad for n, p in small.named_parameters()} == frozen


@pytest.mark.parametrize("kind", sorted(OPTIMIZERS))
def test_a_head_on_a_frozen_backbone_trains_on(kind: str) -> None:
    """The optimizer knows the head alone; the frozen part is cut and then left as it is."""
    model = build("Plain")
    model.features.requires_grad_(False)  # type: ignore[union-attr]
    optimizer = OPTIMIZERS[kind](p for p in model.parameters() if p.requires_grad)
    train(model, optimizer, 2)
    small = cut(
        model, images(2), {"features.0": [0, 2, 5], "features.3": [1, 4]}, optimizer=optimizer
    )
    head = {id(p) for p in small.classifier.parameters()}  # type: ignore[union-attr]
    assert {id(p) for p in optimizer.param_groups[0]["params"]} == head
    before = {n: p.detach().clone() for n, p in small.named_parameters()}
    train(small, optimizer, 2)
    moved = {n for n, p in small.named_parameters() if not torch.equal(p, before[n])}
    assert moved == {n for n in before if n.startswith("classifier")}
    assert small.get_parameter("features.0.weight").grad is None


def test_a_folded_weight_gives_its_place_to_what_was_computed() -> None:
    model = build("Scaled")
    optimizer = OPTIMIZERS["sgd"](model.parameters())
    small = cut(model, images(2), {"stem": [0, 2, 3]}, optimizer=optimizer)
    places = {id(p) for p in optimizer.param_groups[0]["params"]}
    assert places == {id(p) for p in small.parameters()}
    before = small.folded_div.detach().clone()  # type: ignore[operator, union-attr]
    train(small, optimizer, 1)
    assert not torch.equal(before, small.folded_div)  # type: ignore[arg-type]
