"""A price is one row: what a plan counts in, and how it follows from a network's widths. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from .. import records
from ..errors import EdgepruneError
from ..records import Target

if TYPE_CHECKING:
    from ..graph import Graph


class Curve(Protocol):
    """A network's price at any widths of its groups."""

    @property
    def dense(self) -> float: ...  # at the widths that it has

    def at(self, widths: Mapping[str, int]) -> float: ...  # missing groups: whole


@dataclass(frozen=True)
class Price:
    """One row of the table."""

    name: str  # in plans and in recipes; --keep-NAME on the command line
    word: str  # what people read
    show: Callable[[float], str]  # a value with its unit
    of: Callable[[Graph], Curve]

    @property
    def option(self) -> str:
        return records.option_of(self.name)


def one(shares: Mapping[str, float | None]) -> Target | None:
    """The one target among shares by price, most of them None; None where no share is given."""
    given = [Target(name, share) for name, share in shares.items() if share is not None]
    if len(given) > 1:
        options = " and ".join(target.option for target in given)
        raise EdgepruneError(options, "a plan wants one target", "leave one out")
    return given[0] if given else None
