"""The ways beside the paper's: what they reach, and that a kill changes nothing."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from edgeprune import checkpoint, files, graph, prices, records, runs
from edgeprune.cli import app, errors
from edgeprune.errors import EdgepruneError
from edgeprune.train import Recipe
from edgeprune.ways import (
    Asked,
    Gradual,
    Interleaved,
    Lottery,
    Paper,
    Settings,
    Target,
    Unlabelled,
    lottery,
    row_of,
)
from edgeprune.ways.asked import of_recipe, recipe_of
from edgeprune.ways.interleaved import turn
from edgeprune.ways.lottery import left
from edgeprune.ways.sensitivity import Curve

from . import tiny
from .test_iterative import outcome, start

HEAD, _, REST = tiny.WORDS.partition(" --retrain-epochs")
WAYS = {
    "one-shot": "--keep-flops 0.5 --retrain-epochs 2",
    "rounds": "--keep-params 0.5 --rounds 2 --retrain-epochs 1 --schedule agp --heal paper --distill "
    "--method sensitivity",
    "during": "--keep-flops 0.5 --during-training --retrain-epochs 3 --rounds 3",
    "interleaved": "--keep-flops 0.5 --way interleaved --rounds 3 --updates 4 --retrain-epochs 1",
    "lottery": "--keep-flops 0.5 --way lottery --rounds 2 --retrain-epochs 2 --rewind 1",
    "scored": "--step 0.25 --max-steps 1 --max-drop 90 --retrain-epochs 1 --score taylor "
    "--compensate lstsq --heal restart --distill",
}


def words(folder: Path, way: str) -> str:
    """The tiny network, its dense training as in ``tiny.WORDS``, pruned in another way."""
    tiny.prepare(folder)
    return f"{HEAD} --round-to 1 --precision fp32 --name r {WAYS[way]}".format(here=folder)


@pytest.fixture(scope="module", params=list(WAYS))
def unbroken(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("unbroken")
    code = start(folder, words(folder, request.param), counted=str(folder / "calls"))
    assert code == 0, (folder / "log").read_text()
    return request.param, folder


def test_the_target_is_met_and_the_run_is_whole(unbroken: tuple[str, Path]) -> None:
    way, folder = unbroken
    run = runs.Run(folder / "runs" / "r")
    dense, pruned = run.history(records.Result)
    assert {p.name for p in run.path.iterdir()} == {
        "recipe.json", "spec.json", "plan.json", "history.jsonl", "dense.safetensors",
        "pruned.safetensors", ".lock", "code",
    }  # fmt: skip
    loaded = checkpoint.load(run, "pruned")
    cost = graph.cost(graph.trace(loaded.model, loaded.example))
    assert (cost.params, cost.flops) == (pruned.params, pruned.flops)
    if way != "scored":
        what = "params" if way == "rounds" else "flops"
        assert getattr(pruned, what) / getattr(dense, what) == pytest.approx(0.5, abs=0.08)
        steps = run.history(records.Step)
        assert len(steps) == {
            "one-shot": 1, "rounds": 2, "during": 3, "interleaved": 4, "lottery": 2,
        }[way]  # fmt: skip
        assert steps[-1].flops == pruned.flops
        left = [dense.params, *(step.params for step in steps)]
        parts = left[:4] if way == "interleaved" else left  # the last one trains alone
        assert all(after < before for before, after in itertools.pairwise(parts))
    measured = {r.layer for r in run.history(records.Sensitivity)}
    if way == "rounds":  # every group, also the linear layers'; once, not once a round
        assert measured == set(files.read_json(run.plan_path)["keep"])
        assert len(run.history(records.Sensitivity)) == len(measured)
    plan = files.read_json(run.plan_path)
    assert plan["promised"]["flops"] == pruned.flops
    assert run.recipe().pruning.way == {
        "one-shot": "target", "rounds": "target", "during": "gradual", "scored": "paper",
    }.get(way, way)  # fmt: skip


@pytest.mark.parametrize("point", range(4))
def test_a_kill_changes_nothing(point: int, unbroken: tuple[str, Path], tmp_path: Path) -> None:
    """Killed in the second half of its writes, when the pruning is under way."""
    way, folder = unbroken
    calls = int((folder / "calls").read_text())
    die_at = calls // 2 + point * (calls - calls // 2) // 4
    typed = words(tmp_path, way)
    assert start(tmp_path, typed, die_at) == -9
    assert start(tmp_path, typed) == 0, (tmp_path / "log").read_text()
    assert outcome(tmp_path) == outcome(folder)


def test_a_kill_while_a_run_is_derived_changes_nothing(tmp_path: Path) -> None:
    """Killed at each write of the first dozen, when the parent's dense network is being copied."""
    tiny.prepare(tmp_path)
    train = HEAD.replace("prune", "train").replace("--epochs 3", "--epochs 1")
    assert start(tmp_path, f"{train} --name r".format(here=tmp_path)) == 0
    typed = "prune r --post-training --keep-flops 0.6 --round-to 1 --name {name}"
    assert start(tmp_path, typed.format(name="whole")) == 0, (tmp_path / "log").read_text()

    def left(name: str) -> object:
        run = runs.Run(tmp_path / "runs" / name)
        history = [replace(r, seconds=None) for r in run.history(records.Result)]
        weights = {p.name: p.read_bytes() for p in run.path.glob("*.safetensors")}
        return history, weights, run.spec_path.read_text(), run.recipe().parent

    for die_at in range(2, 13, 2):
        name = f"killed{die_at}"
        assert start(tmp_path, typed.format(name=name), die_at) == -9
        assert start(tmp_path, typed.format(name=name)) == 0, (tmp_path / "log").read_text()
        assert left(name) == left("whole")


