"""A price is one row: what a plan counts in, and how it follows from a network's widths. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from ..errors import EdgepruneError
from ..graph import Graph


class Curve(Protocol):
    """A network's price at any widths of its groups."""

    @property
    def dense(self) -> float: ...  # at the widths that it has

    def at(self, widths: Mapping[str, int]) -> float: ...  # missing groups: whole


@dataclass(frozen=True)
class Price:
    """One row of the table."""

    name: str  # in plans and in options: --keep-NAME
    word: str  # what people read
    show: Callable[[float], str]  # a value with its unit
    of: Callable[[Graph], Curve]

    @property
    def option(self) -> str:
        return f"--keep-{self.name}"


@dataclass(frozen=True)
class Target:
    """How much is to stay of a price: a ``share`` of the dense network's (0..1), or a ``value``."""

    price: str  # a name of the table
    share: float | None = None
    value: float | None = None  # in the price's own unit

    def __post_init__(self) -> None:
        if (self.share is None) == (self.value is None):
            raise EdgepruneError(
                f"a target in {self.price}", "wants a share or a value", "give one"
            )
        if self.share is not None and not 0 < self.share <= 1:
            raise EdgepruneError(
                f"--keep-{self.price} {self.share}", "must lie above 0 and not above 1"
            )
        if self.value is not None and not 0 < self.value < float("inf"):
            raise EdgepruneError(f"--keep-{self.price} {self.value}", "must be a positive number")

    def of(self, dense: float) -> float:
        """The share of ``dense``, what the whole network costs."""
        return self.share if self.share is not None else (self.value or 0.0) / dense


def one(shares: Mapping[str, float | None]) -> Target | None:
    """The one target among shares by price, most of them None; None where no share is given."""
    given = [Target(name, share) for name, share in shares.items() if share is not None]
    if len(given) > 1:
        options = " and ".join(f"--keep-{t.price}" for t in given)
        raise EdgepruneError(options, "a plan wants one target", "leave one out")
    return given[0] if given else None
