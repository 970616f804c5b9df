"""Several inputs, and nests of them, through the whole graph core: recorded, cut, masked, saved, loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeprune import cut, load, plan, save, trace
from edgeprune.errors import EdgepruneError
from edgeprune.graph.inputs import call, example_of, flat, inputs_of, named
from edgeprune.prune import masked


class Two(nn.Module):
    """Compares two images; gives a map, and integers under another key."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.f = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 4, 3, padding=1)

    def forward(self, x: Tensor, y: Tensor, shift: Tensor | None = None) -> dict[str, Any]:
        d = self.f((F.relu(self.a(x)) - F.relu(self.a(y))).abs())
        d = d if shift is None else d + shift[:, None, None, None]
        return {"map": d, "more": [d.argmax(1), None]}


class Nested(Two):
    def forward(self, pair: list[Tensor], shift: Tensor | None = None) -> dict[str, Any]:  # type: ignore[override]
        return super().forward(*pair, shift)


X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
WHOLE = torch.tensor([1, 2])


@pytest.mark.parametrize(
    ("kind", "example"),
    [
        (Two, (X, X + 1)),
        (Two, [X, X + 1]),
        (Two, {"x": X, "y": X + 1}),
        (Two, {"y": X + 1, "x": X, "shift": WHOLE}),
        (Nested, ([X, X + 1],)),
        (Nested, {"pair": [X, X + 1], "shift": WHOLE}),
    ],
)
def test_cut_is_masked_and_comes_back(kind: type[nn.Module], example: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    graph = trace(kind().eval(), example)
    assert list(graph.groups) == ["a"]
    planned = plan(graph, keep_params=0.5)
    small = cut(graph, planned)
    assert type(small) is kind
    fresh = example_of(graph.inputs, 5, torch.zeros(()), seed=1)
    got, expected = flat(call(small, fresh)), flat(masked(graph, planned.keep)(fresh))
    assert len(got) == 2
    assert got[0].shape == (5, 4, 8, 8)
    torch.testing.assert_close(got[0], expected[0])
    assert torch.equal(got[1], expected[1])
    path = save(small, tmp_path / "small.safetensors")
    assert torch.equal(flat(call(load(path, kind), fresh))[0], got[0])


def test_what_inputs_are_called() -> None:
    inputs = inputs_of(Two(), (X, X, WHOLE))
    assert inputs.said == "x [N, 3, 8, 8], y [N, 3, 8, 8], shift [N] int64"
    assert inputs.call == [0, 1, 2]
    assert inputs_of(Two(), {"y": X, "x": X}).call == {"y": 0, "x": 1}
    assert [p for p, _ in named(Two()(X, X))] == ["map", "more.0"]
    still = inputs_of(Two(), (X, X[:1]))  # as long as no batch: handed on as it is at every batch
    assert [p.batch for p in still.ports] == [0, None]


def test_an_example_that_does_not_fit_is_told() -> None:
    with pytest.raises(EdgepruneError, match="an example of all its inputs"):
        trace(Two().eval(), X)
    with pytest.raises(EdgepruneError, match="holds no tensor"):
        trace(Two().eval(), {"x": 1})
    with pytest.raises(EdgepruneError, match="batch of 2"):
        trace(Two().eval(), (X[:1], X[:1]))


def test_scores_of_classes_are_refused_for_other_answers() -> None:
    graph = trace(Two().eval(), (X, X + 1))
    for score in ("taylor", "car"):
        with pytest.raises(EdgepruneError, match="class that a classifier chooses"):
            plan(graph, keep_params=0.5, score=score, images=[(X, X + 1)] * 4)
    made = plan(graph, keep_params=0.5, score="reconstruction", images=[(X, X + 1)] * 8)
    assert len(made.keep["a"]) < 8
