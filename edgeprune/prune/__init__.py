"""Scores say what matters, a keep says what stays, a cut makes the network smaller; exactly."""

from .cut import cut, narrow
from .keep import Keep, compose, largest
from .mask import masked
from .scores import SCORES, l1

__all__ = ["SCORES", "Keep", "compose", "cut", "l1", "largest", "masked", "narrow"]
