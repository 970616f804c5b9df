"""Random networks, as many as asked for: cut == masked, twice == once, saved == loaded, cost known.

    python benchmarks/properties.py [2000]

The networks and the property are those of ``tests/prune/test_random_nets.py``. They are drawn in
batches of 50, each with a seed of its own; a batch that ``results/properties.jsonl`` has is not run
again. Writes ``results/properties.md``.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import torch  # noqa: E402
from hypothesis import given, seed, settings  # noqa: E402
from zoo import commit, machine  # noqa: E402

from edgeprune import files  # noqa: E402
from tests.prune.test_random_nets import CASES, holds, relaxed  # noqa: E402

RESULTS = HERE / "results"
BATCH = 50


def run_batch(number: int) -> dict[str, Any]:
    """One batch: how many networks, of which steps, which failed, in how many CPU seconds."""
    steps: Counter[str] = Counter()
    failed: list[str] = []
    count = 0

    @seed(number)
    @settings(relaxed, max_examples=BATCH, derandomize=False, database=None)
    @given(**CASES)
    def check(net: Any, seed: int, share: float, exact_norms: bool) -> None:
        nonlocal count
        count += 1
        steps.update(kind for kind, _, _ in net.steps)
        try:
            holds(net, seed, share, exact_norms)
        except Exception as e:
            failed.append(
                f"{net!r}, seed {seed}, share {share}, exact norms {exact_norms}: "
                f"{type(e).__name__}: {str(e)[:200]}"
            )

    started = time.process_time()
    check()
    seconds = time.process_time() - started
    return {
        "batch": number,
        "networks": count,
        "failed": failed,
        "steps": steps,
        "seconds": seconds,
        "commit": commit(),
        "machine": machine(),
    }


def write_table(rows: list[dict[str, Any]]) -> None:
    steps: Counter[str] = Counter()
    for row in rows:
        steps.update(row["steps"])
    failed = [text for row in rows for text in row["failed"]]
    commits = ", ".join(sorted({f"`{row['commit']}`" for row in rows}))
    kinds = ", ".join(f"{kind} {n}" for kind, n in steps.most_common())
    lines = [
        "# Random networks",
        f"Made by `python benchmarks/properties.py` and nothing else; commit {commits}.\n"
        f"Machine: {'; '.join(sorted({row['machine'] for row in rows}))}.",
        f"**{sum(row['networks'] for row in rows)} networks, {len(failed)} failures**, "
        f"{sum(row['seconds'] for row in rows):.0f} CPU seconds. Each was cut at random, cut again, saved "
        "and loaded into a fresh build: cut == masked and the second cut == both at once (float64, 1e-9, on "
        "a fresh input), loaded == saved to the bit, promised cost == the cut network's.",
        f"Steps drawn, beside the stem and the head: {kinds}.",
        *(f"- {text}" for text in failed),
    ]
    files.write_text(RESULTS / "properties.md", "\n\n".join(lines) + "\n")


def main() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    wanted = int(sys.argv[1]) if sys.argv[1:] else 2000
    path = RESULTS / "properties.jsonl"
    rows = {row["batch"]: row for row in files.read_lines(path)}
    for number in range(-(-wanted // BATCH)):
        if number not in rows:
            rows[number] = run_batch(number)
            files.append_line(path, rows[number])
            done = rows[number]
            print(
                f"{number}: {done['networks']} networks, {len(done['failed'])} failures", flush=True
            )
            write_table(list(rows.values()))
    write_table(list(rows.values()))


if __name__ == "__main__":
    main()
