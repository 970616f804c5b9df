"""Scores say what matters, a plan what stays, a cut makes the network smaller; compensation repairs."""

from ..graph.kept import Keep, compose
from .cut import cut, narrow
from .keep import largest
from .mask import masked
from .plan import Plan
from .scores import SCORES, Criterion, l1

__all__ = [
    "SCORES",
    "Criterion",
    "Keep",
    "Plan",
    "compose",
    "cut",
    "l1",
    "largest",
    "masked",
    "narrow",
]
