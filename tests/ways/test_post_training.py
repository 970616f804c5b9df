"""A trained network and unlabelled images in, a smaller one and an honest forecast out."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from edgeprune import prices
from edgeprune.errors import EdgepruneError
from edgeprune.graph import cost
from edgeprune.models import Convention
from edgeprune.prune import search
from edgeprune.train import RECIPES, heal
from edgeprune.train.recipes import learning_rate, lowest_lr
from edgeprune.ways import post_training as pt
from edgeprune.ways.examples import Photos, calibration, plain, split
from edgeprune.ways.post_training import (
    Settings,
    answers,
    forecast,
    post_training,
    seen,
    tries,
)
from edgeprune.ways.remaining import Remaining
from tests.nets import build

INPUT = Convention(size=16)


def pixels(n: int, seed: int = 0) -> np.ndarray:  # type: ignore[type-arg]
    """Blocks of colour, uint8 [n, 18, 18, 3]."""
    coarse = np.random.default_rng(seed).integers(0, 256, (n, 6, 6, 3), np.uint8)
    return coarse.repeat(3, 1).repeat(3, 2)


@pytest.fixture(scope="module")
def net() -> torch.nn.Module:
    return build("Depthwise").float()


def test_repair_beats_the_bare_cut_and_the_forecast_is_measured(net: torch.nn.Module) -> None:
    before = {n: t.clone() for n, t in net.state_dict().items()}
    made = {
        how: post_training(
            net,
            Photos(pixels(320), INPUT),
            Settings(target=prices.Target("flops", 0.6), compensate=how),
        )
        for how in ("none", "lstsq")
    }
    assert all(torch.equal(before[n], t) for n, t in net.state_dict().items())
    assert made["lstsq"].forecast.variance_kept > made["none"].forecast.variance_kept
    for result in made.values():
        assert cost(result.graph).flops == result.plan.promised["flops"]
        assert abs(result.plan.reached()["flops"] - 0.6) < 0.08
    held = split(320)[1]
    again = forecast(net, made["lstsq"].model, plain(Photos(pixels(320)[held], INPUT)))
    assert again.images == len(held) == 64
    assert again.agreement == pytest.approx(made["lstsq"].forecast.agreement)
    assert again.variance_kept == pytest.approx(made["lstsq"].forecast.variance_kept, abs=1e-4)


def test_first_views_come_first_and_views_of_an_image_share_a_fold() -> None:
    """A layer that looks at the first images only sees different ones, not copies of a few."""
    some = pixels(100)
    seen = calibration(Photos(some, INPUT), 3, seed=1)
    once = torch.cat(list(seen.batches[:4]))
    assert len(once) == len(once.flatten(1).unique(dim=0)) == 100
    torch.testing.assert_close(torch.cat(list(seen.batches[4:8])), once.flip(3))
    assert list(seen.sources) == [0, 1, 2, 3] * 3
    assert seen.folds == [0, 1] * 6
    assert seen.first(100, least=2) == 4
    assert seen.first(5, least=2) == 2


def test_split_shares_no_image() -> None:
    calibrate, judge = split(101)
    assert not set(calibrate) & set(judge)
    assert len(calibrate) + len(judge) == 101


def test_bad_input_is_one_line(net: torch.nn.Module) -> None:
    settings = Settings(target=prices.Target("flops", 0.5))
    with pytest.raises(EdgepruneError, match="64 are the least"):
        post_training(net, Photos(pixels(10), INPUT), settings)
    with pytest.raises(EdgepruneError, match="wants 32 x 32"):
        post_training(net, Photos(pixels(100), Convention(size=32)), settings)
    broken = build("Depthwise").float()
    with torch.no_grad():
        next(broken.parameters())[0] = float("nan")
    with pytest.raises(EdgepruneError, match="NaN"):
        post_training(broken, Photos(pixels(100), INPUT), settings)
    with pytest.raises(EdgepruneError, match="did you mean lstsq"):
        Settings(compensate="lstq")


def test_healing_restarts_high_and_falls() -> None:
    dense = RECIPES["default"]
    recipe = heal.healing(dense, 3, distil=True)
    rates = [learning_rate(recipe, t) for t in (0.1, 1.0, 2.0, 2.99)]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > lowest_lr(dense, 40)
    assert rates[-1] < 0.05 * rates[0]
    assert recipe.teacher_share == heal.TAUGHT
    with pytest.raises(EdgepruneError):
        heal.healing(dense, 0, distil=False)


def test_shares_follow_the_score(net: torch.nn.Module) -> None:
    """Where the score tells what each width loses the shares follow it, else all are the same."""
    for score, method in (("reconstruction", "reconstruction"), ("l1", "uniform")):
        settings = Settings(target=prices.Target("flops", 0.6), score=score)
        assert settings.method == method
        assert post_training(net, Photos(pixels(96), INPUT), settings).plan.method == method
    assert Settings(method="global").method == "global"


def test_distillation_brings_the_answers_nearer() -> None:
    net = build("Depthwise").float()
    x = torch.cat(plain(Photos(pixels(160), INPUT)))
    rows = seen(net, x)
    spread = answers(net, x, rows)[0].std(0).mean()
    net.head.weight.data *= 3 / spread  # type: ignore[union-attr, operator]  # answers that differ by image
    rough = {"target": prices.Target("flops", 0.5), "score": "random", "compensate": "none"}
    few, some = (
        post_training(net, Photos(pixels(160), INPUT), Settings(**rough, distil_steps=steps))  # type: ignore[arg-type]
        for steps in (0, 100)
    )
    teacher = answers(net, x, rows)[0].log_softmax(1)

    def apart(student: torch.nn.Module) -> float:
        """What distillation makes smaller: how far the answers' distributions are apart."""
        said = answers(student, x, rows)[0].log_softmax(1)
        return float((teacher.exp() * (teacher - said)).sum(1).mean())

    assert apart(some.model) < 0.9 * apart(few.model)
    changed = (
        not torch.equal(a, b)
        for a, b in zip(few.model.parameters(), some.model.parameters(), strict=True)
    )
    assert any(changed)


