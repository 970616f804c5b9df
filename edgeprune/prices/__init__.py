"""What a plan is priced in: counts of the network, exactly; and its time on a device, predicted."""

from __future__ import annotations

from ..records import Place, Target
from .price import Curve, Price, one
from .table import PRICES, goal, on, options, price_of

__all__ = [
    "PRICES",
    "Curve",
    "Place",
    "Price",
    "Target",
    "goal",
    "on",
    "one",
    "options",
    "price_of",
]
