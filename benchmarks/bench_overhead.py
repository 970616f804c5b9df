"""Does the runner measure what a bare loop around the session takes? And what memory does it add?

    python benchmarks/bench_overhead.py MODEL.onnx [MODEL.onnx ...]

A bare loop (import, session, ``run`` between two readings of the clock, the same input each time) and
the runner's session live in fresh processes and are stepped in turn, slice by slice, passes times.
Samples of both are judged by ``bench/stats.py``. Claims: medians within 3 %, and a peak at most
60 MiB above the bare one's. The last line of stdout is JSON.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from edgeprune.bench import stats
from edgeprune.bench.devices.base import runner_path

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
    loop, ours = stats.clean(sides)
    ratio = stats.speedup(ours, loop)
    return {
        "model": Path(model).name,
        "bare_ms": 1e3 * float(np.median(loop.seconds)),
        "runner_over_bare": ratio.value,
        "interval": [ratio.low, ratio.high],
        "within_3_percent": abs(ratio.value - 1) <= 0.03,
        "memory_above_bare_mib": (sorted(peaks[1])[PASSES // 2] - sorted(peaks[0])[PASSES // 2])
        / 2**20,
        "unswitched_share": [stats.unswitched_share(s) for s in sides],
    }


def main(models: list[str]) -> None:
    import tempfile

    runner = load_runner()
    with tempfile.TemporaryDirectory() as folder:
        found = [compare(runner, model, Path(folder)) for model in models]
    for row in found:
        print(
            f"{row['model']:24} bare {row['bare_ms']:8.3f} ms   runner/bare {row['runner_over_bare']:.4f} "
            f"({row['interval'][0]:.4f} to {row['interval'][1]:.4f})   "
            f"memory +{row['memory_above_bare_mib']:.1f} MiB",
            file=sys.stderr,
        )
    print(json.dumps({"benchmark": "bench_overhead", "rows": found}))


if __name__ == "__main__":
    main(sys.argv[1:])
