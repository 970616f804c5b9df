"""Groups of a convolution, which its price depends on, also where whole groups may leave."""

from __future__ import annotations

import torch
from torch import nn

from edgeprune.graph import cost, trace


def test_the_groups_of_each_convolution() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3),
        nn.Conv2d(16, 24, 3, groups=4),
        nn.Conv2d(24, 24, 3, groups=24),
        nn.ConvTranspose2d(24, 16, 3, groups=2),
        nn.Flatten(),
        nn.LazyLinear(4),
    )
    example = torch.randn(2, 3, 16, 16)
    net(example)
    graph = trace(net.eval(), example)
    rows = {row.layer: row for row in cost(graph).rows}
    assert [rows[str(i)].groups for i in (0, 1, 2, 3, 5)] == [1, 4, 24, 2, 1]
    name = next(n for n, g in graph.groups.items() if "0" in g.producers)
    narrow = {r.layer: r for r in cost(graph, {name: graph.groups[name].width // 2}).rows}
    read = narrow["1"].width_in // narrow["1"].groups
    assert narrow["1"].macs == 9 * read * narrow["1"].width_out * 12 * 12
