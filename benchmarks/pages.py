"""One page a command for the site: what it is for, an example as it really ran, all options.

    python benchmarks/pages.py [--in FOLDER]   all, with the runs; in a FOLDER that stays it goes on
    python benchmarks/pages.py --texts         what is made of docstrings and tables alone

A small network is trained on scikit-learn's digits, then every command works on it, in one process.
Writes ``docs/commands/*.md``, ``docs/reference.md``, ``methods.md`` and ``findings.md``; nothing in them
is typed by hand.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ["COLUMNS"] = "100"
os.environ.setdefault("OMP_NUM_THREADS", "1")

RUN = "digits"
# in this order; the last of a command's is on its page with those before it
SESSION = (
    "datasets",
    "models resnet18",
    f"train --model mobilenetv1-0.25 --data digits --epochs 8 --precision fp32 --name {RUN}",
    "inspect --model mobilenetv1-0.25",
    "cost --model mobilenetv1-0.25",
    f"prune {RUN} --name half --post-training --keep-flops 0.5 --dry-run",
    f"prune {RUN} --name half --post-training --keep-flops 0.5",
    "export half",
    "export half --int8",
    "bench half --seconds 0.3 --rounds 8 --passes 2 --out half.json",
    "compare half.json --fail-on slower --fail-on accuracy=2",
    "doctor half",
    f"frontier {RUN} --points 2 --rounds 4 --seconds 0.2",
    "plot half --figure filters",
    "report half",
    "study --paper --smoke --dry-run",
    "runs",
    "devices",
    "trust half",
    "schema",
)
EXITS = (
    (0, "done"),
    (2, "something that you can mend: one line says what, why, and what to type next"),
    (3, "`compare --fail-on` says no"),
    (70, "a fault of edgeprune: the line names a file for the report"),
    (130, "ended by Ctrl-C; 128 and a signal's number where another ended it (143: SIGTERM)"),
    (141, "the pipe that it wrote to was closed"),
)


def said(words: str) -> tuple[int, str]:
    """Exit code of a command, and what it wrote, notes and results in their order."""
    from edgeprune.cli import errors
    from edgeprune.cli.app import app

    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        sys.argv = ["edgeprune", *words.split()]
        code = errors.run(app)
    return code, out.getvalue()


def tidy(text: str, folder: Path) -> str:
    """Without this machine's paths, empty lines at the ends and trailing spaces."""
    text = text.replace(str(folder.resolve()), "…").replace(str(ROOT), "…")
    text = re.sub(r"/(?:tmp|root|home|work|usr)/[\w./-]+", "…", text)
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def session(name: str) -> Iterator[tuple[str, str]]:
    """Each line and what came of it; what stands in ``transcript.json`` is not run again."""
    kept = Path(name).resolve() / "transcript.json"
    known = json.loads(kept.read_text()) if kept.is_file() else {}
    with contextlib.chdir(name):
        for words in SESSION:
            print(words, file=sys.stderr, flush=True)
            code, text = known[words] if words in known else said(words)
            known[words] = (code, text)
            kept.write_text(json.dumps(known))
            if code not in (0, 3):
                raise SystemExit(f"edgeprune {words}: exit {code}\n{text}")
            shown = tidy(text, Path(name))
            lines = shown.splitlines()
            if len(lines) > 60:
                shown = "\n".join([*lines[:56], f"… {len(lines) - 56} more lines"])
            yield words, shown + (f"\n(exit code {code})" if code else "")


def page(name: str, examples: list[tuple[str, str]]) -> str:
    from edgeprune.cli.app import said as docstring

    about = re.sub(r"\[/?b\]", "`", docstring(name)).strip()
    _, options = said(f"{name} --help-all")
    blocks = [f"```console\n$ edgeprune {words}\n{text}\n```" for words, text in examples]
    made = "Made by `python benchmarks/pages.py`, in one process; the machine did other work, too."
    return "\n\n".join([
        f"# edgeprune {name}", about, *(["## As it ran", made, *blocks] if blocks else []),
        "## All options", f"```text\n{tidy(options, Path('/nowhere'))}\n```",
    ]) + "\n"  # fmt: skip


