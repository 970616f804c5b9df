"""A command's words as one typed value: what Typer reads is built from the fields of a dataclass.

    @dataclass(frozen=True)
    class Rest(Panel, title="Rest"):
        seed: Annotated[int, typer.Option("--seed")] = 0

    @dataclass(frozen=True)
    class Words:
        run: Annotated[str | None, typer.Argument()] = None
        rest: Rest = field(default_factory=Rest)

    @typed
    def command(words: Words) -> None: ...      # Typer sees command(run, seed)

A field that is a `Panel` is a panel of the help, and its fields are parameters of the command. A field
with `Each` is a parameter for each row of a table, and holds what was given of them by the row's name.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from copy import copy
from dataclasses import MISSING, dataclass, fields
from functools import wraps
from typing import Annotated, Any, ClassVar, get_args, get_type_hints


class Panel:
    """Words that stand together in the help, under ``title``."""

    title: ClassVar[str] = ""

    def __init_subclass__(cls, title: str) -> None:
        cls.title = title


@dataclass(frozen=True)
class Each:
    """One option a row of a table: ``options()`` gives them by the row's name."""

    options: Callable[[], Mapping[str, Any]]


def typed(command: Callable[[Any], None]) -> Callable[..., None]:
    """``command(words)`` as a function of all the words, for Typer."""
    (kind,) = (k for name, k in get_type_hints(command).items() if name != "return")
    parameters = list(_parameters(kind))
    twice = {p.name for i, p in enumerate(parameters) if p.name in {q.name for q in parameters[:i]}}
    if twice:
        raise TypeError(f"{kind.__name__} says {sorted(twice)} twice")

    @wraps(command)
    def called(**given: Any) -> None:
        command(_filled(kind, given))

    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {p.name: p.annotation for p in parameters}
    return called


def flat(words: Any) -> dict[str, Any]:
    """All words by name, those of the panels too."""
    found: dict[str, Any] = {}
    for f in fields(words):
        value = getattr(words, f.name)
        found |= flat(value) if isinstance(value, Panel) else {f.name: value}
    return found


def _parameters(kind: type[Any], panel: str = "") -> Iterator[inspect.Parameter]:
    hints = get_type_hints(kind, include_extras=True)
    for f in fields(kind):
        hint = hints[f.name]
        if inspect.isclass(hint) and issubclass(hint, Panel):
            yield from _parameters(hint, hint.title)
            continue
        if each := _each(hint):
            kind_of_one = get_args(get_args(hint)[0])[1]  # of Mapping[str, KIND]
            for name, option in each.options().items():
                one = _in(panel, Annotated[kind_of_one | None, option])
                yield inspect.Parameter(
                    _of_row(f.name, name),
                    inspect.Parameter.KEYWORD_ONLY,
                    default=None,
                    annotation=one,
                )
            continue
        default = inspect.Parameter.empty if f.default is MISSING else f.default
        yield inspect.Parameter(
            f.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=_in(panel, hint)
        )


def _each(hint: Any) -> Each | None:
    return next((m for m in getattr(hint, "__metadata__", ()) if isinstance(m, Each)), None)


def _of_row(field: str, row: str) -> str:
    return f"{field}_{row}"


def _in(panel: str, hint: Any) -> Any:
    """``Annotated[type, option]`` with a copy of the option that stands in ``panel``."""
    if not panel:
        return hint
    bare, option = get_args(hint)
    option = copy(option)
    option.rich_help_panel = panel
    return Annotated[bare, option]


def _filled(kind: type[Any], given: Mapping[str, Any]) -> Any:
    hints = get_type_hints(kind, include_extras=True)
    return kind(**{f.name: _value(f.name, hints[f.name], given) for f in fields(kind)})


def _value(name: str, hint: Any, given: Mapping[str, Any]) -> Any:
    if inspect.isclass(hint) and issubclass(hint, Panel):
        return _filled(hint, given)
    if each := _each(hint):
        said = {row: given.get(_of_row(name, row)) for row in each.options()}
        return {row: value for row, value in said.items() if value is not None}
    return given[name]
