"""One table, four renderings: the same values, nothing cut, nothing interpreted."""

from __future__ import annotations

import csv
import doctest
import io
import json
import math

import numpy as np
import pytest
from rich.console import Console

from edgeprune import units
from edgeprune.report import tables
from edgeprune.report.tables import Cell, Column, Table

SIZES = Table(
    "Sizes",
    [
        Column("layer", "Layer", align="left"),
        Column("params", "Parameters", units.count),
        Column("share", "Share", units.percent),
    ],
    [
        {"layer": "conv1", "params": 1_792, "share": 0.25},
        {"layer": "conv2", "params": 36_928, "share": None},
    ],
    notes=["counted as in the paper"],
    total={"layer": "Total", "params": 38_720},
)


def rendered(table: Table, width: int = 80) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    with console.capture() as capture:
        console.print(table.rich())
    return capture.get()


def test_people_see_units_and_machines_see_values():
    assert "36.93 k" in rendered(SIZES)
    assert SIZES.records()[1] == {"layer": "conv2", "params": 36_928, "share": None}
    read = list(csv.DictReader(io.StringIO(SIZES.csv())))
    assert read == [
        {"layer": "conv1", "params": "1792", "share": "0.25"},
        {"layer": "conv2", "params": "36928", "share": ""},
    ]


def test_the_total_stands_below_and_is_no_record():
    lines = rendered(SIZES).splitlines()
    assert [line.split()[:2] for line in lines if "Total" in line] == [["Total", "38.72"]]
    assert len(SIZES.records()) == 2
    assert "| **Total** | **38.72 k** | **–** |" in SIZES.markdown()


def test_values_are_whole_at_80_columns():
    columns = [Column(f"c{i}", f"Heading {i}") for i in range(3)] + [
        Column("note", "Note", align="left", wraps=True)
    ]
    row = {f"c{i}": Cell(i, f"{i}123456.78 M") for i in range(3)} | {"note": "prose " * 12}
    text = rendered(Table("Wide", columns, [row]))
    assert max(map(len, text.splitlines())) <= 80
    for i in range(3):
        assert f"{i}123456.78 M" in text
    assert "…" not in text
    assert text.count("prose") == 12


@pytest.mark.parametrize("width", [80, 60])
def test_no_value_is_cut_where_many_have_a_unit(width):
    values = [f"{i}0.00 %" for i in range(1, 9)]
    table = Table(
        "", [Column(f"c{i}") for i in range(8)], [{f"c{i}": v for i, v in enumerate(values)}]
    )
    assert all(value in table.text(width) for value in values)
    assert all(value in rendered(table) for value in values)


def test_hidden_columns_are_for_machines():
    table = Table("", [Column("n", "N"), Column("unit", hidden=True)], [{"n": 1, "unit": "s"}])
    assert table.records() == [{"n": 1, "unit": "s"}]
    assert table.csv() == "n,unit\n1,s\n"
    assert "unit" not in table.text() + table.markdown()


def test_notes_do_not_wrap_at_the_table():
    note = "not measured yet: edgeprune bench vgg16-cifar10"
    assert note in Table("", [Column("n")], [{"n": 1}], notes=[note]).text()


def test_text_grows_rather_than_cuts():
    widths = ",".join(["512"] * 40)
    table = Table("", [Column("widths"), Column("n")], [{"widths": widths, "n": 1}])
    assert widths in table.text(80)
    assert max(map(len, SIZES.text(40).splitlines())) <= 80


def test_names_from_outside_are_plain_text():
    name = "[red]a|b[/red]\x1b[31m\n<script>"
    table = Table(name, [Column("class", align="left")], [{"class": name}])
    for text in (rendered(table), table.markdown(), table.text()):
        assert "\x1b" not in text
        assert "[red]a" in text
    row = table.markdown().splitlines()[-1]
    assert row == "| [red]a\\|b[/red][31m &lt;script> |"


@pytest.mark.parametrize("absent", [None, math.nan, math.inf, np.float32("nan")])
def test_absent_values_are_dashes_and_null(absent):
    table = Table("", [Column("x", show=lambda v: f"{v:.1f}")], [{"x": absent}, {}])
    assert table.cells() == [["–"], ["–"]]
    assert json.dumps(table.records(), allow_nan=False) == '[{"x": null}, {"x": null}]'


def test_numpy_numbers_are_json():
    table = Table("", [Column("n"), Column("w")], [{"n": np.int64(3), "w": (1, 2)}])
    assert json.loads(json.dumps(table.records())) == [{"n": 3, "w": [1, 2]}]


def test_the_examples_in_the_docstrings_run():
    result = doctest.testmod(tables)
    assert result.attempted > 0
    assert result.failed == 0


def test_a_title_wider_than_the_table_is_not_cut() -> None:
    title = "runs/one: torch and onnxruntime agree on the test split"
    table = Table(title, [Column("file")], [{"file": "a"}])
    assert table.text(80).splitlines()[0] == title
    narrow = " ".join(table.text(30).split())
    assert title in narrow


def test_a_narrow_terminal_does_without_spare_columns() -> None:
    columns = [Column("layer", align="left"), Column("kind", spare=True), Column("width"),
               Column("when", spare=True)]  # fmt: skip
    row = {"layer": "l" * 20, "kind": "k" * 10, "width": 64, "when": "w" * 10}
    table = Table("Sizes", columns, [row], ["a note"])
    assert table.fitting(80) is table
    narrow = table.fitting(45)
    assert [c.key for c in narrow.columns] == ["layer", "kind", "width"]  # the last first
    assert narrow.notes == [
        "a note", "a column more in a wider terminal, in a pipe and in --json"
    ]  # fmt: skip
    least = table.fitting(10)
    assert [c.key for c in least.columns] == ["layer", "width"]
    assert least.notes[-1].startswith("2 columns more")
    assert max(len(line) for line in table.text(10).splitlines()) > 45  # a pipe has all


def test_what_a_terminal_is_too_narrow_for_follows_below() -> None:
    """Four networks across: a column that does not fit is no column that is cut off."""
    columns = [Column("what", align="left"), *(Column(f"net{i}") for i in range(4))]
    rows = [{"what": "latency", **{f"net{i}": "x" * 20 + str(i) for i in range(4)}}]
    table = Table("Times", columns, rows, ["every sample: a.json"])
    assert table.folded(table.needed()) == [table]
    parts = table.folded(80)
    assert [[c.key for c in part.shown] for part in parts] == [
        ["what", "net0", "net1", "net2"], ["what", "net3"],
    ]  # fmt: skip
    assert [part.title for part in parts] == ["Times", ""]
    assert [list(part.notes) for part in parts] == [[], ["every sample: a.json"]]
    assert all(part.needed() <= 80 for part in parts)
    assert [len(part.shown) for part in table.folded(10)] == [2, 2, 2, 2]  # never none
