"""How a target is typed and kept: one row a form, one target, where a time is meant."""

from __future__ import annotations

import pytest

from edgeprune import records
from edgeprune.errors import EdgepruneError
from edgeprune.prices import PRICES, Place, Target, goal, one, options

BOARD = Place("board", 4)


@pytest.mark.parametrize(
    ("typed", "target", "words"),
    [
        ({"flops": 0.5}, Target("flops", share=0.5), "--keep-flops 0.5"),
        ({"bytes": 0.25}, Target("bytes", share=0.25), "--keep-bytes 0.25"),
        ({"ms": 12}, Target("ms", value=12, place=BOARD), "--target-ms 12"),
        ({"speedup": 2.5}, Target("ms", share=0.4, place=BOARD), "--speedup 2.5"),
        ({"mb": 3.2}, Target("bytes", value=3.2e6), "--target-mb 3.2"),
    ],
)
def test_what_is_typed_is_what_is_meant(
    typed: dict[str, float], target: Target, words: str
) -> None:
    assert one({"params": None, **typed}, BOARD) == target
    assert str(target) == words
    assert target.option in options()
    assert records.value(records.plain(target), Target, "target") == target  # recipe.json and back


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ({"ms": 0.0}, "--target-ms 0: must be a positive number"),
        ({"ms": float("nan")}, "--target-ms nan: must be"),
        ({"speedup": 0.99}, "--speedup 0.99: must be a number of at least 1"),
        ({"speedup": 0.0}, "must be a number of at least 1"),
        ({"mb": -1.0}, "--target-mb -1: must be a positive number"),
        ({"flops": 1.01}, "--keep-flops 1.01: must lie above 0 and not above 1"),
        ({"ms": 3, "flops": 0.5}, "--target-ms and --keep-flops: a plan wants one target"),
    ],
)
def test_what_cannot_be_meant_is_refused_as_it_was_typed(
    typed: dict[str, float], said: str
) -> None:
    with pytest.raises(EdgepruneError) as e:
        one(typed, BOARD)
    assert said in str(e.value)


def test_what_is_possible_is_rounded_to_where_it_is() -> None:
    assert Target("flops", share=0.1).at_least(0.23456, 100.0) == "--keep-flops 0.2346"
    assert Target("flops", share=0.1).at_least(0.25, 100.0) == "--keep-flops 0.25"
    assert Target("ms", value=1.0).at_least(0.23456, 10.0) == "--target-ms 2.346"
    assert Target("ms", share=0.1).at_least(0.3, 10.0) == "--speedup 3.333"  # rounded down
    assert Target("bytes", value=1e5).at_least(0.5, 6543210.0) == "--target-mb 3.272"


def test_a_goal_in_words() -> None:
    assert goal(Target("flops", 0.5)) == "50.0 % of the FLOPs stay"
    assert goal(Target("gone", 0.5)) == "50.0 % of the gone stay"  # of another version
    assert goal(Target("ms", value=12.0, place=BOARD)) == "12 ms a run at most on board, 4 threads"
    assert goal(Target("ms", share=0.5, place=Place())) == (
        "2x as fast as the dense network on cpu, 1 thread"
    )
    assert goal(Target("bytes", value=3.2e6)) == "weights of 3.2 MB at most"


def test_every_form_has_a_price() -> None:
    assert all(form.price in PRICES or form.price == "ms" for form in records.FORMS.values())
    assert len({form.option for form in records.FORMS.values()}) == len(records.FORMS)


@pytest.mark.parametrize(
    ("price", "words"),
    [("ms", {"value": 1e-310}), ("ms", {"value": 1e308}), ("ms", {"share": 1e-310})],
)
def test_numbers_at_the_ends_of_floats_are_refused(price: str, words: dict[str, float]) -> None:
    """What is possible could not be said of them: 10^313 is no float."""
    with pytest.raises(EdgepruneError, match="must be"):
        Target(price, **words)
