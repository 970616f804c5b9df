"""The loop: it learns, keeps the best epoch, stops when there is no more, says what goes wrong."""

from __future__ import annotations

import copy
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_training import CONVENTION, RECIPE, Images, dataset, network
from torch import nn

from edgeprune.errors import EdgepruneError
from edgeprune.records import Epoch
from edgeprune.train import Pace, Watch, evaluate, fit, forecast, loop, measure
from edgeprune.train.step import Judged, optimizer
from edgeprune.train.watch import Progress


class Listener(Watch):
    def __init__(self) -> None:
        self.started: list[tuple] = []
        self.heard: list[Progress] = []
        self.records: list[Epoch] = []
        self.notes: list[str] = []

    def on_start(self, *what: float) -> None:
        self.started.append(what)

    def on_batch(self, now: Progress) -> None:
        self.heard.append(now)

    def on_epoch(self, record: Epoch) -> None:
        self.records.append(record)

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(autouse=True)
def told_at_every_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "TELL_EVERY", 0.0)


def test_it_learns_and_gives_back_the_best_epoch() -> None:
    model, data, watch = network(), dataset(), Listener()
    before = evaluate(model, data.validation, CONVENTION)
    done = fit(model, data, CONVENTION, RECIPE.but(epochs=12, lr=1e-2), watch=watch)
    assert before.score < 0.6 < 0.9 < done.best_validation
    assert done.best_validation == max(r.validation_accuracy for r in done.epochs)
    assert evaluate(model, data.validation, CONVENTION).score == done.best_validation
    assert evaluate(model, data.test, CONVENTION).score > 0.9
    assert not model.training
    assert not done.at_chance
    assert watch.records == done.epochs


def test_the_model_is_left_as_a_plain_module() -> None:
    model = network()
    fit(model, dataset(), CONVENTION, RECIPE.but(epochs=1, precision="bf16"))
    assert "forward" not in vars(model)
    assert all(p.dtype == torch.float32 and p.grad is None for p in model.parameters())
    copy.deepcopy(model)


def test_evaluation_by_hand() -> None:
    model, data = network(), dataset()
    x = torch.from_numpy(data.test.pixels).permute(0, 3, 1, 2).float() / 255
    x = (x - 0.5) / 0.25
    with torch.no_grad():
        logits = model.eval()(x)
    labels = torch.from_numpy(data.test.labels)
    model.train()
    got = evaluate(model, data.test, CONVENTION, batch_size=17)
    assert model.training
    assert got.n == 64
    assert got.score == pytest.approx(float((logits.argmax(1) == labels).double().mean()))
    assert got.loss == pytest.approx(float(nn.functional.cross_entropy(logits, labels)), rel=1e-5)


def test_it_stops_when_there_is_nothing_to_gain() -> None:
    """With a rate that changes nothing no epoch is better than the first."""
    recipe = RECIPE.but(
        epochs=50, lr=1e-12, schedule="constant", warmup_epochs=0, weight_decay=0, patience=3
    )
    done = fit(network(norm=False), dataset(), CONVENTION, recipe)
    assert done.stopped.startswith("converged")
    assert len(done.epochs) - done.best.epoch == 3


class Played:
    """Validations as they are written down here, instead of measured: (accuracy, loss) an epoch."""

    def __init__(self, *epochs: tuple[float, float]) -> None:
        self.left = list(epochs)

    def __call__(self, *_: object) -> Judged:
        top1, loss = self.left.pop(0)
        return Judged(top1, loss, 100)


