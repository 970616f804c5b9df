"""What a plan is to reach: a share of a price, or a value of it; for times, where they are meant."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from .. import units
from ..errors import EdgepruneError
from .typed import FINITE, Positive


@dataclass(frozen=True)
class Place:
    """Where a network is to run: what its milliseconds are predicted for and measured on."""

    __pydantic_config__: ClassVar[Any] = FINITE
    device: str = "cpu"  # as ``bench --device`` takes it
    threads: Positive = 1

    def __str__(self) -> str:
        return f"{self.device}, {self.threads} thread{'s' if self.threads > 1 else ''}"


def same(number: float) -> float:
    """What is typed is what is meant."""
    return number


def inverse(number: float) -> float:
    """Twice as fast: half of the time."""
    return 1 / number if number else math.inf


@dataclass(frozen=True)
class Form:
    """One way to type a target: an option and what its number means."""

    option: str
    price: str
    shares: bool  # of the dense network's; else a value in the price's own unit
    said: Callable[[float], str]  # the goal in words, from the share or the value
    wants: str  # of the number that is typed
    help: str = ""
    meant: Callable[[float], float] = same  # number typed -> share or value
    typed: Callable[[float], float] = same  # and back
    falls: bool = False  # whether a larger number asks for more to leave
    most: bool = (
        False  # whether the count itself must lie at or below it; else the nearest is taken
    )


MB = 1e6
LEAST, MOST = 1e-12, 1e18  # beyond these no network is, and floats lose their digits
POSITIVE = "must be a positive number"
FORMS: dict[str, Form] = {
    "ms": Form(
        "--target-ms", "ms", False, lambda ms: f"{units.milliseconds(ms / 1e3)} a run at most",
        POSITIVE, "Milliseconds a run on --device, at most.",
    ),
    "speedup": Form(
        "--speedup", "ms", True, lambda share: f"{1 / share:.3g}x as fast as the dense network",
        "must be a number of at least 1", "Times as fast as the dense network on --device.",
        inverse, inverse, falls=True,
    ),
    "mb": Form(
        "--target-mb", "bytes", False, lambda size: f"weights of {size / MB:.3g} MB at most", POSITIVE,
        "Megabytes of weights (10^6 bytes, 4 a weight), at most.", lambda mb: mb * MB, lambda size: size / MB,
        most=True,
    ),
}  # fmt: skip


def form_of(price: str, shares: bool) -> Form:
    """How a target of that kind is typed: ``--keep-PRICE``, where the table has no word of its own."""
    for form in FORMS.values():
        if (form.price, form.shares) == (price, shares):
            return form
    option, wants = f"--keep-{price}", "must lie above 0 and not above 1" if shares else POSITIVE
    return Form(option, price, shares, lambda number: f"{option} {number:g}", wants)


@dataclass(frozen=True)
class Target:
    """How much is to stay of a price: a ``share`` of the dense network's (0..1), or a ``value``."""

    __pydantic_config__: ClassVar[Any] = FINITE
    price: str  # a name of prices.PRICES, or ms
    share: float | None = None
    value: float | None = None  # in the price's own unit
    place: Place | None = None  # of a time

    def __post_init__(self) -> None:
        if (self.share is None) == (self.value is None):
            raise EdgepruneError(
                f"a target in {self.price}", "wants a share or a value", "give one"
            )
        number = self.share if self.share is not None else self.value or 0.0
        if not LEAST <= number <= MOST or (self.share is not None and number > 1):
            raise EdgepruneError(str(self), self.form.wants)

    def __str__(self) -> str:
        return self.typed(self.share if self.share is not None else self.value or 0.0)

    @property
    def form(self) -> Form:
        return form_of(self.price, self.share is not None)

    @property
    def option(self) -> str:
        return self.form.option

    def typed(self, number: float) -> str:
        """The words that ask for ``number``, a share or a value as this one is: ``--speedup 2``."""
        return f"{self.option} {self.form.typed(number):g}"

    def of(self, dense: float) -> float:
        """The share of ``dense``, what the whole network costs."""
        return self.share if self.share is not None else (self.value or 0.0) / dense

    def at_least(self, share: float, dense: float) -> str:
        """The words that ask for just as much as ``share`` of ``dense``, rounded to where it is possible."""
        number = self.form.typed(share if self.share is not None else share * dense)
        digits = 3 - math.floor(math.log10(number)) if number > 0 else 3
        rounded = math.floor if self.form.falls else math.ceil
        slack = -1e-9 if not self.form.falls else 1e-9
        return f"{self.option} {rounded(number * 10**digits + slack) / 10**digits:.10g}"
