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


def visit(
    measured: float, predicted: float | None = None, dense: float = 10.0, **more: object
) -> Visit:
    """12 ms predicted of the dense network, which takes 10; of this one, by default, just as far off."""
    predicted = 1.2 * measured if predicted is None else predicted
    return Visit(
        step=1, asked="--speedup 2", device="board", threads=2, **{"widths": {"a": 8}, **more},
        predicted_ms=predicted, predicted_dense_ms=12.0, expected_ms=5.0,
        measured_ms=measured, dense_ms=dense,
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


def test_three_visits_at_most_and_none_after_one_near_the_middle() -> None:
    """What lies near an edge may lie beyond it when it is measured again."""
    assert not visits.ended(TWICE, [])
    assert not visits.ended(TWICE, [visit(6)])
    assert visits.ended(TWICE, [visit(6), visit(5)])
    assert visits.ended(TWICE, [visit(6), visit(4.9)])
    assert not visits.ended(TWICE, [visit(6), visit(5.03)])
    assert not visits.ended(TWICE, [visit(6), visit(4.87)])
    assert not visits.ended(TWICE, [visit(5), visit(6)])  # the last one decides
    assert visits.ended(TWICE, [visit(6), visit(5.5), visit(5.2)])


def test_a_visit_that_other_programs_cut_short_is_made_again() -> None:
    """And does not count beside the one that was not; after three of them what there is must do."""
    short, same = visit(6, unsure=True), visit(5.4)
    assert visits.again([short])
    assert not visits.again([short, same])
    assert not visits.ended(TWICE, [visit(5, unsure=True)])  # near, as far as is known
    assert visits.counted([short, same]) == [same]
    assert visits.counted([short, visit(5.4, widths={"a": 7})])[0] == short
    others = [visit(v, widths={"a": n}) for n, v in enumerate((6, 5.5))]
    assert not visits.ended(TWICE, [short, same, others[0]])  # two that count
    assert visits.ended(TWICE, [short, same, *others])
    assert visits.again([short, short])
    assert not visits.again([short, short, short])
    assert visits.best(TWICE, [visit(4.95, unsure=True), same, visit(4.6, widths={"a": 7})]) == 2
    said = visits.sentence(TWICE, [short, same], same)
    assert "2 visits, 1 of them unsure: other programs ran" in said


@pytest.mark.parametrize(
    ("short", "interval", "unsure"),
    [
        (False, (1.98, 2.02), False),
        (True, (1.98, 2.02), True),  # the time was up
        (False, (1.92, 2.10), True),  # 9 % wide, where 4 may be missed to either side
        (False, (None, 2.02), True),
        (False, None, True),
    ],
)
def test_what_an_interval_leaves_open_is_unsure(
    short: bool, interval: tuple[float | None, float | None] | None, unsure: bool
) -> None:
    assert visits.unsure(short, interval) is unsure


def test_the_one_nearest_to_the_middle_that_is_not_too_slow_is_taken() -> None:
    assert visits.best(TWICE, [visit(4.0), visit(4.7), visit(5.2)]) == 1
    assert visits.best(TWICE, [visit(5.04), visit(4.9), visit(4.2)]) == 1
    assert (
        visits.best(TWICE, [visit(5.6), visit(5.2), visit(5.9)]) == 1
    )  # all too slow: the nearest
    faster_dense = [
        visit(4.6, 6.13, dense=9.0),
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


def test_what_was_measured_is_nearly_what_is_predicted() -> None:
    """12 ms were 10, and 6 of 12 were 4.5 of 10: 10 % less than predicted; of that a hundredth is noise."""
    curve = visits.corrected(ROW, [visit(4.5, 6)]).of(None)  # type: ignore[arg-type]
    assert curve.dense == pytest.approx(10.0)
    own = 0.01 * (1 - math.exp(-(math.log(2) ** 2) / 0.25))  # variance, the dense network known
    kept = own / (own + 0.0001)
    assert curve.at({"a": 6}) == pytest.approx(10 * 0.5 * 0.9**kept)
    assert curve.at({"a": 6}) == pytest.approx(4.5, rel=0.002)
    assert curve.at({"a": 12}) == pytest.approx(10.0)  # as it was measured
    assert 0.9 < curve.at({"a": 9}) / 7.5 < 1  # between the two
    assert curve.at({"a": 5}) / (50 / 12) == pytest.approx(0.9, abs=0.01)  # near it, as it
    assert visits.corrected(ROW, []) is ROW


def test_times_of_an_earlier_visit_count_beside_its_own_dense_network() -> None:
    """Then the whole machine was half as fast."""
    slow = visit(9.0, 6, dense=20.0)
    now = visit(3.0, predicted=4.0)
    curve = visits.corrected(ROW, [slow, now]).of(None)  # type: ignore[arg-type]
    assert curve.dense == pytest.approx(10.0)
    assert curve.at({"a": 6}) == pytest.approx(4.5, rel=0.003)
    assert curve.at({"a": 4}) == pytest.approx(3.0, rel=0.003)


def test_visits_near_each_other_share_their_noise() -> None:
    """One network by chance 2 % slower, then as much faster: it takes what lies between."""
    twice = [visit(4.5 * 1.02, 6), visit(4.5 * 0.98, 6)]
    curve = visits.corrected(ROW, twice).of(None)  # type: ignore[arg-type]
    assert curve.at({"a": 6}) == pytest.approx(4.5, rel=0.003)
    for one in twice:
        assert visits.smoothed(twice, one) == pytest.approx(0.45, rel=0.003)
    lucky = [visit(4.9, 6, widths={"a": 6}), visit(5.2, predicted=5.99, widths={"a": 5})]
    assert visits.likely(TWICE, lucky, lucky[0]) == pytest.approx(1.01, abs=0.002)
    assert not visits.ended(TWICE, [*lucky[::-1]])  # its own 0.98 alone would end it


def test_what_was_asked_and_measured_in_a_sentence() -> None:
    target = dataclasses.replace(TWICE, place=Place())
    said = visits.sentence(target, [visit(6), visit(5)], visit(5))
    assert said == (
        "--speedup 2 on cpu, 1 thread: measured 5 ms beside 10 ms of the dense network, 2.00x; 2 visits"
    )
    slow, fast = (visits.sentence(target, [v], v) for v in (visit(5.2), visit(4.5)))
    assert "(4.0 % slower than asked: no widths that were tried come nearer); 1 visit" in slow
    assert "(10.0 % faster than asked: no widths that were tried come nearer); 1 visit" in fast
    assert not visits.kept(target, visit(5.2))
    assert visits.kept(target, visit(4.5))  # a bound that is kept is reached
