"""Run models under the runtime's profiler in a fresh process, and read back what it made of them."""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..bench import subject
from ..bench.devices.base import python, runner_path, stream
from ..errors import EdgepruneError

FEWEST = 5  # clean runs, below which all runs count
TICK = (
    1e-6  # s; the profiler cuts durations to whole microseconds, so half of one is lost on average
)


Heard = Callable[[int, int], None]  # so many of so many parts are done
Watch = Callable[[str, int, int], None]  # and of what


def nobody(*told: object) -> None:
    """Hears nothing."""


@dataclass(frozen=True)
class Node:
    """One operator of the optimised graph, in the order of execution."""

    name: str
    operator: str  # "Conv", "ReorderInput", ...
    domain: str  # "" | "com.microsoft" | "com.microsoft.nchwc"
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    seconds: float  # a run; mean of the middle half of the clean runs


@dataclass(frozen=True)
class Profile:
    """What the runtime did with one model on this machine (batch 1 unless asked, 1 thread)."""

    model: Any  # onnx.ModelProto with the input's sizes, external data not loaded
    nodes: tuple[Node, ...]
    shapes: Mapping[str, tuple[int, ...]]  # of the weights in the optimised graph, padding included
    seconds: float  # a whole run without the profiler
    environment: Mapping[str, Any]


def profile(
    models: Sequence[Path],
    *,
    seconds: float = 1.0,
    batch: int = 1,
    shapes: Mapping[str, Sequence[int]] = {},
    heard: Heard = nobody,
) -> list[Profile]:
    """One :class:`Profile` a model, all measured interleaved for about ``seconds`` each.

    Raises :class:`EdgepruneError` for what is no ONNX model or what the runtime cannot run.
    """
    import onnx

    subjects = subject.inspect(models, batch=batch, shapes=shapes)
    subject.check_sized(subjects)
    with tempfile.TemporaryDirectory(prefix="edgeprune-doctor-") as scratch:
        folder = Path(scratch)
        there = []
        for i, model in enumerate(subjects):
            there.append(f"{i}/model.onnx")
            for inside, path in {"model.onnx": model.path, **model.files}.items():
                target = folder / str(i) / inside
                target.parent.mkdir(parents=True, exist_ok=True)
                with suppress(OSError):
                    os.link(path, target)
                if not target.exists():
                    shutil.copyfile(path, target)
        words = ["--seconds", str(seconds), "--batch", str(batch)]
        for name, shape in shapes.items():
            words += ["--shape", f"{name}={','.join(map(str, shape))}"]
        document = _run(folder, there, [str(m) for m in models], words, heard)
        return [
            _read(
                subject.with_sizes(
                    onnx.load(path, load_external_data=False), batch=batch, shapes=shapes
                ),
                folder / raw["optimised"],
                raw,
                document["environment"],
            )
            for path, raw in zip(models, document["models"], strict=True)
        ]


def _run(
    folder: Path,
    there: Sequence[str],
    known_as: Sequence[str],
    words: Sequence[str],
    heard: Heard,
) -> dict[str, Any]:
    script = str(runner_path().with_name("profiler.py"))
    last: dict[str, Any] = {}

    def on_line(line: str) -> None:
        nonlocal last
        with suppress(ValueError):  # not of the profiler's making
            value = json.loads(line)
            last = value if isinstance(value, dict) else {}
            if "turn" in last:
                heard(last["turn"], last["of"])

    ended = stream([python(), script, *words, "--", *there], on_line, cwd=folder)
    document = last if ended.code in (0, 2) and "turn" not in last else {}
    if not document:  # a killed child, or one that fell over
        raise EdgepruneError(
            ", ".join(known_as),
            f"the profiling process ended with code {ended.code}",
            ended.said or "run it once more",
        )
    if "error" in document:
        model = document["model"]
        where = known_as[there.index(model)] if model in there else "doctor"
        raise EdgepruneError(where, document["error"])
    return document


def _read(model: Any, optimised: Path, raw: Mapping[str, Any], environment: Any) -> Profile:
    import onnx

    graph = onnx.load(optimised, load_external_data=False).graph  # sizes will do
    waiting: dict[str, list[float]] = {}  # names need not be unique: in order of execution
    clean = _clean(raw["profiled"]["switches"], raw["slice"])
    for row in raw["nodes"]:
        waiting.setdefault(row["name"], []).append(_typical(row["seconds"], clean) + TICK / 2)
    nodes = [
        Node(
            node.name, node.op_type, node.domain, tuple(node.input), tuple(node.output),
            waiting[node.name].pop(0) if waiting.get(node.name) else 0.0,
        )
        for node in graph.node
    ]  # fmt: skip
    clean = _clean(raw["whole"]["switches"], raw["slice"])
    samples = raw["whole"]["wall_s" if clean else "cpu_s"]
    whole = _typical(samples, clean)
    return Profile(
        model=model,
        nodes=_without_profiler(nodes, whole),
        shapes={t.name: tuple(t.dims) for t in graph.initializer},
        seconds=whole,
        environment=environment,
    )


def _without_profiler(nodes: Sequence[Node], whole: float) -> tuple[Node, ...]:
    """Take the profiler's own work off: it is inside the operators' times, about the same in each.

    So that they add up to no more than a run without it; no operator loses more than half.
    """
    excess = sum(n.seconds for n in nodes) - whole
    each = max(excess, 0.0) / max(len(nodes), 1)
    return tuple(replace(n, seconds=max(n.seconds - each, n.seconds / 2)) for n in nodes)


def _clean(switches: Sequence[int | None], slice: int) -> list[int]:
    """Runs that were not preempted and not the first of their slice; none if they are too few."""
    kept = [i for i, n in enumerate(switches) if not n and i % slice]
    return kept if len(kept) >= FEWEST else []


def _typical(seconds: Sequence[float], runs: Sequence[int]) -> float:
    """The mean of the middle half of these runs: as robust as the median, finer than a microsecond.

    Without clean runs, of the lowest quarter of all: a preemption hits one operator of a run or two,
    so each operator has runs in which it kept its core.
    """
    values = np.sort(np.asarray(seconds)[list(runs)] if runs else np.asarray(seconds))
    quarter = len(values) // 4
    middle = values[quarter : len(values) - quarter] if runs else values[: quarter + 1]
    return float(middle.mean()) if len(middle) else math.nan
