"""The paper's procedure: what it chooses, and that a kill at any point changes nothing."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgeprune import checkpoint, files, graph, prune, records, runs
from edgeprune.errors import EdgepruneError
from edgeprune.ways import Paper
from edgeprune.ways.paper import next_width
from edgeprune.ways.sensitivity import Curve

from . import tiny

CONTEXT = multiprocessing.get_context("forkserver")  # torch is imported once, not for each kill
CONTEXT.set_forkserver_preload([tiny.__name__])
POINTS = 20


def start(folder: Path, words: str, die_at: int = 0, counted: str = "") -> int:
    process = CONTEXT.Process(target=tiny.run, args=(str(folder), words, die_at, counted))
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def outcome(folder: Path) -> dict:
    """Everything that must not depend on kills: weights bit by bit, history without the clock."""
    run = runs.Run(folder / "runs" / "r")
    weights = {
        name: {
            k: v.numpy().tobytes() for k, v in files.read_tensors(run.weights_path(name))[0].items()
        }
        for name in ("dense", "pruned")
    }
    clock = ("seconds", "time")
    lines = [records.line_of(record) for record in run.told()[0]]
    history = [{k: v for k, v in line.items() if k not in clock} for line in lines]
    return {"weights": weights, "history": history, "kept": files.read_json(run.spec_path)["kept"]}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    folder = tmp_path_factory.mktemp("unbroken")
    counted = folder / "calls"
    code = start(folder, tiny.prepare(folder), counted=str(counted))
    assert code == 0, (folder / "log").read_text()
    words = tiny.prepare(folder)
    return SimpleNamespace(
        folder=folder, words=words, calls=int(counted.read_text()), outcome=outcome(folder)
    )


@pytest.mark.parametrize("point", range(POINTS))
def test_a_kill_changes_nothing(point: int, unbroken: SimpleNamespace, tmp_path: Path) -> None:
    die_at = 1 + point * (unbroken.calls - 1) // (POINTS - 1)
    assert start(tmp_path, unbroken.words, die_at) == -9
    code = start(tmp_path, unbroken.words)
    assert code == 0, (tmp_path / "log").read_text()
    assert outcome(tmp_path) == unbroken.outcome
    left = {p.name for p in (tmp_path / "runs" / "r").iterdir()}
    whole = {
        "recipe.json",
        "spec.json",
        "plan.json",
        "history.jsonl",
        "dense.safetensors",
        "pruned.safetensors",
    }
    assert left == {*whole, ".lock", "code"}


def test_the_run_is_what_its_history_says(unbroken: SimpleNamespace) -> None:
    run = runs.Run(unbroken.folder / "runs" / "r")
    steps = [r for r in run.history(records.Step) if r.kept]
    assert steps, "the tiny network should bear at least one step"
    kept = files.read_json(run.spec_path)["kept"]
    dense = files.read_json(run.spec_path)["dense"]
    for layer in {r.layer for r in steps}:
        gone = sorted(i for r in steps if r.layer == layer for i in r.removed)
        assert sorted({*kept[layer], *gone}) == list(range(dense[layer]))
    loaded = checkpoint.load(run, "pruned")
    cost = graph.cost(graph.trace(loaded.model, loaded.example))
    assert cost.params == steps[-1].params == run.history(records.Result)[-1].params


def test_the_filters_of_smallest_norm_leave_first(unbroken: SimpleNamespace) -> None:
    run = runs.Run(unbroken.folder / "runs" / "r")
    loaded = checkpoint.load(run, "dense")
    traced = graph.trace(loaded.model, loaded.example)
    first = run.history(records.Step)[0]
    norms = prune.l1(traced, first.layer)
    gone = set(first.removed)
    assert max(norms[i] for i in gone) <= min(norms[i] for i in range(len(norms)) if i not in gone)


def test_the_same_command_again_says_so_and_other_words_are_refused(
    unbroken: SimpleNamespace,
) -> None:
    folder = unbroken.folder
    before = (folder / "runs" / "r" / "pruned.safetensors").read_bytes()
    assert start(folder, unbroken.words) == 0
    assert "pruned already" in (folder / "log").read_text()
    assert (folder / "runs" / "r" / "pruned.safetensors").read_bytes() == before
    assert start(folder, unbroken.words.replace("--epochs 3", "--epochs 4")) == 2
    assert "epochs 3 -> 4" in (folder / "log").read_text()


def test_another_pruning_of_the_same_dense_network(unbroken: SimpleNamespace) -> None:
    folder = unbroken.folder
    words = "prune r --name other --step 0.5 --retrain-epochs 0 --max-steps 1 --max-drop 90 --round-to 1"
    assert start(folder, words) == 0, (folder / "log").read_text()
    dense = [(folder / "runs" / n / "dense.safetensors").read_bytes() for n in ("r", "other")]
    assert dense[0] == dense[1]
    assert runs.Run(folder / "runs" / "other").recipe().parent == "r"


def settings(**changes: float) -> Paper:
    return Paper(**({"step": 0.25, "round_to": 16} | changes))


@pytest.mark.parametrize(
    ("width", "dense", "changes", "expected"),
    [
        (512, 512, {}, 384),
        (64, 64, {}, 48),
        (32, 32, {}, 16),  # a quarter is 8: on a grid of 16 one whole multiple
        (16, 64, {}, None),  # at its least
        (21, 64, {}, 16),  # off the grid: onto it
        (64, 64, {"round_to": 1}, 48),
        (128, 512, {}, 64),  # a quarter is all of it: half at most
        (1, 64, {"round_to": 1}, None),
        (24, 24, {"round_to": 8, "step": 0.01}, 16),
    ],
)
def test_next_width(width: int, dense: int, changes: dict, expected: int | None) -> None:
    assert next_width(width, dense, settings(**changes)) == expected


def test_curves_are_linear_between_points() -> None:
    curve = Curve("a", (0.0, 0.5, 0.75), (0.9, 0.8, 0.2))
    assert curve.at(0.25) == pytest.approx(0.85)
    assert curve.at(0.625) == pytest.approx(0.5)
    assert curve.at(0.9) == pytest.approx(0.08)  # nothing is left at share 1


@pytest.mark.parametrize("changes", [{"step": 0}, {"max_drop": -1}, {"round_to": 0}, {"step": 1.5}])
def test_senseless_settings_are_refused(changes: dict) -> None:
    with pytest.raises(EdgepruneError, match="must lie in"):
        settings(**changes)
