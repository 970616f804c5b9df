"""A rewriting that is wrong is caught before it becomes a network."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn

from edgeprune.errors import EdgepruneError
from edgeprune.graph import trace
from edgeprune.graph.operators import Operator
from edgeprune.prune import narrow, rewrite


class Sliced(nn.Module):
    """Reads the channels 2 to 5 of eight."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 1), nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.relu(self.a(x))[:, 2:6])


def one_further(r: Any, old: fx.Node, new: fx.Node) -> None:
    """The cut slice, but moved by one channel: same shape, other elements."""
    new.args = (new.args[0], 1, 1, 4)


@pytest.mark.parametrize("wrong", [None, one_further])
def test_the_self_check_catches_it(wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the slice's channels 2 to 5 the second leaves: 2, 4 and 5 are then 2 to 4, not 1 to 3."""
    graph = trace(Sliced().eval(), torch.zeros(2, 3, 4, 4))
    outside, group = graph.groups  # nobody reads the channels outside
    assert graph.groups[outside].width == graph.groups[group].width == 4
    keep = {group: [0, 2, 3]}
    whole, right = graph.model, narrow(graph, keep).model
    x = torch.randn(3, 3, 4, 4)
    with torch.no_grad():
        left = torch.relu(whole.a(x))[:, [2, 4, 5]]
        expected = torch.conv2d(left, whole.b.weight[:, [0, 2, 3]], whole.b.bias)
        torch.testing.assert_close(right(x), expected)
    known = rewrite.operator_of

    def row(node: fx.Node) -> Operator:
        found = known(node)
        return replace(found, rewrite=wrong) if "slice" in str(node.target) else found

    monkeypatch.setattr(rewrite, "operator_of", row)
    with pytest.raises(EdgepruneError, match="the self-check found"):
        narrow(graph, keep)
