"""What is done with a network from beginning to end; each procedure is a page."""

from .asked import Asked, Pruning, derive, open_run
from .dense import dense, result
from .iterative import iterative
from .record import Watch

__all__ = ["Asked", "Pruning", "Watch", "dense", "derive", "iterative", "open_run", "result"]
