"""``edgeprune prune --speedup`` and ``--target-ms`` as typed, on a device whose times are known."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from edgeprune import files, frontier, records, runs
from edgeprune.bench import devices
from edgeprune.bench.devices.fake import Fake
from edgeprune.cli import app, errors
from edgeprune.doctor import probe
from edgeprune.prices import Target
from edgeprune.prices import visits as decide
from edgeprune.runtime import Model
from edgeprune.runtime.device import Device, Error, kept, profile_path
from edgeprune.runtime.roofline import Peaks
from tests.ways import tiny

PEAKS = Peaks(1e9, None, ((1e3, 1e9),), ((1e3, 1e9),), 1e-6)
PROFILE = Device("toaster", "none", Model(1, PEAKS, {}, (0.0, 0.0), (0.0, 0.0, 0.0)),
                 Error(0.05, 0.2, None, 48), "today")  # fmt: skip
PROGRAMS = 3  # involuntary switches of a run where other programs run


class Toaster:
    """Counts its visits; a network takes 0.14 microseconds a weight and a tenth of a millisecond more."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.visits, self.failing, self.switches = folder, 0, "", 0
        self.slow = 1.0

    def __call__(self, name: str) -> Fake:
        self.visits += 1

        def timing(model: str, number: int, turn: int, k: int) -> tuple[float, int]:
            if model not in sizes:
                weights = onnx.load(self.folder / model).graph.initializer
                sizes[model] = sum(int(np.prod(w.dims)) for w in weights)
            return 1e-4 + self.slow * 1.4e-7 * sizes[model], self.switches

        sizes: dict[str, int] = {}
        return Fake(self.folder, timing, runs=20, failing=self.failing)


