"""Training on anybody's batches: what is learnt, by whom, and what is refused."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from edgeprune import cut, heal, trace
from edgeprune.errors import EdgepruneError


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 3)]
    return nn.Sequential(*layers).eval()


def pictures(n: int = 96) -> tuple[Tensor, Tensor]:
    """Their brightest channel is their class."""
    x = torch.randn(n, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    y = torch.arange(n) % 3
    x[torch.arange(n), y] += 1
    return x, y


def share(model: nn.Module, x: Tensor, y: Tensor) -> float:
    with torch.no_grad():
        return float((model(x).argmax(1) == y).double().mean())


def smaller(net: nn.Module) -> nn.Module:
    return cut(trace(net, torch.randn(2, 3, 8, 8)), {"0": [0, 3, 5]})


def test_a_loader_with_labels() -> None:
    x, y = pictures()
    heard: list[tuple[int, float]] = []
    model = smaller(network())
    losses = heal(
        model, DataLoader(TensorDataset(x, y), 16), epochs=6, told=lambda *told: heard.append(told)
    )
    assert heard == list(enumerate(losses, 1))
    assert losses[-1] < losses[0]
    assert share(model, x, y) > 0.6
    assert not model.training


def test_the_dense_network_teaches_without_labels() -> None:
    x, y = pictures()
    dense = network()
    heal(dense, [(x, y)], epochs=60)
    before, model = copy.deepcopy(dense.state_dict()), smaller(dense)
    was = share(model, x, dense(x).argmax(1))
    heal(model, list(x.split(16)), dense=dense, epochs=40)
    assert share(model, x, dense(x).argmax(1)) > max(was, 0.9)
    assert all(torch.equal(v, before[k]) for k, v in dense.state_dict().items())


def test_with_labels_the_teacher_has_nine_tenths_of_the_loss() -> None:
    """Taught wrong answers, it learns those."""
    x, y = pictures()
    wrong = network()
    heal(wrong, [(x, (y + 1) % 3)], epochs=60)
    model = smaller(network())
    heal(model, [(x, y)], dense=wrong, epochs=60)
    assert share(model, x, (y + 1) % 3) > share(model, x, y)


@pytest.mark.parametrize(
    ("batches", "said"),
    [
        ([torch.zeros(4, 3, 8, 8)], r"wants \(x, y\)"),
        ([{"x": torch.zeros(4, 3, 8, 8)}], r"wants \(x, y\)"),
        ([], "no batches"),
        (
            [(torch.full((4, 3, 8, 8), torch.nan), torch.zeros(4, dtype=torch.long))],
            "no longer a number",
        ),
    ],
)
def test_other_batches_are_refused(batches: list[object], said: str) -> None:
    with pytest.raises(EdgepruneError, match=said):
        heal(smaller(network()), batches)


def test_a_generator_is_gone_after_an_epoch() -> None:
    x, y = pictures()
    with pytest.raises(EdgepruneError, match="no batches in epoch 2"):
        heal(smaller(network()), iter([(x, y)]), epochs=2)
