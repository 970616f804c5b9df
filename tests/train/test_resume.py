"""A training killed at any point ends, started again, with the weights of an unbroken one."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_training
import torch
from tiny_training import CONVENTION, RECIPE, dataset, network

from edgeprune import files
from edgeprune.errors import EdgepruneError
from edgeprune.train import Watch, fit, loop, resume

HERE = Path(__file__).parent
CONTEXT = multiprocessing.get_context("forkserver")  # torch is imported once, not for each kill
CONTEXT.set_forkserver_preload(["tiny_training"])


def bits(path: Path) -> dict[str, bytes]:
    tensors, _ = files.read_tensors(path)
    return {k: v.numpy().tobytes() for k, v in tensors.items()}


def start(folder: Path) -> multiprocessing.process.BaseProcess:
    words = (str(folder / "out.safetensors"), str(folder / "state.safetensors"))
    process = CONTEXT.Process(target=tiny_training.train_to_file, args=words)
    process.start()
    return process


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], float]:
    """The weights of a run that nobody disturbed, and the seconds that it took."""
    folder = tmp_path_factory.mktemp("unbroken")
    seconds = 0.0
    with pytest.MonkeyPatch.context() as patch:
        paths = [str(HERE), str(HERE.parents[1])]
        patch.setenv("PYTHONPATH", os.pathsep.join(paths))
        for _ in range(2):  # the first one starts the server
            begun = time.monotonic()
            process = start(folder)
            process.join()
            seconds = time.monotonic() - begun
            assert process.exitcode == 0
            (folder / "state.safetensors").unlink()
    return bits(folder / "out.safetensors"), seconds


@pytest.mark.parametrize("seed", range(10))
def test_killed_twice_and_started_again_it_is_bit_identical(
    seed: int, tmp_path: Path, unbroken: tuple[dict[str, bytes], float]
) -> None:
    expected, seconds = unbroken
    clock = random.Random(seed)
    killed = 0
    while killed < 2:
        (tmp_path / "out.safetensors").unlink(missing_ok=True)
        process = start(tmp_path)
        time.sleep(clock.uniform(0.05, 0.8) * seconds)
        process.kill()
        process.join()
        killed += process.exitcode == -signal.SIGKILL
        if process.exitcode == 0:  # it was faster than the kill
            (tmp_path / "state.safetensors").unlink()
    process = start(tmp_path)
    process.join()
    assert process.exitcode == 0
    assert bits(tmp_path / "out.safetensors") == expected


class KilledError(Exception):
    pass


class StopAt(Watch):
    """Stops a training after so many steps, as a kill would: nothing is written on the way."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
        self.left, self.notes = steps, []
        monkeypatch.setattr(loop, "SAVE_EVERY", 0.0)
        monkeypatch.setattr(loop, "TELL_EVERY", 0.0)

    def on_batch(self, now: object) -> None:
        self.left -= 1
        if self.left < 0:
            raise KilledError

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("steps", [0, 7, 10, 11, 39])
def test_every_optimizer_goes_on_from_any_batch(
    optimizer: str, steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = RECIPE.but(optimizer=optimizer)
    whole = network()
    told = fit(whole, dataset(), CONVENTION, recipe)
    state = tmp_path / "state.safetensors"
    with pytest.raises(KilledError):
        fit(network(), dataset(), CONVENTION, recipe, state=state, watch=StopAt(monkeypatch, steps))
    monkeypatch.setattr(loop, "SAVE_EVERY", 30.0)
    again = network()
    went_on = fit(again, dataset(), CONVENTION, recipe, state=state)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    for one, other in zip(told.epochs, went_on.epochs, strict=True):
        assert replace(one, seconds=0.0) == replace(other, seconds=0.0)


def test_where_it_goes_on_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten batches an epoch; the state is written after every one of them."""
    state = tmp_path / "state.safetensors"
    for steps, said in ((0, []), (13, ["goes on from epoch 2 of 4, batch 4 of 10"])):
        state.unlink(missing_ok=True)
        stopped = StopAt(monkeypatch, steps)
        with pytest.raises(KilledError):
            fit(network(), dataset(), CONVENTION, RECIPE, state=state, watch=stopped)
        watch = StopAt(monkeypatch, 10**6)
        fit(network(), dataset(), CONVENTION, RECIPE, state=state, watch=watch)
        assert [note for note in watch.notes if "goes on" in note] == said
    assert not any("goes on" in note for note in stopped.notes)


@pytest.mark.parametrize("change", ["recipe", "data", "weights", "torn", "foreign"])
def test_a_state_of_another_training_is_not_taken(
    change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "state.safetensors"
    watch = StopAt(monkeypatch, 25)
    with pytest.raises(KilledError):
        fit(network(), dataset(), CONVENTION, RECIPE, state=state, watch=watch)
    recipe = RECIPE.but(lr=1e-3) if change == "recipe" else RECIPE
    data = dataset(176) if change == "data" else dataset()
    if change == "torn":
        state.write_bytes(state.read_bytes()[:-100])
    if change == "foreign":
        files.write_tensors(state, network().state_dict())
    seed = 1 if change == "weights" else 0
    fresh, again = network(seed), network(seed)
    fit(fresh, data, CONVENTION, recipe)
    watch = StopAt(monkeypatch, 10**6)
    fit(again, data, CONVENTION, recipe, state=state, watch=watch)
    assert any("anew" in note for note in watch.notes)
    for name, tensor in fresh.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_the_state_is_one_file_without_pickle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "state.safetensors"
    with pytest.raises(KilledError):
        fit(network(), dataset(), CONVENTION, RECIPE, state=state, watch=StopAt(monkeypatch, 15))
    assert [p.name for p in tmp_path.iterdir()] == ["state.safetensors"]
    tensors, words = files.read_tensors(state)
    assert {k.split("/")[0] for k in tensors} == {"model", "best", "optimizer"}
    assert resume.KEY in words


def test_a_chosen_precision_survives_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The choice rests on a clock; made anew it could fall otherwise."""
    state = tmp_path / "state.safetensors"
    recipe = RECIPE.but(precision="auto")
    choices = iter(["bf16", "fp32"])
    monkeypatch.setattr(
        "edgeprune.train.forecast.choose_precision",
        lambda *_: ((name := next(choices)), {name: 0.1}),
    )
    with pytest.raises(KilledError):
        fit(network(), dataset(), CONVENTION, recipe, state=state, watch=StopAt(monkeypatch, 0))
    assert fit(network(), dataset(), CONVENTION, recipe, state=state).precision == "bf16"


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setattr(loop, "SAVE_EVERY", 0.0)
    with pytest.raises(EdgepruneError, match="cannot write"):
        fit(network(), dataset(), CONVENTION, RECIPE, state=blocked / "state.safetensors")
