"""Does the verdict hold? The same network twice, and one that is a tenth slower, again and again.

    python benchmarks/same_same.py [--runs 40] [--loops 0 2] [--seconds 2] [--passes 10]

Each run is one `edgeprune bench` of three files: a network, its copy, and the network with one of its
layers widened by a quarter, so that two of its five equal layers take a quarter longer: about 10 % in all.
Right is "no measurable difference" for the copy and "slower" for the widened one. All runs are made once
on the machine as it is and once with a busy loop beside it for every core. Claim: right in at least 38
of 40, each. About half an hour; each run is kept as soon as it is there, and not made again.
Table and figures go to benchmarks/results/same_same.{md,json} (--out FOLDER: elsewhere).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from edgeprune import bench, files, records
from edgeprune.doctor.synthetic import Builder
from edgeprune.report import Column, Table

RESULTS = Path(__file__).parent / "results"
SAME = "no measurable difference"


def network(widened: bool) -> onnx.ModelProto:
    """Six 3x3 convolutions of 64 channels at 28 pixels; ``widened``: the fourth has 80."""
    widths = [64, 64, 64, 80 if widened else 64, 64, 64]
    b = Builder()
    x, before = b.input("images", (1, 3, 28, 28)), 3
    for i, width in enumerate(widths):
        x, before = b.conv(f"conv{i}", x, before, width), width
    b.output(b.op("GlobalAveragePool", "pool", [x]))
    return b.model()


@contextmanager
def busy(loops: int) -> Iterator[None]:
    """That many processes that do nothing but take a core."""
    started = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(loops)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--loops", type=int, nargs="*", default=[0, os.cpu_count() or 1])
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--passes", type=int, default=10)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    request = bench.Request(
        seconds=options.seconds, passes=options.passes, rounds=5 * options.passes
    )
    asked = {"seconds": options.seconds, "passes": options.passes}
    kept = options.out / "same_same.json"
    found: dict[str, Any] = files.read_json(kept) if kept.is_file() else {"runs": []}
    if found.setdefault("request", asked) != asked:
        raise SystemExit(f"{kept} was measured with {found['request']}: remove it first")
    done = {(row["loops"], row["run"]) for row in found["runs"]}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        models = [folder / f"{stem}.onnx" for stem in ("network", "copy", "widened")]
        for path in models:
            onnx.save(network(path.stem == "widened"), path)
        for loops in options.loops:
            with busy(loops):
                for i in (i for i in range(options.runs) if (loops, i) not in done):
                    row = one(models, folder / "r.json", request) | {"loops": loops, "run": i}
                    found["environment"] = row.pop("environment")
                    found["runs"].append(row)
                    files.write_json(kept, found)
                    print(
                        f"{loops} busy loops, run {i + 1}: {row['same']}, {row['tenth']}",
                        file=sys.stderr,
                    )
    text = table(found)
    print(text.text())
    files.write_text(options.out / "same_same.md", text.markdown() + "\n")


def one(models: list[Path], out: Path, request: bench.Request) -> dict[str, Any]:
    result = bench.measure(models, out=out, request=request)
    measured = result.told.measured
    network, same, widened = result.networks
    return {
        "same": same.verdict,
        "tenth": widened.verdict,
        "same_ratio": 1 / same.speedup,
        "tenth_ratio": 1 / widened.speedup,
        "half_width": half_width(same),
        "median_s": network.latency.median_s,
        "clock": network.latency.clock,
        "unswitched_share": network.unswitched_share,
        "load": (measured["before"]["load"] or [None])[0],
        "environment": measured["environment"],
    }


def half_width(network: records.Judged) -> float | None:
    low, high = network.speedup_interval or (None, None)
    return None if low is None or high is None else (high / low) ** 0.5 - 1


def table(found: dict[str, Any]) -> Table:
    rows = []
    for loops in sorted({r["loops"] for r in found["runs"]}):
        mine = [r for r in found["runs"] if r["loops"] == loops]
        halves = [r["half_width"] for r in mine if r["half_width"] is not None]
        rows.append(
            {
                "loops": loops,
                "runs": len(mine),
                "same": sum(r["same"] == SAME for r in mine),
                "tenth": sum(r["tenth"] == "slower" for r in mine),
                "ratio": float(np.median([r["tenth_ratio"] for r in mine])),
                "half": float(np.median(halves)) if halves else None,
                "kept": float(np.median([r["unswitched_share"] or 0.0 for r in mine])),
                "load": float(np.median([r["load"] or 0.0 for r in mine])),
            }
        )
    columns = [
        Column("loops", "busy loops"), Column("runs"), Column("same", "copy: no difference"),
        Column("tenth", "widened: slower"), Column("ratio", "its time", lambda v: f"{v:.3f}x"),
        Column("half", "interval", lambda v: f"+-{100 * v:.1f} %"),
        Column("kept", "kept their core", lambda v: f"{100 * v:.0f} %"),
        Column("load", show=lambda v: f"{v:.1f}"),
    ]  # fmt: skip
    environment, request = found["environment"], found["request"]
    note = (
        f"{environment['cpu']['name']}, {environment['cpu']['cores']} cores, 1 thread, onnxruntime "
        f"{environment['onnxruntime']}; {request['passes']} processes and {request['seconds']:g} s of runs "
        "a network and bench. Medians over the benches."
    )
    return Table("The same network twice, and one a tenth slower", columns, rows, [note])


if __name__ == "__main__":
    main()
