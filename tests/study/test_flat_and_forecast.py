"""When a baseline counts as trained, and how long the rest takes: by hand on small numbers."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from scipy import stats

from edgeprune.records import Flat
from edgeprune.study import forecast
from edgeprune.study.flat import rise
from edgeprune.study.jobs import jobs
from edgeprune.study.storage import DONE, FAILED, GIVEN_UP, RUNNING, Attempt

from .test_jobs import TWO


def test_a_line_that_rises_by_a_point_an_epoch_still_rises() -> None:
    found = rise([0.3] * 12 + [0.50, 0.51, 0.52, 0.53], Flat())
    assert found.points == pytest.approx(4.0)  # a point an epoch, for four more
    assert found.high == pytest.approx(4.0)  # the points lie on the line
    assert not found.flat


def test_only_the_last_quarter_counts_and_its_noise_does() -> None:
    quiet = rise([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.8, 0.8, 0.8], Flat(last=1 / 3))
    assert quiet.flat
    assert quiet.high == pytest.approx(0.0)
    last = [70.0, 72.0, 70.0, 72.0]  # slope 0.4 an epoch; residuals -0.4, 1.2, -1.2, 0.4
    noisy = rise([0.1] * 12 + [v / 100 for v in last], Flat())
    error = math.sqrt((0.16 + 1.44 + 1.44 + 0.16) / 2 / 5)
    assert noisy.points == pytest.approx(1.6)
    assert noisy.high == pytest.approx(4 * (0.4 + stats.t.ppf(0.95, 2) * error))
    assert not noisy.flat


def test_falling_is_flat_and_few_epochs_are_never() -> None:
    assert rise([0.8] * 9 + [0.79, 0.78, 0.77], Flat()).flat
    assert not rise([0.8, 0.8], Flat()).flat
    assert rise([0.80, 0.801, 0.802], Flat(last=1.0, points=1.0)).flat
    assert not rise(
        [0.80, 0.805, 0.810], Flat(last=1.0, points=1.0)
    ).flat  # 1.5 points in three more
    assert not rise([0.80, 0.801, 0.802], Flat(last=1.0, points=0.1)).flat


def attempt(number: int, job: str, state: str, seconds: float) -> Attempt:
    return Attempt(number, job, state, "here", 0, "", seconds, number)


def test_the_forecast_takes_the_time_of_jobs_that_are_alike() -> None:
    every = [j for j in jobs(replace(TWO, bench=False)) if j.seed == 0]
    b, a = "mobilenetv1-digits-B-s0", "mobilenetv1-digits-A-s0"
    spent = forecast.spent([
        attempt(0, b, GIVEN_UP, 4.0), attempt(1, b, DONE, 6.0), attempt(2, f"{b}-paper", DONE, 20.0),
        attempt(3, a, FAILED, 3.0), attempt(4, a, RUNNING, math.nan),
    ])  # fmt: skip
    assert spent == {b: 10.0, f"{b}-paper": 20.0}
    # A is trained as B was, pruned as B was; of the two controls the kind of work is known
    assert forecast.left(every, {b, f"{b}-paper"}, {}, spent, 1) == 10 + 20 + 20 + 20
    assert forecast.left(every, {b, f"{b}-paper"}, {}, spent, 2) == 35
    assert forecast.left(every, {b, f"{b}-paper"}, {a: "no"}, spent, 1) == 20  # B's control alone
    assert math.isnan(forecast.left(every, set(), {}, {}, 1))
    assert forecast.left(every, {j.name for j in every}, {}, {}, 1) == 0
