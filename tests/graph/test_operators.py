"""One operator, one row: nobody else spells its name, and a new one is a function and a row."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn

from edgeprune.graph import cost, trace
from edgeprune.graph.follow import Follow
from edgeprune.graph.labels import Labelled
from edgeprune.graph.operators import OPERATORS, Operator, Work
from edgeprune.graph.rewriting import Rewriter, set_argument
from edgeprune.prune import cut, masked
from tests.graphs import relative
from tests.nets import images

PACKAGE = Path(__file__).parents[2] / "edgeprune"

# Words that mean something else where they stand: kinds of rows of the cost table, our own
# functions, the methods of compensation, a padding.
OTHERWISE = {"linear", "matmul", "narrow", "mean", "uniform", "zeros"}


def literals(path: Path) -> Iterator[str]:
    """Strings of a file that are not docstrings."""
    tree = ast.parse(path.read_text())
    told = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told:
            yield node.value


def distinct(name: str) -> bool:
    """Not an English word."""
    return "_" in name or any(c.isdigit() for c in name)


def spelled(path: Path) -> set[str]:
    """Names of operators among a file's strings; a string of several words is a list if all are."""
    graphs = path.relative_to(PACKAGE).parts[0] in ("graph", "prune")
    found: set[str] = set()
    for text in literals(path):
        words = set(text.split())
        if words and words <= set(OPERATORS):
            found |= {w for w in words if graphs or distinct(w)}
    return found - OTHERWISE


def test_nobody_else_spells_an_operators_name() -> None:
    files = [p for p in PACKAGE.rglob("*.py") if "operators" not in p.parts]
    assert len(files) > 100
    assert {str(p.relative_to(PACKAGE)): n for p in files if (n := spelled(p))} == {}


def test_the_scan_sees_a_list_of_operators(tmp_path: Path) -> None:
    probe = PACKAGE / "graph" / "operators" / "convolutions.py"
    assert "conv2d" in spelled(probe)


def test_each_name_stands_in_one_row() -> None:
    rows = {id(row): row for row in OPERATORS.values()}.values()
    names = [name for row in rows for name in row.names.split()]
    assert len(names) == len(set(names)) == len(OPERATORS)


# -- a new operator --------------------------------------------------------------------------------


@torch.library.custom_op("edgeprune_test::weighted", mutates_args=())
def weighted(x: Tensor, weight: Tensor, channels: int) -> Tensor:
    """Each of the written number of ``channels`` of ``x`` (N, C, H, W) times its weight (C,)."""
    if not x.shape[1] == len(weight) == channels:
        raise ValueError(f"{channels} channels are written, {x.shape[1]} came")
    return x * weight[:, None, None]


@weighted.register_fake
def _(x: Tensor, weight: Tensor, channels: int) -> Tensor:
    return torch.empty_like(x)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.weight = nn.Conv2d(3, 8, 3), nn.Parameter(torch.randn(8))
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = weighted(torch.relu(self.conv(x)), self.weight, 8)
        return self.head(x.mean((2, 3)))


def follow_weighted(f: Follow, node: fx.Node, x: Labelled, weight: Labelled, channels: int) -> Any:
    f.tie(weight, 0, f.labels(x, 1))
    return f.result(node, 1, f.labels(x, 1))


def rewrite_weighted(r: Rewriter, old: fx.Node, new: fx.Node) -> None:
    set_argument(new, 2, r.length(r.value(old), 1))


def count_weighted(work: Work) -> int:
    return work.out[0] * work.out[1] * work.out[2]


ROW = Operator(
    "edgeprune_test::weighted", follow_weighted, rewrite_weighted, kind="gate", macs=count_weighted
)


def test_an_operator_without_a_row_holds_what_touches_it() -> None:
    graph = trace(Net().double().eval(), images(2))
    assert not graph.groups
    assert ROW.names in {r.operator for r in graph.refusals}


def test_a_function_and_a_row_add_an_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OPERATORS, ROW.names, ROW)
    model = Net().double().eval()
    graph = trace(model, images(2))
    assert {name: group.width for name, group in graph.groups.items()} == {"conv": 8}
    keep = {"conv": [1, 4, 6]}
    small = cut(model, graph, keep)
    x = images(4, seed=3)
    with torch.no_grad():
        assert relative(small(x), masked(graph, keep)(x)) < 1e-9
    assert small.get_parameter("weight").shape == (3,)
    row = next(r for r in cost(graph, {"conv": 3}).rows if r.kind == "gate")
    assert (row.macs, row.params) == (3 * 14 * 14, 3)


class Shaped(nn.Module):
    """A map flattened and brought back into the shape of itself, or of one with other channels."""

    def __init__(self, alike: bool) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1)
        self.c, self.alike = nn.Conv2d(8, 4, 1), alike

    def forward(self, x: Tensor) -> Tensor:
        a = self.a(x)
        b = self.b(a)
        flat = b.flatten(2) if self.alike else b.transpose(1, 2).flatten(2)
        return self.c(flat.reshape_as(a).relu() + flat.view_as(a))


@pytest.mark.parametrize("alike", [True, False])
def test_a_shape_taken_from_another_tensor_is_cut_with_it(alike: bool) -> None:
    torch.manual_seed(0)
    network = Shaped(alike).eval().double()
    graph = trace(network, images(2).double())
    assert bool(graph.groups) == alike
    keep = {name: list(range(0, g.width, 2)) for name, g in graph.groups.items()}
    x = images(3).double()
    assert relative(cut(network, graph, keep)(x), masked(graph, keep)(x)) < 1e-12
