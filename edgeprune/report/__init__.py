"""What came of a run, for people: tables, the paper's figures, one self-contained page."""

from .tables import Cell, Column, Table

__all__ = ["Cell", "Column", "Table"]
