"""``edgeprune devices``: where bench can measure from here."""

from __future__ import annotations

from dataclasses import asdict, dataclass
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

    rows, profiles = [row(p) for p in places()], [row(p) for p in known()]
    if as_json:
        output.show_json({"devices": rows, "profiles": profiles})
        return
    usable = Column("usable", "usable", lambda v: "yes" if v else "no", align="left")
    name = Column("device", "--device", align="left")
    what = Column("what", "what it is", align="left", wraps=True)
    output.show(Table("Devices", [name, what, usable], rows))
    label = Column("what", "what it is", align="left", wraps=True)
    through = Column("transport", "through", align="left")
    threads = Column("threads", show=lambda v: ", ".join(map(str, v)), align="left")
    output.show(Table("Profiles", [name, label, through, threads], profiles))
    wanting: dict[str, list[str]] = {}  # what is missing, and for which devices
    for listed in [*rows, *profiles]:
        if listed["missing"]:
            remedy = f": {listed['next']}" if listed["next"] else ""
            wanting.setdefault(f"{listed['missing']}{remedy}", []).append(listed["device"])
    for what_is_missing, names in wanting.items():
        output.note(f"{', '.join(names)}: {what_is_missing}")


@dataclass(frozen=True)
class State:
    """Whether this machine has what a device needs, and if not, what is missing and the remedy."""

    usable: bool = False
    missing: str | None = None
    next: str | None = None

    @classmethod
    def of(cls, absent: tuple[str, str] | None) -> State:
        return cls(True) if absent is None else cls(False, *absent)


@dataclass(frozen=True)
class Place:
    """A way of writing a device."""

    device: str
    what: str
    state: State


@dataclass(frozen=True)
class Known:
    """A profile; one that cannot be read says why."""

    device: str
    what: str | None
    transport: str | None
    threads: tuple[int, ...]
    state: State


def row(listed: Place | Known) -> Any:
    """What JSON and the table hold of it: its state stands beside the rest."""
    found = asdict(listed)
    return found | found.pop("state")


def places() -> list[Place]:
    """Each way of writing a device, and whether this machine has what it needs."""
    from ..bench.devices import DEVICES

    return [
        Place(form, what, State.of(kind.missing(form)))
        for kind in DEVICES.values()
        for form, what in kind.what.items()
    ]


def known() -> list[Known]:
    """Each profile, and whether what it reaches through is there."""
    from ..bench.devices import DEVICES, profiles

    found = []
    for name, path in profiles.paths().items():
        try:
            profile = profiles.read(path)
        except EdgepruneError as e:
            found.append(Known(name, None, None, (), State.of((str(e), ""))))
            continue
        kind = DEVICES.get(profile.transport.partition(":")[0])
        absent = (
            kind.missing(profile.transport)
            if kind
            else ("its transport is no device", f"change it in {path}")
        )
        state = State.of(absent)
        found.append(Known(name, profile.label, profile.transport, profile.threads, state))
    return found
