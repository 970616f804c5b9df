"""One table for the whole tool: values in, and out as rich, Markdown, CSV or JSON records.

A table keeps the values as they are (counts, seconds, shares); a column says how people read them.
So the terminal shows ``14.98 M`` where JSON and CSV hold ``14982474``.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import one_line

if TYPE_CHECKING:
    from rich.console import Group

PROSE = 16  # least characters of a column whose text may wrap
ABSENT = "–"  # what people see where a value is None


class Cell(NamedTuple):
    """A value with its own wording, where a row's unit differs from its neighbours'."""

    value: Any
    text: str


def plain(value: Any) -> str:
    """``value`` as text: floats with 4 significant digits, None as a dash."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ABSENT
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)


@dataclass(frozen=True)
class Column:
    """``key`` names the values in JSON and CSV, ``heading`` is what people read (default: the key)."""

    key: str
    heading: str | None = None
    show: Callable[[Any], str] = plain
    align: str = "right"  # or "left"
    wraps: bool = False  # prose may break over lines; values never do
    hidden: bool = False  # in JSON and CSV only
    spare: bool = False  # left out, the last first, where a terminal is too narrow for all


@dataclass(frozen=True)
class Table:
    """Rows are mappings from column keys to values (or `Cell`); a missing key is None.

    >>> t = Table("Sizes", [Column("layer", align="left"), Column("width")],
    ...           [{"layer": "conv1", "width": 64}])
    >>> print(t.markdown())
    **Sizes**
    <BLANKLINE>
    | layer | width |
    | :-- | --: |
    | conv1 | 64 |
    >>> t.records()
    [{'layer': 'conv1', 'width': 64}]
    """

    title: str
    columns: Sequence[Column]
    rows: Sequence[Mapping[str, Any]]
    notes: Sequence[str] = field(default_factory=tuple)  # sentences below the table
    total: Mapping[str, Any] | None = None  # a last row under a line; not among the records

    def cells(self) -> list[list[str]]:
        """The rows as people read them, without `total`."""
        return [self.row_text(row) for row in self.rows]

    @property
    def shown(self) -> list[Column]:
        """The columns that people see."""
        return [c for c in self.columns if not c.hidden]

    def headings(self) -> list[str]:
        return [one_line(c.key if c.heading is None else c.heading) for c in self.shown]

    def row_text(self, row: Mapping[str, Any]) -> list[str]:
        return [_text(column, row.get(column.key)) for column in self.shown]

    def records(self) -> list[dict[str, Any]]:
        """JSON-able rows in column order: the values, not their wording."""
        return [{c.key: _value(row.get(c.key)) for c in self.columns} for row in self.rows]

    def fitting(self, width: int) -> Table:
        """This table in a terminal of ``width`` characters: without its spare columns where need be."""
        table = self
        while any(c.spare for c in table.shown) and table.needed() > width:
            last = [c for c in table.columns if c.spare and not c.hidden][-1]
            table = replace(table, columns=[c for c in table.columns if c is not last])
        if table is self:
            return self
        left = len(self.shown) - len(table.shown)
        columns = "a column" if left == 1 else f"{left} columns"
        return replace(
            table,
            notes=[*self.notes, f"{columns} more in a wider terminal, in a pipe and in --json"],
        )

    def folded(self, width: int) -> list[Table]:
        """Parts that fit a terminal of ``width`` characters, each with the first column: none is cut off."""
        if self.needed() <= width or len(self.shown) < 3:
            return [self]
        first, *rest = self.shown
        parts: list[list[Column]] = [[]]
        for column in rest:
            if parts[-1] and replace(self, columns=[first, *parts[-1], column]).needed() > width:
                parts.append([])
            parts[-1].append(column)
        return [
            replace(
                self, columns=[first, *part], title="" if i else self.title,
                notes=self.notes if part is parts[-1] else (),
            )
            for i, part in enumerate(parts)
        ]  # fmt: skip

    def needed(self) -> int:
        """Characters that a line has at least."""
        from rich.console import Console

        return max(Console(width=10_000).measure(p).minimum for p in self.rich().renderables)

    def rich(self) -> Group:
        """For a rich console. Cells are literal text: brackets in a name are not markup."""
        from rich import box
        from rich.cells import cell_len
        from rich.console import Group
        from rich.table import Table as RichTable
        from rich.text import Text

        table = RichTable(
            box=box.SIMPLE_HEAD,
            show_footer=self.total is not None,
            footer_style="bold",
            pad_edge=False,
            padding=(0, 1, 0, 0),  # two spaces between columns: a line has 80 characters
        )
        rows = self.cells()
        totals = self.row_text(self.total) if self.total is not None else [""] * len(self.shown)
        heads = self.headings()
        for column, head, total, *cells in zip(self.shown, heads, totals, *rows, strict=True):
            longest = max(map(cell_len, [head, total, *cells]))
            table.add_column(
                Text(head),
                footer=Text(total),
                justify="left" if column.align == "left" else "right",
                no_wrap=not column.wraps,
                # rich takes a value's words for breakable even where nothing may wrap
                min_width=min(longest, PROSE) if column.wraps else longest,
                overflow="fold",
            )
        for row in rows:
            table.add_row(*map(Text, row))
        title = [Text(one_line(self.title), style="bold")] if self.title else []  # may be wider
        return Group(*title, table, *(Text(one_line(note)) for note in self.notes))

    def text(self, width: int = 80) -> str:
        """The rich table without colours, at least ``width`` characters to a line.

        Lines grow where values need more: a table in a file or a pipe is never cut.
        """
        from rich.console import Console

        console = Console(
            width=max(width, self.needed()), file=io.StringIO(), force_terminal=False,
            color_system=None,
        )  # fmt: skip
        with console.capture() as capture:
            console.print(self.rich())
        return "\n".join(line.rstrip() for line in capture.get().splitlines())

    def markdown(self) -> str:
        rows = [[_markdown(cell) for cell in row] for row in [self.headings(), *self.cells()]]
        rows.insert(1, [":--" if c.align == "left" else "--:" for c in self.shown])
        if self.total is not None:
            rows.append([f"**{_markdown(cell)}**" for cell in self.row_text(self.total)])
        lines = [f"**{_markdown(one_line(self.title))}**", ""] if self.title else []
        lines += ["| " + " | ".join(row) + " |" for row in rows]
        if self.notes:
            lines += [""] + [_markdown(one_line(note)) for note in self.notes]
        return "\n".join(lines)

    def csv(self) -> str:
        """RFC 4180 with a header line; values in plain SI, an empty field where there is none."""
        out = io.StringIO()
        writer = csv.DictWriter(out, [c.key for c in self.columns], lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.records())
        return out.getvalue()


def _text(column: Column, value: Any) -> str:
    if isinstance(value, Cell):
        return one_line(value.text)
    return one_line(plain(None) if _value(value) is None else column.show(value))


def _value(value: Any) -> Any:
    """The value itself, JSON-able: numpy and torch numbers become Python's, NaN becomes None."""
    if isinstance(value, Cell):
        value = value.value
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, tuple):
        return list(value)
    return value


def _markdown(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
