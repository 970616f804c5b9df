"""Two workers on one storage, one of them killed at random again and again, against one left in peace.

Each time a second worker is started beside the first, and after some moments one of the two is killed
(SIGKILL). In the end the weights of every run (bit by bit), their histories without the clock, and the table
must be those of one worker alone. A study of a tiny network, as in the tests:

    python -m benchmarks.study_kills [--kills 10] [--storage sqlite:///shared.db] [--seed 0]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from tests.study import test_workers, tiny

RESULTS = Path(__file__).parent / "results" / "study_kills.md"


def main() -> int:
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--kills", type=int, default=10)
    words.add_argument("--storage", default="", help="default: a journal")
    words.add_argument("--seed", type=int, default=0, help="when, and which of the two")
    asked = words.parse_args()
    storage = ("--storage", asked.storage) if asked.storage else ()
    with tempfile.TemporaryDirectory() as place:
        whole, broken = Path(place, "whole"), Path(place, "broken")
        seconds = []
        for folder in (whole, broken):
            folder.mkdir()
            tiny.prepare(folder)
            begun = time.perf_counter()
            if folder is whole:
                test_workers.finish(folder)
            else:
                test_workers.two_with_kills(folder, asked.kills, asked.seed, *storage)
            seconds.append(time.perf_counter() - begun)
        expected, found = tiny.outcome(whole), tiny.outcome(broken)
    runs, same = expected["runs"], found["table"] == expected["table"]
    equal = sum(found["runs"].get(name) == run for name, run in runs.items())
    row = (
        f"| {asked.storage.partition(':')[0] or 'journal'} | {asked.kills} | {equal} of {len(runs)} | "
        f"{'the same' if same else 'ANOTHER'} | {seconds[0]:.0f} s | {seconds[1]:.0f} s |"
    )
    write(row)
    print(row)
    return 0 if same and equal == len(runs) else 1


def write(row: str) -> None:
    """The row of this storage, beside those of others."""
    head = [
        "# Workers of a study, killed at random", "",
        "Made by `python -m benchmarks.study_kills`; a tiny network, two seeds, 12 jobs; two workers, "
        "one killed by SIGKILL after 0.1 to 1.5 s, then another in its place. Other work ran beside it.", "",
        "| storage | kills | runs equal bit by bit | table | one worker | two, killed |",
        "| :-- | --: | --: | :-- | --: | --: |",
    ]  # fmt: skip
    there = RESULTS.read_text().splitlines()[len(head) :] if RESULTS.is_file() else []
    rows = [line for line in there if line.split("|")[1] != row.split("|")[1]]
    RESULTS.write_text("\n".join([*head, *rows, row]) + "\n")


if __name__ == "__main__":
    raise SystemExit(main())
