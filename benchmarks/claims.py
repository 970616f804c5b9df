"""What the paper claims and what became of it, as a page of the site: docs/claims.md.

    edgeprune study benchmarks/mobilenet_cifar10.toml --tables --out benchmarks/results/study
    python benchmarks/claims.py

The first writes the study's tables from its runs as they are now, the second makes the page from the
``claims.csv`` and the scale in the ``README.md`` of every study that lies in results/; nothing is typed.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from edgeprune import files
from edgeprune.study import CLAIMS, PRINTED, printed

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "claims.md"
STUDIES = {  # folder of results -> the command that makes it
    "study": "edgeprune study benchmarks/mobilenet_cifar10.toml --out benchmarks/results/study",
}
ALL = "edgeprune study --paper"  # the whole of it
HEAD = (
    "# What the paper claims, and what became of it",
    "",
    "Made by `python benchmarks/claims.py` from the tables of studies; do not edit. Hubens et al. 2020,",
    "and one control of Liu et al. 2019. Theirs: from the cells and widths that they print, of one run each;",
    "they print no accuracy. Ours: mean over seeds with the interval of 95 %. *yes*: the whole interval lies",
    "above the bound (0 where none is named), *no*: below it, *not decided*: it holds the bound, or there",
    "are fewer than two seeds that count (a baseline whose accuracy still rises does not).",
    "",
)
SYSTEMS = (
    "## Other systems",
    "",
    "Their tables lie beside their commands in `benchmarks/results/`: `methods.md` (criteria, ways, low",
    "rank, on one network), `patterns.md` (regular patterns inside kernels, and what a runtime makes of",
    "them), `retrieval.md` (descriptors judged by what they find).",
)


def found(folder: str) -> dict[tuple[str, str], Mapping[str, str]]:
    """(claim as it is said, where) -> the row of the study's table; of several ways the first."""
    path = RESULTS / folder / "claims.csv"
    rows: dict[tuple[str, str], Mapping[str, str]] = {}
    if path.is_file():
        for row in csv.DictReader(path.read_text().splitlines()):
            rows.setdefault((row["claim"], row["where"]), row)
    return rows


def state(folder: str) -> tuple[str, list[str]]:
    """The study's headline and what it says of its scale; nothing where it did not run."""
    path = RESULTS / folder / "README.md"
    if not path.is_file():
        return "", []
    text = path.read_text()
    scale = re.search(r"^## Scale\n\n((?:- .*\n)+)", text, re.MULTILINE)
    return text.splitlines()[0].lstrip("# "), scale[1].splitlines() if scale else []


def page() -> str:
    lines = [*HEAD]
    seen: set[tuple[str, str]] = set()
    for folder, command in STUDIES.items():
        rows, (title, scale) = found(folder), state(folder)
        lines += [f"## {title or folder + ': not run yet'}", "", f"`{command}`", "", *scale, ""]
        lines += table(
            (claim, where, row) for (claim, where), row in rows.items() if claim in SAID
        ) if rows else []  # fmt: skip
        seen |= {(claim, where) for claim, where in rows}
    lines += ["## Networks and sets that no study here holds", "", f"`{ALL}` (on a GPU)", ""]
    rest = [
        (said, f"{model} on {data}", None)
        for model, data in dict.fromkeys((p.model, p.data) for p in PRINTED)
        for said, name in SAID.items()
        if CLAIMS[name].only in (None, (model, data))
        and printed(name, model, data) is not None
        and (said, f"{model} on {data}") not in seen
    ]
    return "\n".join([*lines, *table(iter(rest)), "", *SYSTEMS]) + "\n"


SAID = {claim.said: name for name, claim in CLAIMS.items()}


def table(rows: Iterator[tuple[str, str, Mapping[str, str] | None]]) -> list[str]:
    lines = ["| claim | on | of what | theirs | ours | seeds | answer |",
             "| :-- | :-- | :-- | --: | --: | --: | :-- |"]  # fmt: skip
    for said, where, row in rows:
        model, _, data = where.partition(",")[0].partition(" on ")
        theirs = printed(SAID[said], model, data)
        cells = [said, where, CLAIMS[SAID[said]].figure, "" if theirs is None else f"{theirs:+.1f}"]
        if row is None:
            cells += ["", "0", "not run"]
        else:
            ours = f"{float(row['figure']):+.1f}" if row["figure"] else ""
            interval = f" ({row['interval']})" if row.get("interval") else ""
            cells += [ours + interval, row["seeds"], row["answer"]]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def main() -> None:
    files.write_text(PAGE, page())


if __name__ == "__main__":
    main()
