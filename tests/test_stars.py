"""A file with a star in ARCHITECTURE.md is pure: no files, no clock, no print, no argument changed."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WORLD = {"os", "pathlib", "shutil", "tempfile", "time", "datetime", "subprocess", "socket", "sys"}
ROOMS = {"files", "fetch", "runs"}  # of edgeprune, that touch the world
CALLS = {"print", "open", "input", "exec", "eval"}
CHANGES = {
    "append",
    "extend",
    "insert",
    "remove",
    "pop",
    "clear",
    "update",
    "setdefault",
    "sort",
    "reverse",
}


def starred() -> list[Path]:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    block = text.split("## The rooms")[1].split("```")[1]
    found, room = [], ""
    for line in block.splitlines():
        opened = re.match(r"(\w+)/", line)
        room = opened[1] if opened else room
        found += [
            ROOT / "edgeprune" / room / f"{name}.py" for name in re.findall(r"(\w+)\.py\*", line)
        ]
    return found


def world(tree: ast.AST) -> Iterator[str]:
    """What of the world a file reaches."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.split(".")[0] in WORLD)
        elif isinstance(node, ast.ImportFrom) and node.level:
            names = {(node.module or "").split(".")[0]} | {
                a.name for a in node.names if not node.module
            }
            yield from sorted(names & ROOMS)
        elif isinstance(node, ast.ImportFrom):
            yield from [node.module or ""] if (node.module or "").split(".")[0] in WORLD else []
        elif (
            isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CALLS
        ):
            yield f"{node.func.id}()"


def changed(tree: ast.AST) -> Iterator[str]:
    """Arguments of public functions that are changed in place, as far as their syntax shows it."""
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef) or function.name.startswith("_"):
            continue
        own = {a.arg for a in [*function.args.args, *function.args.kwonlyargs]} - {"self", "cls"}
        own -= {  # a name that is bound anew is no argument any more
            t.id for n in ast.walk(function) if isinstance(n, ast.Assign) for t in n.targets
            if isinstance(t, ast.Name)
        }  # fmt: skip
        if "in place" in (ast.get_docstring(function) or ""):
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                of = node.func.value
                if isinstance(of, ast.Name) and of.id in own and node.func.attr in CHANGES:
                    yield f"{function.name}: {of.id}.{node.func.attr}()"
            targets = node.targets if isinstance(node, ast.Assign) else []
            targets = [node.target] if isinstance(node, ast.AugAssign) else targets
            for target in targets:
                inner = target.value if isinstance(target, ast.Subscript | ast.Attribute) else None
                if isinstance(inner, ast.Name) and inner.id in own:
                    yield f"{function.name}: {inner.id} is written to"


def test_there_are_stars_and_they_name_files() -> None:
    found = starred()
    assert len(found) > 30
    assert [p for p in found if not p.is_file()] == []


@pytest.mark.parametrize("path", starred(), ids=lambda p: f"{p.parent.name}/{p.name}")
def test_a_starred_file_is_pure(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert sorted(set(world(tree))) == []
    assert sorted(set(changed(tree))) == []


def test_what_is_not_pure_is_seen() -> None:
    bad = ast.parse(
        "import time\nfrom .. import files\nfrom pathlib import Path\n"
        "def f(x, y):\n    print(x)\n    x.append(1)\n    y['a'] = 2\n"
    )
    assert set(world(bad)) == {"time", "files", "pathlib", "print()"}
    assert set(changed(bad)) == {"f: x.append()", "f: y is written to"}