@pytest.fixture
def toaster(empty_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toaster:
    device = Toaster(tmp_path / "there")
    monkeypatch.setitem(
        devices.DEVICES, "toaster",
        devices.Kind(device, {"toaster": "a toaster"}, lambda name: None),
    )  # fmt: skip
    files.write_json(profile_path("toaster"), records.plain(PROFILE))
    tiny.prepare(Path.cwd())
    wide = tiny.NETWORK.replace("8", "40").replace("12", "56")
    Path("net.py").write_text(wide)
    made: dict[str, Any] = {}
    exec(wide, made)
    torch.manual_seed(0)
    files.write_tensors(Path("w.safetensors"), made["tiny"](3).state_dict())
    np.save("x.npy", np.random.default_rng(0).normal(size=(80, 3, 16, 16)).astype("float32"))
    return device


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[[str], tuple[int, str]]:
    def said(words: str) -> tuple[int, str]:
        code = errors.run(app.app, words.split())
        return code, capsys.readouterr().err

    return said


WHOLE = (
    "prune --post-training --model net.py:tiny --weights w.safetensors --size 16 --images x.npy "
    "--device toaster --round-to 1 --name r"
)
Say = Callable[[str], tuple[int, str]]


def test_the_device_has_the_last_word(toaster: Toaster, say: Say) -> None:
    code, err = say(f"{WHOLE} --speedup 1.5")
    assert code == 0, err
    run = runs.Run(Path("runs/r"))
    made = run.history(records.Visit)
    assert 1 <= len(made) == toaster.visits <= decide.MOST
    target = Target("ms", share=1 / 1.5, place=records.Place("toaster"))
    chosen = made[decide.best(target, made)]
    assert decide.met(target, chosen)
    dense, pruned = run.history(records.Result)
    assert pruned.widths == chosen.widths  # what was measured is what was written
    for visit in made:
        params = {"measured": visit.measured_ms, "dense": visit.dense_ms}
        samples = json.loads((run.path / str(visit.file)).read_text())
        medians = [n["latency"]["median_s"] for n in samples["summary"]["networks"]]
        assert [1e3 * m for m in medians] == pytest.approx([params["dense"], params["measured"]])
    assert made[0].expected_ms == pytest.approx(made[0].predicted_ms)
    assert decide.sentence(target, made, chosen) in str(pruned.stopped)
    plan = files.read_json(run.plan_path)
    # by all that the visits found
    assert plan["promised"]["ms"] == pytest.approx(chosen.measured_ms, rel=0.01)
    assert plan["dense"]["ms"] == pytest.approx(chosen.dense_ms)
    assert run.recipe().pruning.words["settings"]["target"]["place"]["device"] == "toaster"
    assert dense.widths != pruned.widths


def test_milliseconds_in_a_value(toaster: Toaster, say: Say) -> None:
    code, err = say(f"{WHOLE} --target-ms 2")
    assert code == 0, err
    made = runs.Run(Path("runs/r")).history(records.Visit)
    assert 0.97 * 2 <= made[-1].measured_ms <= 1.01 * 2
    assert "measured" in err


def test_a_time_above_the_dense_networks_is_refused_by_what_was_measured(
    toaster: Toaster, say: Say
) -> None:
    """Predicted are 3.3 ms, and the device is faster than that."""
    toaster.slow = 0.6
    code, err = say(f"{WHOLE} --target-ms 2.9")
    assert code == 2
    assert "the dense network was measured at" in err
    assert toaster.visits == 1


def test_a_device_that_is_lost_is_said_and_the_same_words_go_on(toaster: Toaster, say: Say) -> None:
    toaster.failing = "the cable was pulled"
    code, err = say(f"{WHOLE} --speedup 1.7")
    assert code == 2
    assert "the cable was pulled" in err
    assert not Path("runs/r/history.jsonl").exists()
    toaster.failing = ""
    assert say(f"{WHOLE} --speedup 1.7")[0] == 0
    run = runs.Run(Path("runs/r"))
    made, before = run.history(records.Visit), toaster.visits
    for path in (run.weights_path("pruned"), run.plan_path):  # as if it had been killed right then
        path.unlink()
    code, err = say(f"{WHOLE} --speedup 1.7")
    assert code == 0, err
    assert toaster.visits == before  # what was measured is found again
    assert run.history(records.Visit) == made


def test_other_programs_are_said(toaster: Toaster, say: Say) -> None:
    toaster.switches = PROGRAMS
    code, err = say(f"{WHOLE} --speedup 1.5")
    assert code == 0, err
    assert "contended" in err
    assert all(v.contended and v.warnings for v in runs.Run(Path("runs/r")).history(records.Visit))


@pytest.mark.parametrize("more", ["--rounds 2", "--during-training --rounds 2"])
def test_the_ways_that_train_ask_the_device_at_their_last_cut(
    more: str, toaster: Toaster, say: Say
) -> None:
    head = tiny.WORDS.format(here=".").partition(" --retrain-epochs")[0]
    words = f"{head} --retrain-epochs 1 --round-to 1 --name r --device toaster --speedup 1.5 {more}"
    code, err = say(words)
    assert code == 0, err
    run = runs.Run(Path("runs/r"))
    made = run.history(records.Visit)
    assert 1 <= len(made) == toaster.visits
    _, pruned = run.history(records.Result)
    assert pruned.widths in [v.widths for v in made]
    assert "1.5 on toaster" in str(pruned.stopped)


def test_a_dry_run_visits_nobody(toaster: Toaster, say: Say) -> None:
    assert say(f"{WHOLE} --speedup 1.5 --dry-run")[0] == 0
    assert toaster.visits == 0
    assert not Path("runs/r").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--speedup 900", "ask for --speedup"),
        ("--target-ms 500", "of predicted time as it is"),
    ],
)
def test_what_is_impossible_is_refused_beforehand(
    words: str, said: str, toaster: Toaster, say: Say
) -> None:
    code, err = say(f"{WHOLE} {words}")
    assert code == 2
    assert said in err
    assert len([line for line in err.splitlines() if line.startswith("error:")]) == 1
    assert toaster.visits == 0
    assert not Path("runs/r").exists()


def test_a_frontier_is_planned_by_the_milliseconds_of_a_known_device(
    toaster: Toaster, say: Say
) -> None:
    whole = WHOLE.replace("prune --post-training", "frontier")
    code, err = say(f"{whole} --points 3 --rounds 4 --seconds 0.1")
    assert code == 0, err
    found = frontier.frontier_of(runs.Run(Path("runs/r")))
    assert found.price == "ms"
    assert [p.number for p in found.points] == [0, 1, 2, 3]
    times = [p.latency.median_s or 0.0 for p in found.points]
    assert times == sorted(times, reverse=True)
    for point in found.points[1:]:  # what the toaster needs, and what it was predicted to
        assert point.latency.median_s == pytest.approx(point.share * times[0], rel=0.25)
    profile_path("toaster").unlink()
    code, err = say(f"{whole} --points 3 --rounds 4 --seconds 0.1")
    assert code == 0, err
    assert frontier.frontier_of(runs.Run(Path("runs/r"))).price == "flops"


def test_threads_have_a_profile_of_their_own(
    empty_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def elsewhere(device: str, **more: Any) -> Device:
        asked.update(more, device=device)
        return PROFILE

    monkeypatch.setattr(probe, "probe_elsewhere", elsewhere)
    probe.measure("cpu", threads=2)
    assert (asked["device"], asked["threads"]) == ("cpu", 2)
    found = kept("cpu", 2)
    assert found is not None
    assert (found.cpu, kept("cpu"), kept("cpu", 4)) == ("toaster", None, None)
