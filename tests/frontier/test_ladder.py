"""Which network is made next, and which are worth taking: played through without a network."""

from __future__ import annotations

import pytest

from edgeprune.frontier import beaten, next_share


def played(kept, points: int, least: float = 0.1) -> list[tuple[float, float]]:
    """A frontier of a network that keeps ``kept(share)``."""
    seen = [(1.0, 1.0)]
    for _ in range(points):
        share = next_share(seen, least)
        if share is None:
            break
        seen.append((share, kept(share)))
    return seen


def test_downwards_until_half_is_lost_then_into_the_widest_gap() -> None:
    seen = played(lambda s: s, 5)
    assert [round(s, 3) for s, _ in seen] == [1.0, 0.7, 0.49, 0.837, 0.586, 0.915]


def test_a_network_that_can_lose_much_is_followed_to_its_end() -> None:
    seen = played(lambda s: 1.0 if s > 0.2 else 0.0, 9)
    shares = [s for s, _ in seen]
    assert min(shares) == pytest.approx(0.7**5)
    above, below = min(s for s in shares if s > 0.2), max(s for s in shares if s <= 0.2)
    assert above / below < 1.1  # the cliff is enclosed


def test_nothing_below_what_can_be_reached() -> None:
    seen = played(lambda s: 1.0, 9, least=0.4)
    assert min(s for s, _ in seen) == 0.4
    assert len({s for s, _ in seen}) == len(seen)


def test_it_ends_where_neighbours_are_near() -> None:
    assert next_share([(1.0, 1.0), (0.95, 0.4)], 0.95) is None


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([(10.0, 1.0), (6.0, 0.8), (5.0, 0.9)], [None, 2, None]),
        ([(10.0, 1.0), (11.0, 0.9)], [None, 0]),  # slower than the dense one
        (
            [(10.0, 1.0), (6.0, 0.8), (6.0, 0.8)],
            [None, None, None],
        ),  # equals do not beat each other
        ([(10.0, 1.0), (6.0, 0.8), (6.0, 0.7)], [None, None, 1]),
    ],
)
def test_who_beats_whom(points: list[tuple[float, float]], expected: list[int | None]) -> None:
    assert beaten(points) == expected
