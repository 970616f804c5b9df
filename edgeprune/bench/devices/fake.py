"""A device without a clock: a model's run takes exactly the seconds that the test says."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ..protocol import Request
from .base import Lines

Sample = tuple[float, int]  # seconds of wall time, involuntary switches
Timing = Callable[[str, int, int, int], Sample]  # model, pass, round, run -> its sample


class Fake:
    """``timing`` decides every sample; the document has the runner's form. ``failing`` breaks off
    with that error after the first pass, as a device that is pulled out would."""

    emulated = False

    def __init__(self, folder: Path, timing: Timing, *, runs: int = 5, failing: str = "") -> None:
        self.folder, self.timing, self.runs, self.failing = folder, timing, runs, failing

    def __enter__(self) -> Self:
        self.folder.mkdir()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self.folder)

    def push(self, files: Mapping[str, Path]) -> None:
        for name, path in files.items():
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, self.folder / name)

    def pull(self, name: str, to: Path) -> None:
        shutil.copyfile(self.folder / name, to)

    def run(
        self, request: Request, models: Sequence[str], accuracy: str | None, on_line: Lines
    ) -> None:
        def say(value: Any) -> None:
            on_line(json.dumps(value) + "\n")

        found: list[dict[str, Any]] = [
            {
                "file": m,
                "bytes": (self.folder / m).stat().st_size,
                "sha256": hashlib.sha256((self.folder / m).read_bytes()).hexdigest(),
                "sessions": [],
                "accuracy": {"n": 4, "correct": 3, "predictions": [0, 1, 2, 3], "seconds": 0.0}
                if accuracy
                else None,
            }
            for m in models
        ]
        per_pass = -(-request.rounds // request.passes)
        for number in range(request.passes):
            for i, model in enumerate(models):
                session = self._session(number)
                say({"event": "session", "model": i, "session": session})
                found[i]["sessions"].append(session)
                for turn in range(number * per_pass, (number + 1) * per_pass):
                    runs = [self.timing(model, number, turn, k) for k in range(self.runs)]
                    samples = {
                        "round": turn,
                        "wall_s": [wall for wall, _ in runs],
                        "cpu_s": [wall for wall, _ in runs],
                        "switches": [switches for _, switches in runs],
                        "energy_uj": None,
                    }
                    say({"event": "round", "model": i, "round": samples})
                    session["rounds"].append(samples)
            if self.failing:
                say({"error": self.failing, "model": None})
                return
        say(
            {
                "runner": 1,
                "options": {"threads": request.threads, "samples": request.samples, "limit": 60.0},
                "environment": {"cpu": {"name": "fake", "cores": 1}, "onnxruntime": "none"},
                "models": found,
                "before": WEATHER,
                "after": WEATHER,
                "stopped": "enough",
            }
        )

    def _session(self, number: int) -> dict[str, Any]:
        stage = {"rss": 1, "high_water": 1}
        return {
            "pass": number,
            "import_s": 0.1,
            "load_s": 0.2,
            "first_run_s": 0.3,
            "warm_up_s": [],
            "stable": True,
            "memory": dict.fromkeys(("bare", "imported", "loaded", "peak"), stage),
            "differing_runs": 0,
            "worst_difference": 0.0,
            "rounds": [],
        }


WEATHER = {"time": 0.0, "load": None, "steal_ticks": None, "throttled": None}
