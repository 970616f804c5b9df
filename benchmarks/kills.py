"""Killed anywhere, the same command again: every command that writes, against an unbroken run.

A command is killed (SIGKILL) at one of its writes, which are numbered (fsync and rename), and typed
again; what it leaves must be bit for bit what an unbroken one leaves: weights, history without the clock,
plan, .onnx files, page, pictures. Of what is measured anew (bench, doctor, the probe) everything but the
measured values (`MEASURED`) must be the same. Nothing half-written may lie beside it. Small networks; can
be stopped and goes on:

    python -m benchmarks.kills [--kills 5] [--only train --only export] [--state FOLDER]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeprune import files, records, runs
from tests.ways import tiny

RESULTS = Path(__file__).parent / "results"
CONTEXT = multiprocessing.get_context("forkserver")  # torch is imported once, not for each kill
CONTEXT.set_forkserver_preload([tiny.__name__])
HEAD = tiny.WORDS.split(" --retrain-epochs")[0]
TAIL = "--round-to 1 --precision fp32 --name r"
TRAIN = HEAD.replace("prune", "train") + " --precision fp32 --name r"
TARGET = f"{HEAD} --keep-flops 0.5 --retrain-epochs 1"


@dataclass(frozen=True)
class Case:
    """A command, what comes before it, and what must be the same afterwards."""

    name: str
    words: str
    before: tuple[str, ...]
    outcome: Callable[[Path], Any]
    same: str  # in the table


def networks(folder: Path) -> Any:
    """Weights, history without the clock, spec and plan of every run."""
    found = {}
    for path in sorted((folder / "runs").iterdir()):
        run = runs.Run(path)
        clock = ("seconds", "time")
        lines = [records.line_of(record) for record in run.told()[0]]
        found[path.name] = {
            "weights": {p.name: sha(p) for p in sorted(path.glob("*.safetensors"))},
            "history": [{k: v for k, v in line.items() if k not in clock} for line in lines],
            "files": [sha(p) for p in (run.spec_path, run.plan_path) if p.is_file()],
            "left": [
                *sorted(p.name for p in path.rglob(".*.part*")),
                str(run.state_folder.exists()),
            ],
        }
    return found


def these(*patterns: str) -> Callable[[Path], Any]:
    def outcome(folder: Path) -> Any:
        run = folder / "runs" / "r"
        paths = [p for pattern in patterns for p in sorted(run.glob(pattern))]
        left = [p.name for p in run.rglob(".*.part*")]
        return {str(p.relative_to(run)): sha(p) for p in paths} | {"left": left}

    return outcome


MEASURED = (  # keys of result files whose values are measured anew, or follow from such
    "created", "time", "seconds", "import_s", "load_s", "first_run_s", "warm_up_s", "stable", "rounds",
    "memory", "before", "after", "environment", "stopped", "latency", "load", "energy_j",
    "unswitched_share", "contended", "speedup", "speedup_interval", "realised_speedup",
    "realised_speedup_interval", "verdict", "warnings", "peaks", "speed", "share", "bound", "moving",
    "roofline", "predicted", "measured",
)  # fmt: skip
BY_WIDTH = ("padding",)  # findings that follow from the graph alone


def timeless(value: Any, *also: str) -> Any:
    """``value`` without what is measured: what must be the same however often it is measured."""
    if isinstance(value, dict):
        kept = {k: v for k, v in value.items() if re.sub(r"_\d+$", "", k) not in (*MEASURED, *also)}
        return {k: timeless(v, *also) for k, v in kept.items()}
    return [timeless(v, *also) for v in value] if isinstance(value, list) else value


def benches(folder: Path) -> Any:
    """The last whole result: what was asked, the files, the answers, the promises, the accuracies."""
    from edgeprune import bench

    paths = sorted((folder / "runs" / "r" / "bench").glob("*.json"))
    whole = [p for p in paths if files.read_json(p)["status"] == "complete"][-1]
    bench.load(whole)
    told = files.read_json(whole)
    told["device said"] = told.pop("measured")["models"]
    return timeless(told) | {"left": left_in(folder)}


def diagnosis(folder: Path) -> Any:
    """Layers, layouts, counts and the findings that follow from widths; the files beside them."""
    place = folder / "runs" / "r" / "doctor"
    told = files.read_json(place / "doctor.json")
    for network in told["networks"]:
        network["findings"] = [f for f in network["findings"] if f["kind"] in BY_WIDTH]
        network["others"].sort(key=lambda other: str(other["name"]))  # the dearest stood first
    there = sorted(p.name for p in place.iterdir())
    return timeless(told) | {"files": there, "left": left_in(folder)}


def probed(folder: Path) -> Any:
    """The profile: what was probed (the shapes that it learnt from), and for which runtime."""
    from edgeprune.runtime import device

    found = {}
    for path in sorted((folder / "home" / "devices").glob("*.json")):
        if "widths" in path.name:  # kept only where the sweep was clear
            continue
        known = device.load(path)
        points = {
            k: sorted(v["points"]) for k, v in files.read_json(path)["model"]["processes"].items()
        }
        found[path.name] = [
            known.cpu,
            known.onnxruntime,
            known.model.block,
            known.error.networks,
            points,
        ]
    return {"profiles": found, "left": left_in(folder)}


def repaired(folder: Path) -> Any:
    """Both runs, and the .onnx of the one that was made."""
    made = sorted((folder / "runs" / "r-fixed").glob("*.onnx"))
    return networks(folder) | {"onnx": {p.name: sha(p) for p in made}}


def plans(folder: Path) -> Any:
    """The plan that was written outside of a run, beside everything in the run."""
    return networks(folder) | {"plan": sha(folder / "plan.json")}


def left_in(folder: Path) -> list[str]:
    return [p.name for p in folder.rglob(".*.part*")]


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


PRUNED = (f"{TARGET} {TAIL}",)
EXPORTED = (*PRUNED, "export r")
CASES = (
    Case("train", TRAIN, (), networks, "weights, history, spec"),
    Case("prune, the paper's way", tiny.WORDS, (), networks, "weights, history, spec, plan"),
    Case("prune to a target", f"{TARGET} {TAIL}", (), networks, "weights, history, spec, plan"),
    Case("prune in rounds", f"{TARGET} --rounds 2 --schedule agp {TAIL}", (), networks,
         "weights, history, spec, plan"),
    Case("prune during training", f"{HEAD} --keep-flops 0.5 --during-training --rounds 2 "
         f"--retrain-epochs 2 {TAIL}", (), networks, "weights, history, spec, plan"),
    Case("prune --post-training", "prune r --post-training --keep-flops 0.6 --round-to 1 --name p",
         (TRAIN,), networks, "weights, history, spec, plan"),
    Case("prune --dry-run --plan-out", "prune r --keep-flops 0.6 --round-to 1 --dry-run "
         "--plan-out plan.json", (TRAIN,), plans, "the plan, and that the run is as it was"),
    Case("prune --plan", "prune r --plan plan.json --retrain-epochs 1 --name p",
         (TRAIN, "prune r --keep-flops 0.6 --round-to 1 --dry-run --plan-out plan.json"), networks,
         "weights, history, spec, plan"),
    Case("export", "export r", PRUNED, these("*.onnx"), ".onnx files"),
    Case("bench", "bench r --rounds 4 --passes 2 --seconds 0.1", EXPORTED, benches,
         "what was asked, files, answers, accuracies, promises"),
    Case("report", "report r", EXPORTED, these("report.html"), "the page"),
    Case("plot", "plot r", EXPORTED, these("plots/*"), "the pictures"),
    Case("doctor", "doctor r", EXPORTED, diagnosis, "layers, layouts, counts, findings by width"),
    Case("doctor --fix", "doctor r --fix", EXPORTED, repaired, "weights, history, spec, .onnx files"),
    Case("doctor --probe", "doctor --probe", (), probed, "the shapes it learnt from, the runtime"),
)  # fmt: skip


def child(folder: str, words: str, die_at: int, counted: str) -> None:
    """As `tiny.run`, with a home of its own and a probe of few networks."""
    import functools

    from edgeprune.doctor import probe

    os.environ["EDGEPRUNE_HOME"] = f"{folder}/home"
    Path(folder, "home").mkdir(exist_ok=True)
    probe.probe = functools.partial(probe.probe, 9, 0.02)  # type: ignore[assignment]
    tiny.run(folder, words, die_at, counted)


def start(folder: Path, words: str, die_at: int = 0, counted: str = "") -> int:
    words = words.format(here=folder)
    process = CONTEXT.Process(target=child, args=(str(folder), words, die_at, counted))
    process.start()
    process.join()
    return int(process.exitcode or 0)


def prepared(case: Case, state: Path) -> tuple[Path, int, Any]:
    """The folder before the command, how many writes the command has, and what it leaves unbroken."""
    stem = case.name.replace(" ", "-").replace(",", "").replace("'", "")
    before, after = state / f"{stem}-before", state / f"{stem}-after"
    if not (after / "calls").is_file():
        for folder in (before, after):
            shutil.rmtree(folder, ignore_errors=True)
        work = place(state)
        tiny.prepare(work)
        for words in case.before:
            if code := start(work, words):
                raise SystemExit(f"{words}: {code}\n{(work / 'log').read_text()[-500:]}")
        shutil.copytree(work, before, symlinks=True)
        if code := start(work, case.words, counted=str(work / "calls")):
            raise SystemExit(f"{case.words}: {code}\n{(work / 'log').read_text()[-500:]}")
        shutil.copytree(work, after, symlinks=True)
    return before, int((after / "calls").read_text()), case.outcome(after)


def place(state: Path) -> Path:
    """One folder for all: paths are written into recipes, so every run lies at the same one."""
    work = state / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    return work


def kill(case: Case, before: Path, die_at: int, wanted: Any, state: Path) -> str:
    """Nothing ("") if the same command again leaves what an unbroken one leaves."""
    died = 0
    while (
        died == 0 and die_at > 0
    ):  # what measures writes as long as it takes: fewer writes, next time
        work = place(state)
        shutil.copytree(before, work, dirs_exist_ok=True, symlinks=True)
        died = start(work, case.words, die_at)
        die_at -= max(1, die_at // 8)
    if died != -9:
        return f"was to die, ended with {died}"
    code = start(work, case.words)
    if code:
        return f"exit code {code}: {(work / 'log').read_text().strip().splitlines()[-1][:120]}"
    found = case.outcome(work)
    return "" if found == wanted else f"other: {different(wanted, found)}"


def different(wanted: Any, found: Any) -> str:
    one, other = (json.dumps(v, sort_keys=True, default=str) for v in (wanted, found))
    at = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), 0)
    return f"{one[max(0, at - 40) : at + 40]} / {other[max(0, at - 40) : at + 40]}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=5, help="of each command")
    parser.add_argument(
        "--only", action="append", default=[], help="a case by name; again for more"
    )
    parser.add_argument(
        "--state", type=Path, default=Path(tempfile.gettempdir()) / "edgeprune-kills"
    )
    words = parser.parse_args()
    words.state = words.state.resolve()
    words.state.mkdir(parents=True, exist_ok=True)
    kept = words.state / "kills.jsonl"
    done = {(row["case"], row["kill"]) for row in files.read_lines(kept)}
    for number in range(words.kills):
        for case in CASES:
            wanted = not words.only or case.name in words.only
            if not wanted or (case.name, number) in done:
                continue
            before, calls, outcome = prepared(case, words.state)
            die_at = 1 + number * (calls - 1) // max(1, words.kills - 1)
            said = kill(case, before, die_at, outcome, words.state)
            row = {"case": case.name, "kill": number, "at": die_at, "of": calls, "said": said}
            files.append_line(kept, row)
            print(
                f"{case.name}: killed at write {die_at} of {calls}: {said or 'the same'}",
                flush=True,
            )
    page = table(files.read_lines(kept))
    files.write_text(RESULTS / "kills.md", page)
    print(page)


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "# Kills", "",
        "Made by `python -m benchmarks.kills`: SIGKILL at a numbered write (fsync, rename), then the same",
        "command again; compared with an unbroken one, bit for bit, but for what is measured anew (times,",
        "memory, and what follows from them: `MEASURED` there).", "",
        "| command | writes | kills | as unbroken | compared |", "| :-- | --: | --: | --: | :-- |",
    ]  # fmt: skip
    total = [0, 0]
    for case in CASES:
        mine = {r["kill"]: r for r in rows if r["case"] == case.name}
        same = sum(not r["said"] for r in mine.values())
        total = [total[0] + len(mine), total[1] + same]
        writes = max((r["of"] for r in mine.values()), default=0)
        lines.append(f"| {case.name} | {writes} | {len(mine)} | {same} | {case.same} |")
    lines.append(f"| **all** | | **{total[0]}** | **{total[1]}** | |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
