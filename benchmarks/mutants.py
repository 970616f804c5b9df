"""Break one decision at a time and see whether a test notices.

    python benchmarks/mutants.py [--only NAME] [--stale] [--workers 2] [--again]

``mutants.toml`` lists the decisions: a name, a file, the exact text before and after, the nearby
tests. Each row is applied to a copy of the tree, and its tests run until one fails: killed. A row
whose tests all pass has survived: nothing holds that decision. ``left`` is the reason why a survivor
may. A row whose text is not there exactly once is stale (``--stale`` looks for these alone, without
tests).

Killed, it goes on: a result counts while the row, the file that it breaks and its tests are what
they were (``--again`` runs all). Torch is imported once; a fork runs each mutant, beginning with the
test that killed it last. A test that kills also runs on the whole tree: one that fails there tells
nothing. Writes ``results/mutants.jsonl`` and, from it, ``results/mutants.md``.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
TABLE = HERE / "mutants.toml"
STATE = HERE / "results" / "mutants.jsonl"
PAGE = HERE / "results" / "mutants.md"
COPIED = ("edgeprune", "tests", "benchmarks", "deploy", "pyproject.toml", "README.md",
          "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "docker")  # fmt: skip
LIMIT = 600.0  # seconds after which a run of tests is taken for hanging
HUNG = -1  # what it then returns
HEAVY = ("torch", "torchvision", "torch.export", "torch._dynamo", "numpy", "scipy.stats",
         "scipy.sparse.csgraph", "onnx", "onnxruntime", "onnxscript", "accelerate", "PIL.Image",
         "hypothesis", "pytest", "safetensors.torch", "rich", "typer", "sklearn")  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One decision, broken. Paths lie under the tree's root."""

    name: str  # the decision that it breaks, in words
    file: str
    before: str  # stands in the file exactly once
    after: str
    tests: tuple[str, ...]  # files, or single tests
    left: str = ""  # why it may survive

    @property
    def room(self) -> str:
        parts = Path(self.file).parts
        return parts[1] if parts[0] == "edgeprune" else parts[0]


@dataclass(frozen=True)
class Outcome:
    """What became of a row; ``mark`` says of which text."""

    name: str
    state: str  # killed, survived, stale, timeout
    seconds: float
    mark: str
    by: str = ""  # the test that failed
    red: list[str] = field(default_factory=list)  # tests that fail on the whole tree

    @property
    def dead(self) -> bool:
        return self.state in ("killed", "timeout")


# -- rows ------------------------------------------------------------------------------------------


def rows(table: Path = TABLE) -> list[Row]:
    """The rows of a table; its ``[tests]`` are those of the rows that name none."""
    value = tomllib.loads(table.read_text())
    usual: dict[str, list[str]] = value.get("tests", {})
    found = []
    for words in value["mutant"]:
        tests = words.pop("tests", None) or usual.get(words["file"], [])
        found.append(Row(**words, tests=tuple(tests)))
    return found


def mutated(row: Row, tree: Path) -> str | None:
    """The text of the row's file with its decision broken; None where the row is stale."""
    path = tree / row.file
    text = path.read_text() if path.is_file() else ""
    if text.count(row.before) != 1 or row.before == row.after:
        return None
    changed = text.replace(row.before, row.after)
    try:
        ast.parse(changed)
    except SyntaxError:
        return None
    return changed


def stale(table: Sequence[Row], tree: Path = ROOT) -> list[str]:
    """Names of the rows that no longer apply, or whose tests are gone."""
    found = []
    for row in table:
        there = row.tests and all((tree / t.partition("::")[0]).is_file() for t in row.tests)
        if mutated(row, tree) is None or not there:
            found.append(row.name)
    return found


def moved(row: Row, tree: Path) -> str:
    """Where a stale row's text stands now, if it stands somewhere."""
    files = (p for room in ("edgeprune", "deploy") for p in sorted((tree / room).rglob("*.py")))
    found = [str(p.relative_to(tree)) for p in files if row.before in p.read_text()]
    return f": now in {', '.join(found)}" if found else ""


