"""JSON from outside into frozen dataclasses, strictly: whatever is wrong is one line with file and field.

pydantic reads and checks the standard library's dataclasses; it is imported when a record is read,
never before. Numbers must be finite, words must be words, and keys that a type does not know are passed
over (a type that must be known whole says ``extra = "forbid"``).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Hashable, Mapping
from dataclasses import fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeVar, cast

from annotated_types import Ge, Le, Lt

from ..errors import EdgepruneError

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError

T = TypeVar("T")

RESTORE = "restore the file, or make it anew"
MOST_BYTES = 64 << 20  # of a record; a result of bench, which holds every sample, says its own
FINITE: Any = {"allow_inf_nan": False}  # a record's ``__pydantic_config__``
CLOSED: Any = {**FINITE, "extra": "forbid"}  # of a record whose every key must be known

Share = Annotated[float, Ge(0), Le(1)]
Count = Annotated[int, Ge(0), Lt(2**63)]
Positive = Annotated[int, Ge(1), Lt(2**63)]
Amount = Count | Annotated[float, Ge(0)]  # a count, or milliseconds
Seconds = Annotated[float, Ge(0), Lt(1e9)]


class Stated:
    """A record whose defaults are for Python alone: a file must state these fields (all, if empty)."""

    STATED: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        made = handler(source)
        for f in made["schema"]["fields"]:
            if f["schema"]["type"] == "default" and (not cls.STATED or f["name"] in cls.STATED):
                f["schema"] = f["schema"]["schema"]
        return made


def read(path: str | os.PathLike[str], kind: type[T], most: int = MOST_BYTES) -> T:
    """The record in the JSON file ``path``; :class:`EdgepruneError` names the file and the field."""
    return parse(text_of(path, most), kind, str(path))


def read_leniently(path: str | os.PathLike[str], kind: type[T]) -> tuple[T, list[str]]:
    """As :func:`read`, but a key that has not its form is left out, with a sentence that says so.

    What is no object at all is still an error: a run whose files were edited by hand is shown as far
    as it can be read.
    """
    given = _loads(text_of(path, MOST_BYTES), str(path))
    if not isinstance(given, dict):
        raise EdgepruneError(str(path), "no JSON object", RESTORE)
    said: list[str] = []
    name = Path(path).name
    while True:
        try:
            return _validated(json.dumps(given), kind), said
        except EdgepruneError as e:  # of a value's own check
            raise EdgepruneError(str(path), str(e)) from None
        except _UnfitError as e:
            keys = {str(place[0]) for place in e.places if place and str(place[0]) in given}
            if not keys:
                raise EdgepruneError(str(path), e.said) from None
            said += [f"{name}: {key} left out: not its form" for key in sorted(keys)]
            given = {k: v for k, v in given.items() if k not in keys}


def parse(text: str | bytes, kind: type[T], where: str) -> T:
    """The record that a JSON text holds; ``where`` is what an error names."""
    try:
        return _validated(text, kind)
    except _UnfitError as e:
        raise EdgepruneError(where, e.said) from None
    except EdgepruneError as e:  # of a value's own check
        raise EdgepruneError(where, f"{e.what}: {e.why}" if e.why else e.what, e.next) from None
    except (ArithmeticError, TypeError) as e:  # what a check meets in a number of 400 digits
        raise EdgepruneError(where, f"a value that cannot be ({e})") from None


def value(given: Any, kind: type[T], where: str) -> T:
    """The record that a JSON value holds (what ``json.loads`` gave)."""
    try:
        return parse(json.dumps(given), kind, where)
    except (ValueError, TypeError, RecursionError) as e:
        raise EdgepruneError(where, f"no JSON value ({e})") from None


def plain(record: Any) -> Any:
    """A record as JSON-able values: what a writer hands to ``files``."""
    if hasattr(record, "__plain__"):
        return plain(record.__plain__())
    if is_dataclass(record) and not isinstance(record, type):
        return {f.name: plain(getattr(record, f.name)) for f in fields(record)}
    if isinstance(record, os.PathLike):
        return str(record)
    if isinstance(record, Mapping):
        return {k: plain(v) for k, v in record.items()}
    if isinstance(record, list | tuple):
        return [plain(v) for v in record]
    return record


def schema(kind: Any) -> dict[str, Any]:
    """The JSON schema (2020-12) of a record's type."""
    return _adapter(kind).json_schema()


def text_of(path: str | os.PathLike[str], most: int) -> bytes:
    """All bytes of a file that is not larger than ``most``."""
    try:
        with open(path, "rb") as f:
            raw = f.read(most + 1)
    except FileNotFoundError:
        raise EdgepruneError(str(path), "no such file") from None
    except (OSError, ValueError) as e:
        raise EdgepruneError(str(path), getattr(e, "strerror", None) or str(e)) from None
    if len(raw) > most:
        raise EdgepruneError(str(path), f"larger than {most >> 20} MiB, no record is", RESTORE)
    return raw


class _UnfitError(Exception):
    """What pydantic says of the first fault, and where all of them are."""

    def __init__(self, error: ValidationError) -> None:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        self.places = [e["loc"] for e in found]
        place = ".".join(str(part)[:60] for part in found[0]["loc"])
        self.said = f"{place}: {found[0]['msg']}" if place else found[0]["msg"]
        super().__init__(self.said)


def _validated(text: str | bytes, kind: type[T]) -> T:
    from pydantic import ValidationError

    adapter = _adapter(cast(Hashable, kind))
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    try:
        found: T = adapter.validate_json(raw, strict=True)
    except ValidationError as e:
        if ODD.search(raw) is None:
            raise _UnfitError(e) from None
    else:
        return found
    try:
        odd: T = adapter.validate_json(ODD.sub(rb"\\udbff\\u\1", raw), strict=True)
    except ValidationError as e:
        raise _UnfitError(e) from None
    return _unmasked(odd)


# A path that is no UTF-8 has lone surrogates, U+DC80 to U+DCFF, which JSON can escape and no parser
# of typed JSON takes: they are read as characters of Unicode's last private plane.
ODD = re.compile(rb"(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u([dD][cC][89a-fA-F][0-9a-fA-F])")
BASE = 0x10FC80


def _unmasked(found: Any) -> Any:
    """``found`` with such characters as the surrogates that they stand for."""
    if isinstance(found, str):
        return "".join(
            chr(ord(c) - BASE + 0xDC80) if BASE <= ord(c) < BASE + 0x80 else c for c in found
        )
    if isinstance(found, dict):
        return {_unmasked(k): _unmasked(v) for k, v in found.items()}
    if isinstance(found, list | tuple):
        return type(found)(_unmasked(v) for v in found)
    if is_dataclass(found) and not isinstance(found, type):
        changes = {f.name: _unmasked(getattr(found, f.name)) for f in fields(found) if f.init}
        return replace(found, **changes)
    return found


def _loads(raw: bytes, where: str) -> Any:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as e:
        raise EdgepruneError(where, f"not readable as JSON ({e})") from None


@cache
def _adapter(kind: Hashable) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    form: Any = kind
    return TypeAdapter(form)
