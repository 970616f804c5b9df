"""ARCHITECTURE.md is the true picture: rooms exist, and imports go only downwards in its list."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from edgeprune.cli.app import PANEL

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "edgeprune"
ENTRANCE = {"__init__", "__main__"}  # of the package itself


def listed() -> list[str]:
    """Rooms in the order of ARCHITECTURE.md."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    block = text.split("## The rooms")[1].split("```")[1]
    return re.findall(r"^(\w+)(?:/|\.py)", block, re.MULTILINE)


def present() -> set[str]:
    return {p.stem for p in PACKAGE.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}


def imported(path: Path) -> set[str]:
    """Rooms that a file imports, at its top or inside functions."""
    inside = path.relative_to(ROOT).with_suffix("").parts
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = inside[: len(inside) - node.level]
            parts = base + tuple((node.module or "").split(".") if node.module else ())
            names = [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]
            rooms = {n if n in present() else "__init__" for n in names}
            found |= rooms if parts[:1] == ("edgeprune",) else set()
        elif isinstance(node, ast.ImportFrom | ast.Import):
            module = getattr(node, "module", None)
            for name in [module] if module else [alias.name for alias in node.names]:
                if name.split(".")[0] == "edgeprune":
                    found.add(([*name.split("."), "__init__"])[1])
    return found & present()


def test_every_room_is_listed_and_every_listed_room_exists() -> None:
    assert set(listed()) == present() - ENTRANCE


@pytest.mark.parametrize("room", sorted(present() - ENTRANCE))
def test_imports_go_downwards(room: str) -> None:
    order = listed()
    files = [PACKAGE / f"{room}.py"] if (PACKAGE / f"{room}.py").exists() else []
    files += sorted((PACKAGE / room).rglob("*.py"))
    for path in files:
        above = {r for r in imported(path) - {room} if rank(order, r) < order.index(room)}
        assert not above, f"{path.relative_to(ROOT)} imports {sorted(above)}, which lie above"


def rank(order: list[str], room: str) -> int:
    """The entrance lies above all rooms: it hands out what they make."""
    return -1 if room in ENTRANCE else order.index(room)


def test_no_command_imports_another() -> None:
    """What two commands need lies in a room below, or in a file of ``cli`` that is no command."""
    cli = PACKAGE / "cli"
    commands = set(PANEL)
    assert len(commands) > 10
    for command in sorted(commands):
        for node in ast.walk(ast.parse((cli / f"{command}.py").read_text())):
            if isinstance(node, ast.ImportFrom) and node.level == 1:
                names = [node.module] if node.module else [alias.name for alias in node.names]
                others = commands & set(names) - {command}
                assert not others, f"edgeprune {command} imports the command {sorted(others)}"


@pytest.mark.parametrize("words", [["--help"], ["bench", "--help"], ["prune", "--help"], ["runs"]])
def test_help_imports_no_torch(words: list[str], tmp_path: Path) -> None:
    program = (
        f"import sys; sys.argv[1:] = {words!r}\n"
        "from edgeprune.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'onnxruntime', 'numpy', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_records_are_typed_without_pydantic_until_one_is_read() -> None:
    """(Typer imports pydantic for itself where it runs a command.)"""
    program = (
        "import sys, edgeprune.cli.app, edgeprune.runs, edgeprune.records as r\n"
        "assert 'pydantic' not in sys.modules\n"
        "r.parse('{}', r.Recipe, 'x')\n"
        "assert 'pydantic' in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
