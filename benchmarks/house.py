"""How the house stands, counted: `python benchmarks/house.py [FOLDER]` (the package; another checkout's to
compare). Long functions, wide ones, and signatures that speak of ``dict[str, Any]``.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
LINES, PARAMETERS = 60, 8  # at most
Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(package: Path) -> Iterator[tuple[str, Function]]:
    """Every function with its place, ``room/file.py:12 name``."""
    for path in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, Function):
                yield f"{path.relative_to(package)}:{node.lineno} {node.name}", node


def parameters(node: Function) -> list[ast.arg]:
    given = node.args
    return [
        a for a in (*given.posonlyargs, *given.args, *given.kwonlyargs)
        if a.arg not in ("self", "cls")
    ]  # fmt: skip


def untyped(node: Function) -> bool:
    """Whether its signature holds a ``dict[str, Any]``."""
    hints = [*(a.annotation for a in parameters(node)), node.returns]
    return any("dict[str, Any]" in ast.unparse(hint) for hint in hints if hint is not None)


def counted(package: Path) -> dict[str, list[str]]:
    """What is counted -> the places of it."""
    found = list(functions(package))
    return {
        f"functions over {LINES} lines": [
            where for where, f in found if (f.end_lineno or 0) - f.lineno >= LINES
        ],
        f"functions over {PARAMETERS} parameters": [
            where for where, f in found if len(parameters(f)) > PARAMETERS
        ],
        "dict[str, Any] in signatures": [where for where, f in found if untyped(f)],
    }


def main() -> None:
    package = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "edgeprune"
    print(f"{len(list(functions(package))):,} functions in {package}")
    for what, places in counted(package).items():
        print(f"{len(places):3} {what}")
        for where in places:
            print(f"      {where}")


if __name__ == "__main__":
    main()
