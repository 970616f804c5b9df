"""What came of a run, for people: tables, the paper's figures, one self-contained page."""

from .results import Results, comparison, read, summary
from .tables import Cell, Column, Table

__all__ = ["Cell", "Column", "Results", "Table", "comparison", "read", "summary"]