def mark(row: Row, tree: Path) -> str:
    """Of all that a result depends on nearby: the row, its file, its tests."""
    digest = hashlib.sha256(json.dumps([row.file, row.before, row.after, row.tests]).encode())
    for name in (row.file, *(t.partition("::")[0] for t in row.tests)):
        path = tree / name
        digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()[:16]


# -- what is known ---------------------------------------------------------------------------------


def known(state: Path) -> dict[str, Outcome]:
    """The last outcome of each row."""
    if not state.is_file():
        return {}
    lines = [line for line in state.read_text().splitlines() if line.endswith("}")]
    return {value["name"]: Outcome(**value) for value in map(json.loads, lines)}


def note(state: Path, outcome: Outcome) -> None:
    state.parent.mkdir(parents=True, exist_ok=True)
    with state.open("a") as f:
        f.write(json.dumps(asdict(outcome)) + "\n")
        f.flush()
        os.fsync(f.fileno())


# -- one run of tests in a fork --------------------------------------------------------------------


class Watcher:
    """A pytest plugin: writes down what failed."""

    def __init__(self, report: Path) -> None:
        self.report, self.failed = report, list[str]()

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            self.failed.append(report.nodeid)

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.failed.append(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        self.report.write_text(json.dumps(self.failed))


def fork(tree: Path, words: Sequence[str]) -> int:
    """A child that runs pytest with these ``words`` in ``tree``; its process group is its own."""
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        report, said = tree / ".failed.json", (tree / ".said.txt").open("w")
        report.unlink(missing_ok=True)
        for stream in (1, 2):
            os.dup2(said.fileno(), stream)
        os.chdir(tree)
        os.environ["PYTHONPATH"] = str(tree)
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        sys.dont_write_bytecode = True
        ours = (HERE, ROOT)
        sys.path[:] = [str(tree), *(p for p in sys.path if Path(p or ".").resolve() not in ours)]
        for name in [n for n in sys.modules if n.partition(".")[0] in ("edgeprune", "tests")]:
            del sys.modules[name]
        import pytest

        usual = ["-x", "-q", "-p", "no:cacheprovider", "--rootdir", str(tree)]
        code = int(pytest.main([*usual, *words], plugins=[Watcher(report)]))
    finally:
        sys.stdout.flush()
        os._exit(code)


Job = Generator[Sequence[str], tuple[int, list[str]], Outcome]  # words of pytest -> code, failures


@dataclass
class Slot:
    """A worker: a copy of the tree, what is done in it, and the child that runs there."""

    tree: Path
    job: Job | None = None
    child: int = 0
    begun: float = 0.0

    def start(self, words: Sequence[str]) -> None:
        self.begun = time.monotonic()
        self.child = fork(self.tree, words)

    def failed(self) -> list[str]:
        path = self.tree / ".failed.json"
        found: list[str] = json.loads(path.read_text()) if path.is_file() else ["the run broke off"]
        return found

    def kill(self) -> None:
        """The child and all that it started."""
        try:
            os.killpg(self.child, signal.SIGKILL)
        except ProcessLookupError:
            os.kill(self.child, signal.SIGKILL)
        os.waitpid(self.child, 0)
        self.child = 0

    def poll(self) -> int | None:
        """The exit code, HUNG past the limit, None while it runs."""
        done, status = os.waitpid(self.child, os.WNOHANG)
        if done:
            self.child = 0
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() - self.begun > LIMIT:
            self.kill()
            return HUNG
        return None


def copy(tree: Path, to: Path) -> Path:
    """The tracked and new files of ``tree`` that tests need, without what git ignores."""
    words = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *COPIED]
    listed = subprocess.run(words, cwd=tree, capture_output=True, check=True).stdout
    for name in filter(None, listed.decode().split("\0")):
        if (tree / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            (to / name).write_bytes((tree / name).read_bytes())
    return to


# -- all of them -----------------------------------------------------------------------------------


@dataclass
class Whole:
    """What is known of single tests on the whole tree."""

    green: set[str] = field(default_factory=set)
    red: set[str] = field(default_factory=set)


def judge(row: Row, tree: Path, last: str, whole: Whole, marked: str) -> Job:
    """Break the row's decision in ``tree`` and run its tests, ``last`` (which killed it before) first.

    A test that fails on the whole tree as well kills nothing: the others are asked.
    """
    begun, path, changed = time.monotonic(), tree / row.file, mutated(row, tree)
    text = path.read_text()
    assert changed is not None

    def outcome(state: str, by: str = "") -> Outcome:
        seconds = round(time.monotonic() - begun, 1)
        return Outcome(row.name, state, seconds, marked, by, sorted(whole.red))

    first = (
        [last]
        if last and last.partition("::")[0] in {t.partition("::")[0] for t in row.tests}
        else []
    )
    for words in (first, row.tests):
        while words:
            spared = [w for name in sorted(whole.red) for w in ("--deselect", name)]
            path.write_text(changed)
            code, failed = yield [*words, *spared]
            path.write_text(text)
            if code == HUNG:
                return outcome("timeout")
            if code in (0, 4, 5) and not failed:  # passed; or no such test any more
                break
            by = failed[0] if failed else f"exit {code}"
            if by not in whole.green and by not in whole.red and failed:
                alone, _ = yield [by]
                (whole.green if alone == 0 else whole.red).add(by)
            if by not in whole.red:
                return outcome("killed", by)
            if words is first:
                break
    return outcome("survived")


def run(table: Sequence[Row], tree: Path, state: Path, *, workers: int = 1) -> Iterator[Outcome]:
    """Break ``table``'s decisions in copies of ``tree``; each outcome is in ``state`` at once."""
    before, gone, whole = known(state), set(stale(table, tree)), Whole()
    for row in table:
        if row.name in gone:
            outcome = Outcome(row.name, "stale", 0.0, mark(row, tree))
            note(state, outcome)
            yield outcome
    waiting = [row for row in table if row.name not in gone]
    with tempfile.TemporaryDirectory(prefix="edgeprune-mutants-") as folder:
        slots = [Slot(copy(tree, Path(folder) / str(i))) for i in range(workers if waiting else 0)]
        try:
            while waiting or any(slot.job for slot in slots):
                for slot in slots:
                    if slot.job is None and waiting:
                        row = waiting.pop(0)
                        last = before[row.name].by if row.name in before else ""
                        slot.job = judge(row, slot.tree, last, whole, mark(row, tree))
                        slot.start(next(slot.job))
                    code = slot.poll() if slot.job else None
                    if slot.job is None or code is None:
                        continue
                    try:
                        slot.start(slot.job.send((code, slot.failed())))
                    except StopIteration as end:
                        slot.job = None
                        note(state, end.value)
                        yield end.value
                time.sleep(0.05)
        finally:
            for slot in slots:
                if slot.child:
                    slot.kill()


def unresolved(table: Sequence[Row], tree: Path, state: Path) -> list[Row]:
    """Rows without an outcome that still counts."""
    before = known(state)
    return [r for r in table if r.name not in before or before[r.name].mark != mark(r, tree)]


# -- the table -------------------------------------------------------------------------------------


def page(table: Sequence[Row], outcomes: Mapping[str, Outcome], open_rows: Collection[str]) -> str:
    """``results/mutants.md``: counts by room, the survivors with their reasons, all rows.

    ``open_rows``: names of those whose outcome is missing or older than a change nearby.
    """
    seen = {r.name: outcomes[r.name] for r in table if r.name in outcomes}
    dead = {name for name, o in seen.items() if o.dead}
    alive = [r for r in table if r.name in seen and r.name not in dead | set(open_rows)]
    waiting = [r for r in table if r.name not in dead and r not in alive]
    older = dead & set(open_rows)
    lines = [
        "# Decisions and the tests that hold them",
        "",
        "Made by `python benchmarks/mutants.py` from `benchmarks/mutants.toml`; not edited by hand.",
        "Each row breaks one decision of the code and runs the nearby tests until one fails.",
        "",
        f"{len(table)} decisions: {len(dead)} killed ({len(older)} of them before a later change to the "
        f"file or its tests), {len(alive)} survive ({100 * len(alive) / len(table):.1f} %), "
        f"{len(waiting)} still to be run.",
        "",
        "| room | decisions | killed | survive | to be run |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for room in sorted({r.room for r in table}):
        mine = [r.name for r in table if r.room == room]
        parts = (dead, {r.name for r in alive}, {r.name for r in waiting})
        counts = " | ".join(str(len(part & set(mine))) for part in parts)
        lines.append(f"| {room} | {len(mine)} | {counts} |")
    lines += ["", "## Survivors", ""]
    lines += [
        f"- **{r.name}** ({seen[r.name].state}): {r.left or 'no test holds it yet'}" for r in alive
    ]
    lines += [] if alive else ["None."]
    lines += ["", "## All", "", "| decision broken | file | outcome | by | s |"]
    lines += ["| --- | --- | --- | --- | ---: |"]
    for row in table:
        o = Outcome(row.name, "to be run", 0.0, "") if row in waiting else seen[row.name]
        cells = (
            row.name,
            row.file.removeprefix("edgeprune/"),
            o.state,
            o.by.removeprefix("tests/"),
        )
        lines.append(
            "| " + " | ".join(c.replace("|", "\\|") for c in cells) + f" | {o.seconds:g} |"
        )
    return "\n".join(lines) + "\n"


def warm_up() -> None:
    """Import once what every fork needs, and nothing of edgeprune."""
    import importlib

    for name in HEAVY:
        importlib.import_module(name)
    import torch

    torch.set_num_threads(1)
    with torch.no_grad():  # the exporter imports most of itself when it is first used
        torch.export.export(torch.nn.Conv2d(1, 1, 1).eval(), (torch.zeros(2, 1, 4, 4),))


def chosen(table: Sequence[Row], only: Iterable[str]) -> list[Row]:
    """Rows whose name or file holds one of these words."""
    words = list(only)
    return [r for r in table if not words or any(w in r.name or w in r.file for w in words)]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="part of a name or file"
    )
    parser.add_argument("--stale", action="store_true", help="only look whether every row applies")
    parser.add_argument("--again", action="store_true", help="run also what is known")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--state", type=Path, default=STATE)
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # children and copies go with it
    everything = rows()
    gone = stale(everything)
    for row in (r for r in everything if r.name in gone):
        print(f"stale: {row.name} ({row.file}{moved(row, ROOT)})")
    if given.stale:
        print(f"{len(everything)} rows, {len(gone)} stale")
        return 1 if gone else 0
    table = chosen(everything, given.only)
    table = table if given.again else unresolved(table, ROOT, given.state)
    print(f"{len(table)} of {len(everything)} rows to run", flush=True)
    if table:
        warm_up()
    for n, outcome in enumerate(run(table, ROOT, given.state, workers=given.workers), 1):
        print(
            f"{n:4d} {outcome.state:9s} {outcome.seconds:6.1f} s  {outcome.name}  {outcome.by}",
            flush=True,
        )
    outcomes = known(given.state)
    if given.state == STATE:
        still = [row.name for row in unresolved(everything, ROOT, STATE)]
        PAGE.write_text(page(everything, outcomes, still))
    alive = [r.name for r in everything if r.name in outcomes and not outcomes[r.name].dead]
    print(f"{len(alive)} of {len(everything)} survive: {'; '.join(alive) or 'none'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
