"""``edgeprune devices``: where bench can measure from here."""

from __future__ import annotations

from . import options, output


def devices(as_json: options.JSON = False) -> None:
    """List the places where [b]bench --device[/b] can measure, and what the others still need.

    Example: [b]edgeprune devices[/b]
    """
    from ..bench.devices import DEVICES
    from ..report.tables import Column, Table

    rows = []
    for kind in DEVICES.values():
        missing, remedy = kind.missing() or (None, None)
        rows.append(
            {
                "device": kind.form,
                "what": kind.what,
                "usable": missing is None,
                "missing": missing,
                "next": remedy,
            }
        )
    if as_json:
        output.show_json(rows)
        return
    columns = [
        Column("device", align="left"),
        Column("what", "what it is", align="left"),
        Column("usable", "usable", lambda v: "yes" if v else "no", align="left"),
    ]
    output.show(Table("Devices", columns, rows))
    for row in rows:
        if row["missing"]:
            output.note(f"{row['device']}: {row['missing']}: {row['next']}")
