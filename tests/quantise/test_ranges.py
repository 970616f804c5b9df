"""Which values 256 steps are spread over."""

from __future__ import annotations

import numpy as np
import pytest

from edgeprune.quantise import RANGES, Range, Seen
from edgeprune.quantise.ranges import minmax, mse


def seen(values: np.ndarray) -> Seen:
    x = values.astype(np.float32)
    return Seen(float(x.min()), float(x.max()), x)


def error(found: Range, x: np.ndarray) -> float:
    return float(np.square(found.rounded(x) - x).mean())


def test_a_range_holds_zero_exactly_and_rounds_by_half_a_step_at_most() -> None:
    found = minmax(seen(np.array([2.0, 5.0])))
    assert (found.low, found.high) == (0.0, 5.0)
    x = np.linspace(-1, 3, 1001).astype(np.float32)
    found = Range(-1.0, 3.0)
    assert 0.0 in found.rounded(np.zeros(1, np.float32))
    assert np.abs(found.rounded(x) - x)[2:-2].max() <= 0.501 * found.step
    assert len(np.unique(found.rounded(x))) <= 256


@pytest.mark.parametrize("rule", RANGES)
def test_every_rule_lies_inside_what_was_seen(rule: str) -> None:
    rng = np.random.default_rng(0)
    for x in (rng.normal(size=5000), rng.exponential(size=5000), -rng.exponential(size=5000)):
        found, whole = RANGES[rule](seen(x)), minmax(seen(x))
        assert whole.low <= found.low <= 0 <= found.high <= whole.high


def test_mse_gives_up_an_outlier_for_finer_steps_and_minmax_does_not() -> None:
    x = np.append(np.random.default_rng(0).normal(size=200_000), [60.0]).astype(np.float32)
    assert minmax(seen(x)).high == 60.0
    assert mse(seen(x)).high < 55.0
    assert error(mse(seen(x)), x) < 0.95 * error(minmax(seen(x)), x)


def test_mse_keeps_the_whole_range_of_values_that_are_spread_evenly() -> None:
    x = np.random.default_rng(0).uniform(-1, 3, 20_000)
    found, whole = mse(seen(x)), minmax(seen(x))
    assert found.high > 0.98 * whole.high
    assert found.low < 0.98 * whole.low


def test_a_tensor_that_is_always_zero_has_a_range() -> None:
    for rule in RANGES.values():
        found = rule(seen(np.zeros(100)))
        assert found.step > 0
        assert found.rounded(np.zeros(3, np.float32)).tolist() == [0, 0, 0]