def test_the_images_of_the_updates_take_turns() -> None:
    """7 images, 3 at a time: each is seen once before any is seen again."""
    seen = np.concatenate([turn(7, number, 3, seed=0) for number in range(1, 15)])
    assert len(seen) == 42
    for n in range(6):
        assert sorted(seen[7 * n : 7 * n + 7]) == list(range(7))
    assert seen[:7].tolist() != seen[7:14].tolist()
    assert len(turn(2, 1, 5, seed=0)) == 5  # fewer images than one turn wants


def test_each_ticket_takes_the_same_part_of_what_is_left() -> None:
    assert [left(0.512, n, 3) for n in (1, 2, 3)] == pytest.approx([0.8, 0.64, 0.512])


def test_a_ticket_begins_with_the_first_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stays is, before it is trained, cut out of the weights that the dense training began with."""
    began = []

    def fit(model, *args, **more):  # type: ignore[no-untyped-def]
        began.append({k: v.clone() for k, v in model.state_dict().items()})
        return trained(model, *args, **more)

    trained = lottery.train.fit
    monkeypatch.setattr(lottery.train, "fit", fit)
    monkeypatch.chdir(tmp_path)
    typed = words(tmp_path, "lottery").replace("--rewind 1", "").replace("--rounds 2", "--rounds 1")
    assert errors.run(app.app, typed.split()) == 0
    dense, ticket = began
    kept = files.read_json(runs.Run(Path("runs/r")).spec_path)["kept"]
    first = next(iter(kept.values()))
    assert len(first) < 8
    assert torch.equal(ticket["0.weight"], dense["0.weight"][first])


def test_measured_losses_never_fall_and_end_at_the_present_width() -> None:
    """6 of 8 units are there; the losses at widths 0 to 6, lines between the measured points by hand."""
    curve = Curve("a", (0.0, 0.25, 0.5), (0.9, 0.92, 0.5))  # noise: better with a quarter gone
    losses = curve.losses(6, 8)
    # width 6: a quarter is gone; 5: halfway to 0.5, at 0.71; 4: 0.5; then down to nothing at 0
    assert losses == pytest.approx([0.9, 0.775, 0.65, 0.525, 0.4, 0.19, 0.0])


HALF = Settings(target=prices.Target("flops", 0.5))


def asked(way: object) -> Asked:
    return Asked("m", "scratch", "paper", False, "d", 32, None, False, 0, Recipe(), way)  # type: ignore[arg-type]


def written(value: Asked) -> dict:
    """What ``recipe.json`` holds of it."""
    told: dict = json.loads(json.dumps(records.plain(recipe_of(value, records.Recipe()))))
    return told


def read(recipe: dict) -> Asked:
    return of_recipe(records.value(recipe, records.Recipe, "recipe.json"))


@pytest.mark.parametrize(
    "way",
    [
        None,
        Paper(score="fpgm", compensate="mean", heal="restart", distil=True),
        Target(
            Settings(target=prices.Target("flops", 0.5), keep=("a*",)), rounds=3, schedule="agp"
        ),
        Gradual(Settings(target=prices.Target("params", 0.5), compensate="none")),
        Unlabelled(Settings(target=prices.Target("flops", 0.5)), plan="abc"),
        Interleaved(Settings(target=prices.Target("flops", 0.5), score="taylor"), updates=7),
        Lottery(Settings(target=prices.Target("flops", 0.5)), rewind=2),
    ],
)
def test_what_is_asked_comes_back_from_json(way: object) -> None:
    assert read(written(asked(way))) == asked(way)


def test_a_recipe_that_names_no_network_is_refused() -> None:
    for lacks in ("model", "size"):
        with pytest.raises(EdgepruneError, match=f"not a recipe of this version .no {lacks}"):
            read({k: v for k, v in written(asked(None)).items() if k != lacks})
    with pytest.raises(EdgepruneError, match="limit: Input should be a valid integer"):
        read(written(asked(None)) | {"limit": "many"})


def test_recipes_of_earlier_days_are_read() -> None:
    old = written(asked(Paper(step=0.5)))
    del old["images"]
    known = ("step", "max_drop", "retrain_epochs", "max_steps", "round_to", "sensitivity_images")
    old["pruning"] = {k: old["pruning"][k] for k in known}
    assert read(old) == asked(Paper(step=0.5))
    with pytest.raises(EdgepruneError, match="no way 'by magic' in this version"):
        read(old | {"pruning": {"way": "by magic"}})
    with pytest.raises(EdgepruneError, match="unknown keys \\['steps'\\]"):
        read(old | {"pruning": {"steps": 3}})


@pytest.mark.parametrize(
    ("name", "words", "way"),
    [
        ("iterative", {"step": 0.5}, Paper(step=0.5)),
        ("targeted", {"settings": {"keep_flops": 0.5}, "rounds": 3}, Target(HALF, rounds=3)),
        ("during training", {"settings": {"keep_flops": 0.5, "compensate": "none"}, "cuts": 3},
         Gradual(replace(HALF, compensate="none"), rounds=3)),
        ("post-training", {"settings": {"keep_flops": 0.5}, "plan": "p"}, Unlabelled(HALF, "p")),
    ],
)  # fmt: skip
def test_ways_by_their_former_names_are_read(name: str, words: dict, way: object) -> None:
    old = written(asked(None)) | {"pruning": {"way": name, **words}}
    assert read(old).pruning == way
    assert written(read(old))["pruning"]["way"] == row_of(way).name  # type: ignore[arg-type]


def test_what_was_given_whole_cannot_be_retrained() -> None:
    with pytest.raises(EdgepruneError, match="was not trained here"):
        _ = replace(asked(None), recipe=None).training
