"""Schedules are pure functions of the share of the training."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from edgeprune.errors import EdgepruneError
from edgeprune.ways import schedules


@pytest.mark.parametrize("name", list(schedules.SCHEDULES))
def test_from_nothing_to_the_target_and_never_back(name: str) -> None:
    done = [schedules.named(name)(i / 50) for i in range(51)]
    assert done[0] == pytest.approx(0, abs=1e-12)
    assert done[-1] == pytest.approx(1)
    assert all(a <= b for a, b in pairwise(done))
    assert schedules.kept(name, 0, 0.3) == pytest.approx(1)
    assert schedules.kept(name, 1, 0.3) == pytest.approx(0.3)
    assert schedules.kept(name, 7, 0.3) == pytest.approx(0.3)  # after the end nothing more


def test_agp_is_zhu_and_guptas_cubic() -> None:
    """s_t = s_f + (s_i - s_f) (1 - (t - t0) / (n dt))^3 with s_i = 0."""
    for t in (0.1, 0.25, 0.8):
        sparsity = 0.7 + (0 - 0.7) * (1 - t) ** 3
        assert 1 - schedules.kept("agp", t, 0.3) == pytest.approx(sparsity)


def test_one_cycle_is_steepest_where_its_exponent_vanishes() -> None:
    steps = [schedules.one_cycle((i + 1) / 100) - schedules.one_cycle(i / 100) for i in range(100)]
    assert steps.index(max(steps)) == math.floor(100 * schedules.BETA / schedules.ALPHA)


def test_others_are_refused() -> None:
    with pytest.raises(EdgepruneError, match="did you mean agp"):
        schedules.named("apg")
