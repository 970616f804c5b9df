"""Tables of runs: models x starts x data x ways x seeds, by many workers; the paper's claims about them."""

from .claims import CLAIMS, Verdict, halves, printed, verdicts
from .paper import PRINTED, built_in, scaled, smoke
from .read import checked, read
from .rows import rows
from .storage import Board
from .work import Standing, Worker

__all__ = [
    "CLAIMS",
    "PRINTED",
    "Board",
    "Standing",
    "Verdict",
    "Worker",
    "built_in",
    "checked",
    "halves",
    "printed",
    "read",
    "rows",
    "scaled",
    "smoke",
    "verdicts",
]
