"""The paper's loop, played through a table of accuracies: which layer, how far, taken back, stopped."""

from __future__ import annotations

import pytest

from edgeprune.ways import Paper
from edgeprune.ways.paper import Candidate, accepted, candidates, choose, decide, settle
from edgeprune.ways.position import Position
from edgeprune.ways.sensitivity import Curve

DENSE = {"a": 64, "b": 64}
CURVES = (
    Curve("a", (0.0, 0.5), (0.9, 0.9)),  # bears its step
    Curve("b", (0.0, 0.5), (0.9, 0.5)),  # does not
)


def play(settings: Paper, accuracies: list[float], baseline: float = 0.9) -> list[Position]:
    """The whole loop over a network whose retrained accuracies are ``accuracies``, one a step."""
    now, went = Position(0, {}), []
    while now.ended is None:
        widths = {n: len(now.kept.get(n, range(w))) for n, w in DENSE.items()}
        possible = candidates(CURVES, widths, DENSE, settings, lambda layer, width: 1.0)
        chosen = decide(now.step + 1, possible, settings)
        if isinstance(chosen, str):
            now = Position(now.step, now.kept, chosen)
        else:
            kept = {**now.kept, chosen.layer: list(range(chosen.width))}
            good = accepted(accuracies[now.step], baseline, settings)
            now = settle(now, Position(now.step + 1, kept), good, settings)
        went.append(now)
    return went


def test_the_step_that_fell_is_taken_back_and_the_last() -> None:
    went = play(Paper(step=0.25, max_drop=1), [0.91, 0.892, 0.889])
    assert [p.step for p in went] == [1, 2, 2]
    assert went[-1].kept == went[1].kept
    assert went[-1].ended == "step 3 fell more than 1 points below the baseline"
    assert [len(p.kept["a"]) for p in went] == [48, 32, 32]
    assert all("b" not in p.kept for p in went)


def test_max_steps_ends_it_whole() -> None:
    went = play(Paper(step=0.25, max_steps=1), [0.9])
    assert [p.ended for p in went] == [None, "--max-steps reached"]
    assert len(went[-1].kept["a"]) == 48


def test_it_ends_when_no_layer_can_give_more() -> None:
    went = play(Paper(step=0.5, round_to=32, max_drop=100), [0.0] * 9)
    assert went[-1].ended == "no layer can give more"
    assert {n: len(k) for n, k in went[-1].kept.items()} == {"a": 32, "b": 32}


@pytest.mark.parametrize(
    ("table", "images", "expected"),
    [
        ([("a", 0.90, 0.1), ("b", 0.80, 0.9)], 1000, "a"),  # falls less, though it saves less
        ([("a", 0.90, 0.1), ("b", 0.895, 0.9)], 1000, "b"),  # the same within the noise: saves more
        ([("a", 0.90, 0.1), ("b", 0.895, 0.9)], 100_000, "a"),  # less noise
        ([], 1000, None),
    ],
)
def test_which_layer(table: list, images: int, expected: str | None) -> None:
    found = choose([Candidate(name, 8, *row) for name, *row in table], images)
    assert (found.layer if found else None) == expected


def test_points_are_hundredths() -> None:
    one = Paper(max_drop=1)
    assert accepted(0.89, 0.90, one)
    assert not accepted(0.8899, 0.90, one)
    assert accepted(0.95, 0.90, one)