@pytest.mark.parametrize(
    ("patience", "epochs", "best", "run"),
    [
        # 0.7 in epoch 2; three epochs that are not better; the 0.9 after them is never seen
        (3, [(0.5, 1), (0.7, 1), (0.6, 1), (0.7, 2), (0.65, 1), (0.9, 1)], 2, 5),
        # the same accuracy at less loss is better: it counts from epoch 3
        (3, [(0.5, 1), (0.7, 1), (0.7, 0.9), (0.6, 1), (0.6, 1), (0.7, 0.9), (0.9, 1)], 3, 6),
        # accuracy decides before loss
        (2, [(0.5, 0.1), (0.6, 5), (0.5, 0.01), (0.5, 0.01)], 2, 4),
        # equal in both: the first
        (2, [(0.5, 1), (0.5, 1), (0.5, 1)], 1, 3),
        # patience 0 never stops
        (0, [(0.9, 1), (0.1, 1), (0.1, 1), (0.1, 1), (0.1, 1), (0.1, 1)], 1, 6),
    ],
)
def test_which_epoch_is_kept_and_when_it_stops(
    patience: int,
    epochs: list[tuple[float, float]],
    best: int,
    run: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loop, "judge", Played(*epochs))
    model, watch = network(), Listener()
    weights: list[torch.Tensor] = []
    watch.on_epoch = lambda record: weights.append(model[0].weight.detach().clone())  # type: ignore[method-assign]
    recipe = RECIPE.but(epochs=len(epochs), patience=patience, lr=1e-2)
    done = fit(model, dataset(), CONVENTION, recipe, watch=watch)
    assert (done.best.epoch, len(done.epochs)) == (best, run)
    assert torch.equal(model[0].weight, weights[best - 1])
    assert all(
        not torch.equal(weights[best - 1], w) for i, w in enumerate(weights) if i != best - 1
    )


class Untouched(Images):
    """A test split: training has no business with it."""

    def images(self, indices: Any) -> np.ndarray:
        raise AssertionError("the test split was looked at")


def test_no_choice_is_made_on_the_test_split() -> None:
    data = replace(dataset(), test=Untouched(64, 3))
    fit(network(), data, CONVENTION, RECIPE.but(epochs=2, precision="auto"))


def test_the_rate_and_the_dropout_of_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a cosine from 1 to 0 over four steps: (1 + cos(pi k / 4)) / 2."""
    rates: list[float] = []
    seeds: list[int] = []
    step = loop.Stepper.step

    def seen(self: loop.Stepper, x: torch.Tensor, y: torch.Tensor, lr: float) -> torch.Tensor:
        rates.append(lr)
        seeds.append(torch.initial_seed())
        return step(self, x, y, lr)

    monkeypatch.setattr(loop.Stepper, "step", seen)
    recipe = RECIPE.but(epochs=2, batch_size=16, lr=1.0, floor=0.0, warmup_epochs=0)
    fit(network(), dataset(32), CONVENTION, recipe)
    half = 1 / 2**0.5
    assert rates == pytest.approx([1, (1 + half) / 2, 1 / 2, (1 - half) / 2])
    assert len(set(seeds)) == 4  # no two batches drop the same units
    fit(network(), dataset(32), CONVENTION, recipe)
    assert seeds[:4] == seeds[4:]


@pytest.mark.parametrize(("n", "batches"), [(33, [16, 16]), (32, [16, 16]), (5, [5])])
def test_a_last_small_batch_is_left_out(
    n: int, batches: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One image alone would stop batch norm; where there are fewer than a batch they are one."""
    seen: list[int] = []
    step = loop.Stepper.step

    def counted(self: loop.Stepper, x: torch.Tensor, y: torch.Tensor, lr: float) -> torch.Tensor:
        seen.append(len(x))
        return step(self, x, y, lr)

    monkeypatch.setattr(loop.Stepper, "step", counted)
    fit(network(), dataset(n), CONVENTION, RECIPE.but(epochs=2))
    assert seen == batches * 2


