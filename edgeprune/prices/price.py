"""A price is one row: what a plan counts in, and how it follows from a network's widths. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ..errors import EdgepruneError
from ..records import FORMS, Place, Target, form_of

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
    treads: int = 1  # of a staircase: how far down its grid a search looks for what saves most
    near: float = 0.0  # share of the goal that is near enough
    off: float = (
        0.0  # share by which a prediction was off at worst; what it alone rules out is refused
    )

    @property
    def option(self) -> str:
        """How a share of it is typed."""
        return form_of(self.name, shares=True).option


def one(typed: Mapping[str, float | None], place: Place | None = None) -> Target | None:
    """The one target among what was typed, most of it None; None where nothing is given.

    ``typed``: by a name of `records.FORMS`, else by the price of which a share is to stay; ``place``:
    where a time is meant.
    """
    given = [_meant(name, number, place) for name, number in typed.items() if number is not None]
    if len(given) > 1:
        options = " and ".join(target.option for target in given)
        raise EdgepruneError(options, "a plan wants one target", "leave one out")
    return given[0] if given else None


def _meant(name: str, number: float, place: Place | None) -> Target:
    form = FORMS.get(name) or form_of(name, shares=True)
    own = {"share" if form.shares else "value": form.meant(number)}
    return Target(form.price, **own, place=place if form.price == "ms" else None)
