"""The state of the house in figures: how often one thing stands in more than one place.

    python benchmarks/house.py [--before REVISION]

Counts over ``edgeprune/`` alone, from the syntax tree: nothing of the project is run. With
``--before`` the same counts of an older revision (``git archive``) stand beside today's. Writes
``benchmarks/results/house.md``.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import statistics
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
LONG, MANY = 60, 8  # lines of a function, parameters of one
NEIGHBOURS = ("graph", "prune")  # rooms in which strings can be names of operators
OPERATORS = {
    schema.name.removeprefix("aten::")
    for schema in torch._C._jit_get_all_schemas()
    if schema.name.startswith("aten::")
}
Functions = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class File:
    """One source file of the package."""

    path: Path  # relative to the package
    tree: ast.Module
    lines: int

    @property
    def functions(self) -> list[Functions]:
        return [n for n in ast.walk(self.tree) if isinstance(n, Functions)]


def read(root: Path) -> list[File]:
    package = root / "edgeprune"
    return [
        File(p.relative_to(package), ast.parse(p.read_text()), p.read_text().count("\n"))
        for p in sorted(package.rglob("*.py"))
    ]


# -- what is counted -------------------------------------------------------------------------------


def operator_lists(files: list[File]) -> Iterator[str]:
    """Places outside one table of rows that name two operators or more, together, and little else (ways
    to share out a cut are called "uniform" and "threshold", as two operators are)."""
    near = [f for f in files if f.path.parts[0] in NEIGHBOURS]
    if any(f.path.parts[:2] == ("graph", "operators") for f in near):
        yield "graph/operators: the rows"
    for f in near:
        if f.path.parts[:2] == ("graph", "operators"):
            continue
        for node in _collections(f.tree):
            words = {word for text in _strings(node) for word in text.split()}
            if len(words & OPERATORS) > max(1, len(words) // 2):
                yield f"{f.path}:{node.lineno}"


def _collections(tree: ast.Module) -> Iterator[ast.AST]:
    """Assignments at the top of a module, and displays of strings inside functions."""
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            yield node
        else:
            for inner in ast.walk(node):
                if isinstance(inner, ast.Tuple | ast.List | ast.Set):
                    yield inner


def _strings(node: ast.AST) -> list[str]:
    return [
        n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)
    ]


ABOUT_A_NAME = re.compile(r"short_name\(|\.target\b|\bnode\.name\b|\bafter\.name\b|^name$")


def substring_tests(files: list[File]) -> Iterator[str]:
    """``"batch_norm" in short_name(node)`` and ``short_name(node).startswith("new_")``."""
    for f in files:
        if f.path.parts[0] not in NEIGHBOURS:
            continue
        for node in ast.walk(f.tree):
            if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.In | ast.NotIn):
                part, whole = node.left, ast.unparse(node.comparators[0])
                text = isinstance(part, ast.Constant) and isinstance(part.value, str)
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                text = node.func.attr in ("startswith", "endswith")
                whole = ast.unparse(node.func.value)
            else:
                continue
            if text and ABOUT_A_NAME.search(whole):
                yield f"{f.path}:{node.lineno}"


def long_functions(files: list[File]) -> Iterator[str]:
    for f in files:
        for node in f.functions:
            if (node.end_lineno or 0) - node.lineno + 1 > LONG:
                yield f"{f.path}:{node.name}"


def many_parameters(files: list[File]) -> Iterator[str]:
    for f in files:
        for node in f.functions:
            a = node.args
            if len([*a.posonlyargs, *a.args, *a.kwonlyargs]) > MANY:
                yield f"{f.path}:{node.name}"


def untyped(files: list[File]) -> Iterator[str]:
    """``dict[str, Any]`` as what a function takes or returns."""
    for f in files:
        for node in f.functions:
            a = node.args
            kinds = [x.annotation for x in (*a.posonlyargs, *a.args, *a.kwonlyargs)]
            for kind in [*kinds, node.returns]:
                if kind is not None and "dict[str, Any]" in ast.unparse(kind).replace(
                    "Dict", "dict"
                ):
                    yield f"{f.path}:{node.name}"


def runs_up(files: list[File]) -> Iterator[str]:
    """Imports of the package's own entrance from inside: it lies above every room."""
    for f in files:
        for node in ast.walk(f.tree):
            if isinstance(node, ast.ImportFrom) and node.level == len(f.path.parts):
                for alias in node.names:
                    if node.module is None and alias.name.startswith("__"):
                        yield f"{f.path}:{node.lineno}"


def ladders(files: list[File]) -> Iterator[str]:
    """Functions that ask ``isinstance`` three times or more of the package's own classes."""
    own = {n.name for f in files for n in ast.walk(f.tree) if isinstance(n, ast.ClassDef)}
    for f in files:
        for node in f.functions:
            asked = [
                c
                for c in ast.walk(node)
                if isinstance(c, ast.Call)
                and ast.unparse(c.func) == "isinstance"
                and ast.unparse(c.args[1]).rpartition(".")[2] in own - {"Labelled"}
            ]
            if len(asked) > 2:
                yield f"{f.path}:{node.name}"


COUNTS: dict[str, Callable[[list[File]], Iterator[str]]] = {
    "lists that name operators": operator_lists,
    "substring tests on names of operators": substring_tests,
    f"functions over {LONG} lines": long_functions,
    f"functions of more than {MANY} parameters": many_parameters,
    "`dict[str, Any]` taken or returned": untyped,
    "imports that run up to the package's entrance": runs_up,
    "ladders of isinstance over own classes": ladders,
}


def table(before: list[File] | None, now: list[File], revision: str) -> list[str]:
    heads = ["what", *([revision] if before is not None else []), "now"]
    lines = ["| " + " | ".join(heads) + " |", "| :-- |" + " --: |" * (len(heads) - 1)]
    trees = [files for files in (before, now) if files is not None]

    def row(name: str, value: Callable[[list[File]], object]) -> None:
        lines.append("| " + " | ".join([name, *(f"{value(files):,}" for files in trees)]) + " |")

    row("files", len)
    row("lines", lambda files: sum(f.lines for f in files))
    row("functions", lambda files: sum(len(f.functions) for f in files))
    row("lines of a function, median", lambda files: int(statistics.median(_lengths(files))))
    row("lines of the longest function", lambda files: max(_lengths(files)))
    for name, count in COUNTS.items():
        row(name, lambda files, count=count: len(list(count(files))))
    return lines


def _lengths(files: list[File]) -> list[int]:
    return [(n.end_lineno or 0) - n.lineno + 1 for f in files for n in f.functions]


def archived(revision: str, folder: Path) -> Path:
    """The tree of a revision, unpacked into ``folder``."""
    packed = subprocess.run(
        ["git", "archive", revision, "edgeprune"], cwd=ROOT, check=True, capture_output=True
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        tar.extractall(folder, filter="data")
    return folder


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--before", metavar="REVISION")
    words.add_argument("--where", action="store_true", help="also print each place, write nothing")
    asked = words.parse_args()
    now = read(ROOT)
    if asked.where:
        for name, count in COUNTS.items():
            print(name, *count(now), sep="\n  ")
        return
    before = None
    if asked.before:
        with tempfile.TemporaryDirectory() as folder:
            before = read(archived(asked.before, Path(folder)))
    lines = [
        "# The house in figures",
        "",
        f"Made by `python benchmarks/house.py{f' --before {asked.before}' if asked.before else ''}`;"
        " `--where` names each place.",
        "",
        *table(before, now, asked.before or ""),
    ]
    text = "\n".join(lines) + "\n"
    (HERE / "results" / "house.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
