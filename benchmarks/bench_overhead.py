"""Does the runner measure what a bare loop around the session takes? And what memory does it add?

    python benchmarks/bench_overhead.py [MODEL.onnx ...]

A bare loop (import, session, ``run`` between two readings of the clock, the same input each time) and
the runner's session live in fresh processes and are stepped in turn, slice by slice, passes times.
Samples of both are judged by ``bench/stats.py``. Claims: medians within 3 %, and a peak at most
60 MiB above the bare one's. Without a model: two networks made here, of some 2 and 10 ms. Table and
figures go to results/bench_overhead.{md,json}.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import onnx
from same_same import network
from widths import DENSE, mobilenet

from edgeprune import files, records
from edgeprune.bench import stats
from edgeprune.bench.devices.base import runner_path
from edgeprune.report import Column, Table

RESULTS = Path(__file__).parent / "results"

PASSES, ROUNDS, SLICE = 10, 6, 0.1  # processes of each kind, rounds in each, seconds

BARE = """
import json, os, resource, sys, time
import numpy as np, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
feed = {session.get_inputs()[0].name: np.load(sys.argv[2])}
for line in sys.stdin:
    times, switches = [], []
    for _ in range(int(line)):
        s = resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw
        t = time.perf_counter()
        session.run(None, feed)
        times.append(time.perf_counter() - t)
        switches.append(resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw - s)
    peak = [v for v in open("/proc/self/status") if v.startswith("VmHWM")][0].split()[1]
    samples = {"wall_s": times, "cpu_s": times, "switches": switches}
    print(json.dumps({"peak": int(peak) * 1024, **samples}), flush=True)
"""


def load_runner() -> Any:
    spec = importlib.util.spec_from_file_location("runner", runner_path())
    assert spec is not None
    assert spec.loader is not None
    runner = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(runner)
    return runner


def compare(runner: Any, model: str, folder: Path) -> dict[str, Any]:
    import numpy as np

    options = runner.parse([model])
    sides: list[dict[str, Any]] = [{"sessions": []}, {"sessions": []}]
    peaks: list[list[int]] = [[], []]
    for number in range(PASSES):
        process = runner.Process(options["command"], model)
        hello = process.ask(do="load", options=options, model=model)
        shape = next(iter(hello["inputs"].values()))
        np.save(folder / "x.npy", np.random.default_rng(0).standard_normal(shape, np.float32))
        bare = subprocess.Popen(
            [sys.executable, "-c", BARE, model, str(folder / "x.npy")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert bare.stdin is not None
        assert bare.stdout is not None

        def step(n: int, bare: Any = bare) -> dict[str, Any]:
            bare.stdin.write(f"{n}\n")
            bare.stdin.flush()
            return json.loads(bare.stdout.readline())

        n = max(4, round(SLICE / sorted(hello["warm_up_s"])[len(hello["warm_up_s"]) // 2]))
        step(n)  # warm-up
        for side in sides:
            side["sessions"].append({"pass": number, "rounds": []})
        for turn in range(ROUNDS):
            kinds = (lambda: step(n), lambda: process.ask(do="run", n=n))  # noqa: B023
            for i in (0, 1) if turn % 2 else (1, 0):
                samples = kinds[i]() | {"round": number * ROUNDS + turn}
                sides[i]["sessions"][-1]["rounds"].append(samples)
                if i == 0:
                    bare_peak = samples["peak"]
        peaks[0].append(bare_peak)
        peaks[1].append(process.ask(do="sum")["memory"]["peak"]["high_water"])
        process.end()
        bare.stdin.close()
        bare.wait()
    timed = [records.Timed(sessions=[_session(s) for s in side["sessions"]]) for side in sides]
    loop, ours = stats.clean(timed)
    ratio = stats.speedup(ours, loop)
    return {
        "model": Path(model).name,
        "bare_ms": 1e3 * float(np.median(loop.seconds)),
        "runner_over_bare": ratio.value,
        "interval": [ratio.low, ratio.high],
        "within_3_percent": abs(ratio.value - 1) <= 0.03,
        "memory_above_bare_mib": (sorted(peaks[1])[PASSES // 2] - sorted(peaks[0])[PASSES // 2])
        / 2**20,
        "unswitched_share": [stats.unswitched_share(s) for s in timed],
    }


def _session(raw: dict[str, Any]) -> records.Session:
    columns = ("round", "wall_s", "cpu_s", "switches", "energy_uj")
    rounds = [records.Round(**{k: r.get(k) for k in columns}) for r in raw["rounds"]]
    return records.Session(number=raw["pass"], rounds=rounds)


def main(given: list[str]) -> None:
    runner = load_runner()
    with tempfile.TemporaryDirectory() as folder:
        models = given or made(Path(folder))
        found = [compare(runner, model, Path(folder)) for model in models]
    columns = [
        Column("model", align="left"), Column("bare_ms", "bare loop, ms", lambda v: f"{v:.3f}"),
        Column("runner_over_bare", "runner / bare", lambda v: f"{v:.4f}"),
        Column("low", "95 % from", lambda v: f"{v:.4f}"), Column("high", "to", lambda v: f"{v:.4f}"),
        Column("memory_above_bare_mib", "memory above bare", lambda v: f"{v:.1f} MiB"),
    ]  # fmt: skip
    rows = [r | {"low": r["interval"][0], "high": r["interval"][1]} for r in found]
    note = (
        f"{machine()}; 1 thread, {PASSES} processes of each kind, {ROUNDS} rounds in each, in turn. Claims: "
        "within 3 %, at most 60 MiB."
    )
    text = Table("The runner beside a bare loop around the session", columns, rows, [note])
    print(text.text())
    files.write_text(RESULTS / "bench_overhead.md", text.markdown() + "\n")
    files.write_json(RESULTS / "bench_overhead.json", {"machine": machine(), "rows": found})


def made(folder: Path) -> list[str]:
    paths = [folder / "small.onnx", folder / "mobilenetv1-224.onnx"]
    for path, model in zip(paths, (network(widened=False), mobilenet(DENSE)), strict=True):
        onnx.save(model, path)
    return [str(path) for path in paths]


def machine() -> str:
    from edgeprune.runtime.device import profile_path

    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return profile_path().stem.replace("-", " ") + load


if __name__ == "__main__":
    main(sys.argv[1:])