class Sure(nn.Module):
    """A teacher that is sure of the bright quarter: far from what one answer for all can reach."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        quarters = F.adaptive_avg_pool2d(x.mean(1, keepdim=True), 2).flatten(1)
        return 40 * F.one_hot(quarters.argmax(1), 4).float()


def test_a_loss_under_a_teacher_says_nothing_about_chance() -> None:
    """The pupil answers all images alike, at a loss above ln 4 and with a quarter of them right."""
    watch = Listener()
    recipe = RECIPE.but(epochs=3, teacher_share=1.0)
    done = fit(Deaf(), dataset(), CONVENTION, recipe, teacher=Sure(), watch=watch)
    assert done.epochs[-1].train_loss > math.log(4)
    assert watch.notes == []
    assert not done.at_chance


def test_the_rate_of_each_epoch_is_the_recipes() -> None:
    recipe = RECIPE.but(epochs=3, schedule="constant", warmup_epochs=0, lr=1e-3)
    done = fit(network(), dataset(), CONVENTION, recipe)
    assert [r.lr for r in done.epochs] == [1e-3] * 3
    assert done.lowest_lr == 1e-3


def test_weight_decay_spares_norms_and_biases() -> None:
    groups = optimizer(network(), RECIPE).param_groups
    assert {p.ndim > 1: g["weight_decay"] for g in groups for p in g["params"]} == {
        True: RECIPE.weight_decay,
        False: 0.0,
    }


def test_a_frozen_parameter_stays_and_a_frozen_network_is_refused() -> None:
    model = network()
    model[0].weight.requires_grad_(False)
    before = model[0].weight.clone()
    fit(model, dataset(), CONVENTION, RECIPE.but(epochs=1))
    assert torch.equal(model[0].weight, before)
    with pytest.raises(EdgepruneError, match="no parameter"):
        fit(model.requires_grad_(False), dataset(), CONVENTION, RECIPE)


class Deaf(nn.Module):
    """Answers the same to every image, and can only learn which answer is the best one."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = nn.Parameter(torch.zeros(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.answer.expand(len(x), 4)


def test_a_network_at_chance_is_said_early() -> None:
    watch = Listener()
    done = fit(Deaf(), dataset(), CONVENTION, RECIPE.but(epochs=6), watch=watch)
    assert len(watch.notes) == 1
    assert "at chance after epoch" in watch.notes[0]
    assert "--init imagenet" in watch.notes[0]
    assert done.at_chance


def test_chance_is_said_inside_a_long_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeprune.train.chance.WINDOW", 20)
    watch = Listener()
    recipe = RECIPE.but(epochs=1, warmup_epochs=0, batch_size=4)
    fit(Deaf(), dataset(400), CONVENTION, recipe, watch=watch)
    assert "batches" in watch.notes[0]
    watch = Listener()
    fit(network(), dataset(400), CONVENTION, recipe.but(lr=1e-2), watch=watch)
    assert watch.notes == []


def test_a_loss_that_is_no_number_ends_it_at_once() -> None:
    recipe = RECIPE.but(optimizer="sgd", lr=1e25, warmup_epochs=0, clip=0)
    with pytest.raises(EdgepruneError, match=r"no longer a number .epoch 1.*--lr"):
        fit(network(norm=False), dataset(), CONVENTION, recipe)


