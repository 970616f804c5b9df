#!/usr/bin/env python3
"""Where the time of ONNX models goes on this machine: per operator, raw, never a judgement.

    python3 profiler.py [--seconds S] [--threads N] [--batch N] [--shape NAME=A,B,..] -- MODEL.onnx ...

It lies beside runner.py and shares its parts: numpy, onnxruntime and the standard library. It is started
in a process of its own. Each model gets two sessions with the same options, one timed whole and one with
the runtime's profiler on (which costs time), taken in turn in short slices, all models interleaved. The
graph as the runtime optimised it for this machine is written beside each model as MODEL.optimised.onnx.

Once a second a line {"turn": N, "of": N} says how far it has come. The last line of stdout is one JSON
document:
  profiler 1, environment {cpu, onnxruntime, ..., caches [{level, kind, bytes}]},
  models [{file, optimised, load_s, slice (runs in a row; the first of each meets cold caches),
    whole {wall_s [..], cpu_s [..], switches [..]}, profiled {the same},
    nodes [{name, operator, seconds [..] (one a profiled run, whole microseconds)}]}]
If something fails the last line is {"error": "...", "model": FILE or null} and the exit code is 2.
"""

from __future__ import annotations

import glob
import json
import os
import sys
import time

import runner

FORMAT = 1
RUNS = (4, 64)  # fewest and most runs in a row
SLICE = 0.02  # seconds in a row: it takes some runs until the caches are those of a network that runs alone
SLICES = (4, 100)  # fewest and most slices a model
CLEAN = 8  # runs without a preemption that are waited for ...
PATIENCE = 4  # ... up to so many times the slices asked for
SAID_EVERY = 1.0  # seconds between two lines of progress


class Profiled(runner.Session):
    """A session of the runner's with other settings; its inputs and its timed runs are the runner's."""

    def __init__(self, options, model, prefix=None):
        import numpy
        import onnxruntime

        onnxruntime.set_default_logger_severity(3)
        self.np, self.threads, self.prefix = numpy, options["threads"], prefix
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = self.threads
        settings.inter_op_num_threads = 1
        settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if prefix is not None:
            settings.enable_profiling = True
            settings.profile_file_prefix = prefix
            settings.optimized_model_filepath = model + ".optimised.onnx"
        start = time.perf_counter()
        self.session = onnxruntime.InferenceSession(
            model, settings, providers=["CPUExecutionProvider"]
        )
        self.load_s = time.perf_counter() - start
        self.batch, self.shapes = options["batch"], options["shapes"]
        self.feeds = [self.feed(k) for k in range(runner.INPUTS)]
        self.preempted = runner.preemptions(self.threads)
        self.turn = 0
        self.samples = {"wall_s": [], "cpu_s": [], "switches": []}

    def check(self, outputs, k):
        """Answers are the runner's business."""

    def slice(self, runs):
        for key, values in self.run(runs).items():
            self.samples[key] += values

    def nodes(self, skipped):
        """The profile's rows, without the first ``skipped`` runs."""
        path = self.session.end_profiling()
        with open(path, encoding="utf-8", errors="replace") as f:
            events = json.load(f)
        os.unlink(path)
        runs, rows = [], []
        for event in events:
            if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
                rows.append(event)
            elif event.get("cat") == "Session" and event["name"] == "model_run":
                runs.append(rows)
                rows = []
        runs = runs[skipped:]
        return [
            {
                "name": first["name"][: -len("_kernel_time")],
                "operator": first["args"]["op_name"],
                "seconds": [round(run[i]["dur"] * 1e-6, 7) for run in runs],
            }
            for i, first in enumerate(runs[0])
        ]


def caches():
    """[{level, kind, bytes}] of the first core, as far as the system tells."""
    found = []
    for folder in sorted(glob.glob("/sys/devices/system/cpu/cpu0/cache/index*")):
        size, level = runner.read(folder + "/size"), runner.number(folder + "/level")
        kind = runner.read(folder + "/type")
        if size and size[:-1].isdigit() and level and kind != "Instruction":
            unit = {"K": 2**10, "M": 2**20, "G": 2**30}.get(size[-1])
            if unit:
                found.append({"level": level, "kind": kind, "bytes": int(size[:-1]) * unit})
    return found


def clean(model):
    """Whether both sessions have enough runs in which they kept their core."""
    _, whole, profiled, _, runs = model
    for session in (whole, profiled):
        switches = session.samples["switches"]
        if sum(1 for i, n in enumerate(switches) if not n and i % runs) < CLEAN:
            return False
    return True


def measure(options):
    models = []
    for i, path in enumerate(options["models"]):
        try:
            whole = Profiled(options, path)
            profiled = Profiled(options, path, prefix=f"{path}.{i}.profile")
            for session in (whole, profiled):
                session.run(2)
            start = time.perf_counter()
            whole.run(2)
            once = (time.perf_counter() - start) / 2
            profiled.run(2)
        except runner.SessionError as e:
            raise runner.RunnerError(path, str(e)) from None
        except Exception as e:  # onnxruntime raises plain and undocumented classes
            raise runner.RunnerError(path, " ".join(f"{type(e).__name__}: {e}".split())) from None
        runs = min(max(round(SLICE / max(once, 1e-6)), RUNS[0]), RUNS[1])
        slices = int(options["seconds"] / max(once, 1e-6) / runs / 2)
        models.append((path, whole, profiled, min(max(slices, SLICES[0]), SLICES[1]), runs))
    turn, waiting, said = 0, models, 0.0
    asked = max(m[3] for m in models)
    while waiting:
        for _, whole, profiled, _, runs in waiting:
            whole.slice(runs)
            profiled.slice(runs)
        turn += 1
        if time.monotonic() - said >= SAID_EVERY:
            print(json.dumps({"turn": min(turn, asked), "of": asked}), flush=True)
            said = time.monotonic()
        waiting = [m for m in waiting if turn < m[3] * PATIENCE and (turn < m[3] or not clean(m))]
    return {
        "profiler": FORMAT,
        "environment": {
            **models[0][1].environment(__import__("onnxruntime")),
            "caches": caches(),
        },
        "models": [
            {
                "file": path,
                "optimised": path + ".optimised.onnx",
                "load_s": whole.load_s,
                "slice": runs,
                "whole": whole.samples,
                "profiled": profiled.samples,
                "nodes": profiled.nodes(skipped=4),
            }
            for path, whole, profiled, _, runs in models
        ],
    }


def main(arguments):
    if not arguments or "--help" in arguments or "-h" in arguments:
        print(__doc__.strip())
        return 0
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    for name in ("ORT_INTRA_OP_NUM_THREADS", "ORT_LOAD_CONFIG_FROM_MODEL"):
        os.environ.pop(name, None)
    options = runner.parse(arguments)
    try:
        document, code = measure(options), 0
    except runner.RunnerError as e:
        document, code = {"error": str(e), "model": e.model}, 2
    except (OSError, MemoryError) as e:
        document, code = {"error": str(e) or type(e).__name__, "model": None}, 2
    print(json.dumps(document, allow_nan=False), flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