def reference() -> str:
    from edgeprune.cli import given
    from edgeprune.extras import EXTRAS

    exits = [f"| {code} | {text} |" for code, text in EXITS]
    extras = [f"| `{name}` | {', '.join(modules)} |" for name, modules in EXTRAS.items()]
    return "\n".join([
        "# Exit codes, variables, files", "",
        "Made by `python benchmarks/pages.py`; do not edit.", "",
        "## Exit codes", "", "| code | when |", "| --: | :-- |", *exits, "",
        "## Variables", "",
        "| variable | is |", "| :-- | :-- |",
        "| `EDGEPRUNE_HOME` | the folder with `weights/`, `data/`, `devices/` |",
        f"| `{given.PREFIX}CONFIG` | `--config` of every command |",
        f"| `{given.PREFIX}COMMAND_OPTION` | `--option` of that command: `EDGEPRUNE_BENCH_DEVICE=board` |",
        "", "What is typed wins over variables, these over the file.", "",
        "## JSON", "",
        "Under `--json` stdout is one document with `format` and `version`; an error is one, too:",
        "`{\"error\": {\"what\", \"why\", \"next\", \"exit_code\"}}`. The files of a run have schemas:",
        "[`edgeprune schema NAME`](commands/schema.md) prints them.", "",
        "## Extras", "", "| extra | brings |", "| :-- | :-- |", *extras, "",
    ])  # fmt: skip


MADE = "Made by `python benchmarks/pages.py --texts` from the docstrings of the code; do not edit."


def told(thing: Any) -> str:
    """A docstring as Markdown: indented formulas stay as they are set."""
    text = inspect.cleandoc(thing.__doc__ or "").replace("``", "`").replace("<", "&lt;")
    return re.sub(r":\w+:`~?", "`", text)  # a role of Sphinx's


def methods() -> str:
    """How each method works, with formula and source, as its own code says it."""
    from edgeprune import quantise
    from edgeprune.graph import vanish
    from edgeprune.prune import SCORES, compensate, elimination, low_rank
    from edgeprune.quantise import equalise, repair
    from edgeprune.runtime import predictor

    parts = ["# Methods", MADE, "## Which filters leave: `--score`"]
    for name, row in SCORES.items():
        parts += [f"### {name}", told(row.function)]
    rooms = {
        "The exact order of leaving: `reconstruction`": elimination,
        "Repair without labels: `--compensate`": compensate,
        "Branches that vanish: `--floor 0`": vanish,
        "Layers as pairs of thinner ones: `--way low-rank`": low_rank,
        "8 bits": quantise,
        "8 bits: equalised channels": equalise,
        "8 bits: repaired layers": repair,
        "Milliseconds of layers that were never run": predictor,
    }
    for title, room in rooms.items():
        parts += [f"## {title}", told(room)]
    return "\n\n".join(parts) + "\n"


def found() -> str:
    """What doctor can say, one row a finding."""
    from edgeprune.doctor.findings import FINDINGS, in_8_bits, promise

    rows = [*FINDINGS, promise, in_8_bits]
    parts = [
        "# Findings of doctor", MADE,
        "`edgeprune doctor FILE.onnx` (or a run) tells those that a network shows on this machine, the most "
        "expensive first, each as seen, likely cause, what to do next. [As it ran](commands/doctor.md).",
    ]  # fmt: skip
    for row in rows:
        parts += [f"## {row.__name__.replace('_', ' ')}", told(row)]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    (ROOT / "docs" / "reference.md").write_text(reference())
    (ROOT / "docs" / "methods.md").write_text(methods())
    (ROOT / "docs" / "findings.md").write_text(found())
    if "--texts" in sys.argv[1:]:
        return
    folder = ROOT / "docs" / "commands"
    folder.mkdir(parents=True, exist_ok=True)
    by: dict[str, list[tuple[str, str]]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        place = sys.argv[sys.argv.index("--in") + 1] if "--in" in sys.argv else temporary
        Path(place).mkdir(exist_ok=True)
        for words, text in session(place):
            by.setdefault(words.split()[0], []).append((words, text))
    for name, examples in by.items():
        (folder / f"{name}.md").write_text(page(name, examples))


if __name__ == "__main__":
    main()