def test_the_forecast_comes_first_and_runs_down(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Listener()
    pace = Pace("fp32", step=2.0, steps=10, validation=5.0)
    monkeypatch.setattr(forecast, "measure", lambda *args: pace)
    fit(network(), dataset(), CONVENTION, RECIPE.but(epochs=2, precision="auto"), watch=watch)
    assert watch.started == [(2, 0, 2 * (10 * 2.0 + 5.0))]
    left = [p.left for p in watch.heard]
    assert left[-1] < left[0] / 10
    assert [(p.epoch, p.batch) for p in watch.heard] == [
        (e, b) for e in (1, 2) for b in range(1, 11)
    ]


def test_measuring_leaves_the_model_and_the_random_state_alone() -> None:
    model = network()
    before = copy.deepcopy(model.state_dict())
    state = torch.get_rng_state()
    pace = measure(model, dataset(), CONVENTION, RECIPE.but(precision="auto"))
    assert pace.precision == "fp32"  # so short a training is not worth a second measurement
    assert pace.steps == 10
    assert pace.seconds(3) == pytest.approx(3 * (10 * pace.step + pace.validation))
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in before.items())
    assert torch.equal(state, torch.get_rng_state())
    fit(model, dataset(), CONVENTION, RECIPE.but(epochs=1))
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(("lower", "chosen"), [(0.5, "bf16"), (0.9, "fp32"), (1.3, "fp32")])
def test_a_lower_precision_must_pay(
    lower: float, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = {"fp32": 1.0, "bf16": lower}
    monkeypatch.setattr(forecast, "step_seconds", lambda m, b, r, precision, t: seconds[precision])
    recipe = RECIPE.but(precision="auto")
    assert forecast.choose_precision(network(), [], recipe, 100)[0] == chosen
    assert forecast.choose_precision(network(), [], recipe, 10) == ("fp32", {"fp32": 1.0})


def test_float16_without_a_gpu_is_refused() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(EdgepruneError, match="needs a GPU"):
        fit(network(), dataset(), CONVENTION, RECIPE.but(precision="fp16"))


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_two_threads_repeat_themselves(precision: str, two_threads: None) -> None:
    one, other = network(), network()
    for model in (one, other):
        fit(model, dataset(), CONVENTION, RECIPE.but(precision=precision, epochs=2))
    assert all(torch.equal(v, other.state_dict()[k]) for k, v in one.state_dict().items())


def test_bfloat16_is_another_arithmetic() -> None:
    recipe = RECIPE.but(precision="bf16", epochs=2)
    one = network()
    fit(one, dataset(), CONVENTION, recipe)
    plain = network()
    fit(plain, dataset(), CONVENTION, recipe.but(precision="fp32"))
    assert not torch.equal(plain[0].weight, one[0].weight)


def test_a_teacher_is_followed() -> None:
    data = dataset()
    teacher, pupil = network(1), network(2)
    fit(teacher, data, CONVENTION, RECIPE.but(epochs=8, lr=1e-2))
    before = copy.deepcopy(teacher.state_dict())
    recipe = RECIPE.but(epochs=6, lr=1e-2, teacher_share=1.0)
    fit(pupil, data, CONVENTION, recipe, teacher=teacher)
    assert all(torch.equal(v, teacher.state_dict()[k]) for k, v in before.items())
    assert evaluate(pupil, data.test, CONVENTION).score > 0.8  # it saw no label at all


@pytest.mark.parametrize("n", [5, 16, 17])
def test_few_images_still_make_a_step(n: int) -> None:
    done = fit(network(), dataset(n), CONVENTION, RECIPE.but(epochs=2))
    assert len(done.epochs) == 2
    assert all(np.isfinite(r.train_loss) for r in done.epochs)


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path: Path) -> None:
    """Each takes half of every batch; the gradients are averaged (no batch norm, no dropout)."""
    program = tmp_path / "two.py"
    program.write_text(
        "import sys, torch\n"
        "from tiny_training import CONVENTION, RECIPE, dataset, network\n"
        "from edgeprune import files\n"
        "from edgeprune.train import fit\n"
        "from edgeprune.train.step import here\n"
        "assert here().num_processes == int(sys.argv[2])\n"
        "model = network(norm=False); model[7].p = 0.0\n"
        "fit(model, dataset(), CONVENTION, RECIPE.but(epochs=2, optimizer='sgd'))\n"
        "if here().is_main_process:\n"
        "    files.write_tensors(sys.argv[1], model.state_dict())\n"
    )
    here = Path(__file__).parent
    ours = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # of other tests
    env = {k: v for k, v in os.environ.items() if k not in ours} | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": f"{here}{os.pathsep}{here.parents[1]}",
        "ACCELERATE_USE_CPU": "true",
    }
    from edgeprune import files

    found = []
    for n in (1, 2):
        out = tmp_path / f"{n}.safetensors"
        launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={n}"]
        words = [sys.executable, *(launch if n > 1 else []), str(program), str(out), str(n)]
        for _ in range(3):  # the launcher picks a free port, and another test may take it first
            done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=300)
            if done.returncode == 0:
                break
        assert done.returncode == 0, done.stderr[-3000:]
        found.append(files.read_tensors(out)[0])
    for name, tensor in found[0].items():
        torch.testing.assert_close(tensor, found[1][name], rtol=1e-4, atol=1e-6)
