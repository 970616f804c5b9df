"""Choices tried together are the masked network, one at a time, on all kinds of networks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from edgeprune.graph import trace
from edgeprune.graph.inputs import flat
from edgeprune.prune.mask import masked
from edgeprune.prune.without import Without
from tests.nets import NETS, build, images


@pytest.mark.parametrize("name", list(NETS))
def test_many_choices_at_once_are_masks_one_by_one(name: str) -> None:
    graph = trace(build(name), images(2))
    x = images(3, seed=4)

    def told(outputs: object) -> Tensor:
        return torch.cat([t.flatten() for t in flat(outputs)])

    for group in list(graph.groups.values())[:3]:
        draw = torch.Generator().manual_seed(group.width)
        stays = torch.rand(4, group.width, generator=draw) < 0.5
        stays[:, 0] = True
        found = Without(graph, group, x, told)(stays)
        for one, seen in zip(stays, found, strict=True):
            keep = {group.name: one.nonzero()[:, 0].tolist()}
            torch.testing.assert_close(seen, told(masked(graph, keep)(x)), rtol=1e-9, atol=1e-9)
