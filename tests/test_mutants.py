"""The table of broken decisions still fits the code, and the command tells a kill from a survivor."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def mutants() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mutants", ROOT / "benchmarks" / "mutants.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["mutants"] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


def test_every_row_applies(mutants: ModuleType) -> None:
    table = mutants.rows()
    assert mutants.stale(table) == []
    assert Counter(row.name for row in table).most_common(1)[0][1] == 1


def test_there_are_decisions_of_every_room(mutants: ModuleType) -> None:
    rooms = Counter(row.room for row in mutants.rows())
    assert set(rooms) >= {"bench", "data", "deploy", "doctor", "graph", "prune", "train", "ways"}
    assert rooms.total() >= 120


CODE = """
def largest(a, b):
    return a if a >= b else b

def forever(n):
    while n > 0:
        n -= 1
    return n
"""

TESTS = """
from edgeprune.room import tiny

def test_slow_and_blind():
    tiny.largest(1, 1)

def test_largest():
    assert tiny.largest(2, 1) == 2

def test_forever():
    assert tiny.forever(3) == 0
"""


def row(mutants: ModuleType, name: str, before: str, after: str) -> object:
    return mutants.Row(name, "edgeprune/room/tiny.py", before, after, ("tests/test_tiny.py",))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A project of one file and one file of tests."""
    tree = tmp_path / "tree"
    for name, text in (
        ("edgeprune/__init__.py", ""),
        ("edgeprune/room/__init__.py", ""),
        ("edgeprune/room/tiny.py", CODE),
        ("tests/test_tiny.py", TESTS),
        ("pyproject.toml", ""),
    ):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    subprocess.run(["git", "init", "-q"], cwd=tree, check=True)
    return tree


@pytest.mark.slow
def test_killed_survived_stale_timeout(
    mutants: ModuleType, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mutants, "LIMIT", 15.0)
    table = [
        row(mutants, "the smaller one", "if a >= b", "if a < b"),
        row(mutants, "of equals the other", "if a >= b", "if a > b"),
        row(mutants, "it hangs", "n -= 1", "n += 0"),
        row(mutants, "text that is there no more", "if a <= b", "if a > b"),
        row(mutants, "text that is there twice", "return", "pass"),
        row(mutants, "text that is no Python", "return n", "return ("),
    ]
    state = tmp_path / "state.jsonl"
    found = {o.name: o for o in mutants.run(table, tree, state)}
    assert {name: o.state for name, o in found.items()} == {
        "the smaller one": "killed",
        "of equals the other": "survived",
        "it hangs": "timeout",
        "text that is there no more": "stale",
        "text that is there twice": "stale",
        "text that is no Python": "stale",
    }
    assert found["the smaller one"].by == "tests/test_tiny.py::test_largest"
    assert (tree / "edgeprune/room/tiny.py").read_text() == CODE
    assert mutants.unresolved(table, tree, state) == []
    page = mutants.page(table, mutants.known(state), [])
    assert "6 decisions: 2 killed (0 of them before" in page
    assert "4 survive (66.7 %), 0 still to be run." in page
    assert "- **of equals the other** (survived): no test holds it yet" in page
    (tree / "tests/test_tiny.py").write_text(TESTS + "\ndef test_more():\n    pass\n")
    assert mutants.unresolved(table[:3], tree, state) == table[:3]
    still = [r.name for r in table]
    page = mutants.page(table, mutants.known(state), still)
    assert "2 killed (2 of them before" in page
    assert "0 survive (0.0 %), 4 still to be run." in page


def test_a_test_that_fails_anyway_kills_nothing(
    mutants: ModuleType, tree: Path, tmp_path: Path
) -> None:
    path = tree / "tests/test_tiny.py"
    path.write_text(TESTS.replace("forever(3) == 0", "forever(3) == 1"))
    table = [row(mutants, "of equals the other", "if a >= b", "if a > b")]
    (outcome,) = mutants.run(table, tree, tmp_path / "state.jsonl")
    assert outcome.state == "survived"
    assert outcome.red == ["tests/test_tiny.py::test_forever"]
