"""Units come back without changing an answer."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from edgeprune import prune
from edgeprune.doctor.fix import refilled, rounded_up
from edgeprune.graph import trace


class Net(nn.Module):
    """A stem, a residual block with a depthwise layer, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU())
        self.expand = nn.Sequential(nn.Conv2d(24, 48, 1), nn.BatchNorm2d(48), nn.ReLU())
        self.dw = nn.Conv2d(48, 48, 3, padding=1, groups=48)
        self.project = nn.Conv2d(48, 24, 1)
        self.head = nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.project(torch.relu(self.dw(self.expand(x))))
        return self.head(x.mean((2, 3)))


@pytest.fixture(scope="module")
def fixed() -> tuple[nn.Module, nn.Module, dict[str, list[int]], dict[str, list[int]], Tensor]:
    torch.manual_seed(0)
    model = Net().eval()
    example = torch.randn(2, 3, 8, 8)
    graph = trace(model, example)
    kept = {name: list(range(1, group.width, 2))[:-1] for name, group in graph.groups.items()}
    pruned = prune.cut(model, graph, kept)
    with torch.no_grad():  # as after retraining: no longer the dense network's values
        for p in pruned.parameters():
            p.add_(0.1 * torch.randn_like(p))
    keep = rounded_up(graph, kept, 8)
    return pruned, refilled(graph, kept, keep, pruned.state_dict()), kept, keep, example


def test_widths_are_on_the_grid(fixed: tuple) -> None:
    _, _, kept, keep, _ = fixed
    for name, units in keep.items():
        assert len(units) % 8 == 0
        assert set(kept[name]) < set(units)


def test_answers_stay(fixed: tuple) -> None:
    pruned, model, _, _, example = fixed
    with torch.no_grad():
        torch.testing.assert_close(model(example), pruned(example), rtol=1e-5, atol=1e-5)


def test_units_that_came_back_can_learn(fixed: tuple) -> None:
    _, model, kept, keep, example = fixed
    group = next(name for name in keep if name.startswith("expand"))
    back = [i for i, unit in enumerate(keep[group]) if unit not in kept[group]]
    model(example).square().sum().backward()
    weight = dict(model.named_parameters())["project.weight"]
    assert (weight[:, back] == 0).all()
    assert (weight.grad[:, back] != 0).any()


def test_the_strongest_come_back() -> None:
    """Of eight filters four are kept; up to six the two of largest L1 norm among the others return."""
    net = nn.Sequential(nn.Conv2d(3, 8, 1, bias=False), nn.ReLU(), nn.Conv2d(8, 2, 1))
    with torch.no_grad():
        net[0].weight.copy_(
            torch.tensor([8.0, 1, 2, 7, 3, 6, 5, 4]).reshape(8, 1, 1, 1).expand(8, 3, 1, 1)
        )
    graph = trace(net, torch.zeros(2, 3, 4, 4))
    assert rounded_up(graph, {"0": [1, 2, 4, 7]}, 6) == {"0": [0, 1, 2, 3, 4, 7]}
    assert rounded_up(graph, {"0": [1, 2, 4, 7]}, 4) == {"0": [1, 2, 4, 7]}
    assert rounded_up(graph, {"0": [1, 2, 4, 7, 0]}, 16) == {"0": list(range(8))}  # all there are
