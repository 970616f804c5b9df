"""``edgeprune devices``: where bench can measure from here."""

from __future__ import annotations

from typing import Any

from ..errors import EdgepruneError
from . import options, output


def devices(as_json: options.JSON = False) -> None:
    """List the places where [b]bench --device[/b] can measure, and what the others still need.

    Below them the profiles: a name for a device, how it is reached and how it is measured well. They are
    files in deploy/devices/ and in EDGEPRUNE_HOME/devices/, which come first.

    Example: [b]edgeprune devices[/b]
    """
    from ..report.tables import Column, Table

    rows, profiles = places(), known()
    if as_json:
        output.show_json({"devices": rows, "profiles": profiles})
        return
    usable = Column("usable", "usable", lambda v: "yes" if v else "no", align="left")
    name = Column("device", "--device", align="left")
    what = Column("what", "what it is", align="left")
    output.show(Table("Devices", [name, what, usable], rows))
    label = Column("what", "what it is", align="left", wraps=True)
    through = Column("transport", "through", align="left")
    threads = Column("threads", show=lambda v: ", ".join(map(str, v)), align="left")
    output.show(Table("Profiles", [name, label, through, threads], profiles))
    wanting: dict[str, list[str]] = {}  # what is missing, and for which devices
    for row in [*rows, *profiles]:
        if row["missing"]:
            remedy = f": {row['next']}" if row["next"] else ""
            wanting.setdefault(f"{row['missing']}{remedy}", []).append(row["device"])
    for what_is_missing, names in wanting.items():
        output.note(f"{', '.join(names)}: {what_is_missing}")


def places() -> list[dict[str, Any]]:
    """Each way of writing a device, and whether this machine has what it needs."""
    from ..bench.devices import DEVICES

    return [
        {"device": form, "what": what, **_state(kind.missing(form))}
        for kind in DEVICES.values()
        for form, what in kind.what.items()
    ]


def known() -> list[dict[str, Any]]:
    """Each profile; one that cannot be read says why."""
    from ..bench.devices import DEVICES, profiles

    rows = []
    for name, path in profiles.paths().items():
        row: dict[str, Any] = {"device": name, "what": None, "transport": None, "threads": ()}
        try:
            profile = profiles.read(path)
            kind = DEVICES.get(profile.transport.partition(":")[0])
            absent = (
                kind.missing(profile.transport)
                if kind
                else ("its transport is no device", f"change it in {path}")
            )
            row |= {"what": profile.label, "transport": profile.transport}
            row |= {"threads": profile.threads, **_state(absent)}
        except EdgepruneError as e:
            row |= _state((str(e), ""))
        rows.append(row)
    return rows


def _state(absent: tuple[str, str] | None) -> dict[str, Any]:
    missing, remedy = absent or (None, None)
    return {"usable": missing is None, "missing": missing, "next": remedy}
