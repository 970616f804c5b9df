"""What a device's word does to a plan, played through by hand."""

from __future__ import annotations

import dataclasses
import math

import pytest

from edgeprune.prices import Place, Price, Target, visits
from edgeprune.records import Visit

BOARD = Place("board", 2)
TWICE = Target("ms", share=0.5, place=BOARD)
FIVE = Target("ms", value=5.0, place=BOARD)


def visit(measured: float, predicted: float = 6.0, dense: float = 10.0, **more: object) -> Visit:
    return Visit(
        step=1, asked="--speedup 2", device="board", threads=2, widths={"a": 8},
        predicted_ms=predicted, predicted_dense_ms=12.0, expected_ms=5.0,
        measured_ms=measured, dense_ms=dense, **more,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("measured", "met"),
    [(4.84, False), (4.86, True), (5.0, True), (5.04, True), (5.06, False), (9.0, False)],
)
def test_met_is_three_per_cent_below_to_one_above(measured: float, met: bool) -> None:
    assert visits.met(TWICE, visit(measured)) is met
    assert visits.met(FIVE, visit(measured)) is met
    assert (
        visits.met(FIVE, visit(measured, dense=20.0)) is met
    )  # of a value the dense one says nothing
    assert visits.met(TWICE, visit(2 * measured, dense=20.0)) is met


def test_three_visits_at_most_and_none_after_it_is_met() -> None:
    assert not visits.ended(TWICE, [])
    assert not visits.ended(TWICE, [visit(6)])
    assert visits.ended(TWICE, [visit(6), visit(5)])
    assert not visits.ended(TWICE, [visit(5), visit(6)])  # the last one decides
    assert visits.ended(TWICE, [visit(6), visit(5.5), visit(5.2)])


def test_the_slowest_that_is_not_too_slow_is_taken() -> None:
    assert visits.best(TWICE, [visit(4.0), visit(4.7), visit(5.2)]) == 1
    assert visits.best(TWICE, [visit(5.04), visit(4.9), visit(4.2)]) == 0
    assert (
        visits.best(TWICE, [visit(5.6), visit(5.2), visit(5.9)]) == 1
    )  # all too slow: the nearest
    faster_dense = [
        visit(4.6, dense=9.0),
        visit(4.4),
    ]  # beside its own dense network: 1.02 and 0.88
    assert visits.best(TWICE, faster_dense) == 1


def test_a_plan_is_made_for_a_little_less_than_was_asked() -> None:
    assert visits.aimed(TWICE).share == pytest.approx(0.495)
    assert visits.aimed(FIVE).value == pytest.approx(4.95)
    assert visits.aimed(FIVE).place == BOARD


class Straight:
    """A millisecond a channel."""

    dense = 12.0

    def at(self, widths: dict[str, int]) -> float:
        return float(widths["a"])


ROW = Price("ms", "predicted time", str, lambda graph: Straight())


def test_what_was_measured_is_predicted_exactly() -> None:
    """12 ms were 10, and 6 were 4.5: factors 0.833 and 0.75, between them a line in logarithms."""
    curve = visits.corrected(ROW, [visit(4.5)]).of(None)  # type: ignore[arg-type]
    assert curve.dense == pytest.approx(10.0)
    assert curve.at({"a": 6}) == pytest.approx(4.5)
    part = math.log(9 / 6) / math.log(12 / 6)
    factor = 0.75 * (10 / 12 / 0.75) ** part
    assert curve.at({"a": 9}) == pytest.approx(9 * factor)
    assert curve.at({"a": 3}) == pytest.approx(3 * 0.75)  # beyond what was measured: the nearest
    assert visits.corrected(ROW, []) is ROW


def test_times_of_an_earlier_visit_count_beside_its_own_dense_network() -> None:
    """Then the whole machine was half as fast."""
    slow = visit(9.0, dense=20.0)
    now = visit(3.0, predicted=4.0)
    curve = visits.corrected(ROW, [slow, now]).of(None)  # type: ignore[arg-type]
    assert curve.dense == pytest.approx(10.0)
    assert curve.at({"a": 6}) == pytest.approx(4.5)
    assert curve.at({"a": 4}) == pytest.approx(3.0)


def test_the_same_prediction_twice_is_corrected_by_both() -> None:
    curve = visits.corrected(ROW, [visit(4.0), visit(5.0)]).of(None)  # type: ignore[arg-type]
    assert curve.at({"a": 6}) == pytest.approx(4.5)


def test_what_was_asked_and_measured_in_a_sentence() -> None:
    target = dataclasses.replace(TWICE, place=Place())
    said = visits.sentence(target, [visit(6), visit(5)], visit(5))
    assert said == (
        "--speedup 2 on cpu, 1 thread: measured 5 ms beside 10 ms of the dense network, 2.00x; 2 visits"
    )
    assert "(+4.0 % of what was asked); 1 visit" in visits.sentence(
        target, [visit(5.2)], visit(5.2)
    )