def test_fewer_images_than_channels_is_said() -> None:
    wide = nn.Sequential(
        nn.Conv2d(3, 70, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(70, 4),
    ).eval()  # fmt: skip
    few = post_training(
        wide, Photos(pixels(80), INPUT), Settings(target=prices.Target("flops", 0.6), views=1)
    )
    assert few.notes == (
        "64 calibration images are fewer than the 70 channels that 4 reads: "
        "give more, it is repaired from little",
    )
    assert not post_training(
        wide, Photos(pixels(100), INPUT), Settings(target=prices.Target("flops", 0.6), views=1)
    ).notes


def test_absurd_judging_images_change_nothing(net: torch.nn.Module) -> None:
    """What judges neither calibrates, nor chooses, nor distils: the network is the same to the bit."""
    plainly, absurd = pixels(160), pixels(160)
    judging = split(160)[1]
    absurd[judging] = np.where(pixels(len(judging), 9) > 127, 255, 0)
    for how in ("none", "mean", "lstsq", "blocks"):
        settings = Settings(
            target=prices.Target("flops", 0.6), compensate=how, block_steps=3, distil_steps=3
        )
        a, b = (post_training(net, Photos(some, INPUT), settings) for some in (plainly, absurd))
        assert a.plan == b.plan
        pairs = zip(a.model.state_dict().values(), b.model.state_dict().values(), strict=True)
        assert all(torch.equal(x, y) for x, y in pairs)
        assert a.forecast.variance_kept != b.forecast.variance_kept  # they do judge


def test_answers_that_say_nothing_are_refused_before_any_work() -> None:
    told: list[str] = []
    loud, dead = build("Depthwise").float(), build("Depthwise").float()
    with torch.no_grad():
        loud.head.weight.fill_(3e38)  # type: ignore[union-attr, operator]
        dead.head.weight.zero_()  # type: ignore[union-attr, operator]
    settings = Settings(target=prices.Target("flops", 0.6))
    for broken, why in ((loud, "NaN or infinite"), (dead, "all the same")):
        with pytest.raises(EdgepruneError, match=why):
            post_training(
                broken, Photos(pixels(96), INPUT), settings, lambda what, *_: told.append(what)
            )
    assert not told


def test_a_layer_that_cannot_be_repaired_is_named() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.twice = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1)
            self.head = nn.Linear(8, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = torch.relu(self.twice(torch.relu(self.twice(torch.relu(self.stem(x))))))
            return self.head(x.mean((2, 3)))  # type: ignore[no-any-return]

    torch.manual_seed(0)
    done = post_training(
        Twice().eval(), Photos(pixels(96), INPUT), Settings(target=prices.Target("flops", 0.6))
    )
    assert any(note.startswith("twice reads channels that left") for note in done.notes)
    bare = Settings(target=prices.Target("flops", 0.6), compensate="none")
    assert not post_training(Twice().eval(), Photos(pixels(96), INPUT), bare).notes


def test_what_is_left_is_told(net: torch.nn.Module) -> None:
    """Phases move on, and the forecast falls to nothing."""
    told: list[tuple[str, int, int, float]] = []
    post_training(
        net, Photos(pixels(160), INPUT), Settings(target=prices.Target("flops", 0.6)),
        lambda what, done, of, left=math.nan: told.append((what, done, of, left)),
    )  # fmt: skip
    assert [what for what, *_ in told if what in ("looking", "choosing", "judging")] == [
        *["looking"] * 4, *["choosing"] * 2, *["judging"] * 2
    ]  # fmt: skip
    assert all(0 <= done <= of for _, done, of, _ in told)
    assert math.isnan(told[0][-1])  # nothing is done yet
    assert all(math.isfinite(left) and left >= 0 for *_, left in told[1:])
    assert told[-1][-1] == pytest.approx(0, abs=1e-9)


def test_remaining_is_what_the_work_says() -> None:
    """After 1 of 10 parts of work in 3 seconds, 27 are left; parts need not be equal."""
    now = [100.0]
    heard: list[float] = []
    remaining = Remaining(
        [[1.0], [2.0, 4.0], [3.0]],
        lambda what, done, of, left=math.nan: heard.append(left),
        lambda: now[0],
    )
    first, second, third = (remaining.phase(i) for i in range(3))
    first("a", 0, 4)
    now[0] = 103.0
    second("b", 0, 2)
    second("b", 1, 2)
    now[0] = 110.0
    third("c", 0, 1)
    third("c", 1, 2)  # told in other parts than were expected: in proportion
    assert math.isnan(heard[0])
    assert heard[1:] == pytest.approx([27.0, 3 * 7 / 3, 10 * 3 / 7, 10 * 1.5 / 8.5])


def searching(trials: int) -> Settings:
    return Settings(target=prices.Target("flops", 0.5), method="search", trials=trials)


def test_a_search_finds_shares_that_its_judge_likes_better(
    net: torch.nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[search.Found] = []

    def kept(*words: object) -> search.Found:
        found.append(search.search(*words))  # type: ignore[arg-type]
        return found[-1]

    monkeypatch.setattr("edgeprune.ways.post_training.search", kept)
    told: list[tuple[str, int, int]] = []
    first, second = (
        post_training(
            net, Photos(pixels(320), INPUT), searching(25),
            lambda what, done, of, left=math.nan: told.append((what, done, of)),
        )
        for _ in range(2)
    )  # fmt: skip
    assert found[0] == found[1]
    assert found[0].value > found[0].even
    assert first.plan == second.plan
    assert first.plan.method == "search"
    plain_plan = post_training(
        net, Photos(pixels(320), INPUT), Settings(target=prices.Target("flops", 0.5))
    ).plan
    assert first.plan.widths != plain_plan.widths
    assert [t for t in told if t[0] == "trying shares"][:25] == [
        ("trying shares", k, 25) for k in range(1, 26)
    ]


def test_a_search_judges_on_other_images_than_it_repairs_on() -> None:
    images = calibration(Photos(pixels(200), INPUT), 2, 0)
    few, judging = tries(images)
    seen_by = [{float(x.double().sum()) for x in part} for part in (few.batches, judging)]
    assert [len(part) for part in seen_by] == [3, 3]
    assert not seen_by[0] & seen_by[1]
    first = {float(x.double().sum()) for x in images.batches[:7]}  # first views only
    assert seen_by[0] | seen_by[1] <= first


@pytest.mark.parametrize(
    ("words", "said"),
    [({"score": "l1"}, "searches among what reconstruction says"), ({"trials": 1}, "--trials 1")],
)
def test_a_search_that_makes_no_sense_is_refused(words: dict[str, object], said: str) -> None:
    with pytest.raises(EdgepruneError, match=said):
        Settings(method="search", **words)  # type: ignore[arg-type]


def test_a_search_of_one_batch_is_refused() -> None:
    with pytest.raises(EdgepruneError, match="too few to judge on others"):
        tries(calibration(Photos(pixels(30), INPUT), 1, 0))


def test_an_output_that_the_network_does_not_give_is_refused_by_name() -> None:
    """Rows may come from the spec of a run that was received."""
    net, x = nn.Conv2d(3, 4, 1), torch.zeros(2, 3, 4, 4)
    ((port, task),) = pt.seen(net, x)
    with pytest.raises(EdgepruneError, match="output 'nosuch': the network gives"):
        pt.answers(net, x, [(replace(port, name="nosuch"), task)])


class Line(nn.Module):
    """Text in a line: what reads the recurrent layer's hidden units is called on [T, N, C]."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 12, 3, (4, 2), 1)
        self.rnn = nn.LSTM(12, 10)
        self.last = nn.Linear(10, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, _ = self.rnn(self.body(x).relu().mean(2).permute(2, 0, 1))
        z: torch.Tensor = self.last(y)
        return z


def test_a_layer_on_sequences_first_is_looked_at() -> None:
    torch.manual_seed(0)
    net = Line().eval()
    settings = Settings(target=prices.Target("params", 0.7), floor=0.2)
    done = post_training(net, Photos(pixels(96), INPUT), settings)
    assert {"body", "rnn"} <= {name.partition(".")[0] for name in done.plan.keep}
    assert done.forecast.variance_kept is not None
    bare = post_training(
        net, Photos(pixels(96), INPUT), replace(settings, compensate="none"), given=done.plan
    )
    assert done.forecast.variance_kept > (bare.forecast.variance_kept or 0.0)
