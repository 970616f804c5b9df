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

A field that is a `Panel` is a panel of the help, and its fields are parameters of the command.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from copy import copy
from dataclasses import MISSING, fields
from functools import wraps
from typing import Annotated, Any, ClassVar, get_args, get_type_hints


class Panel:
    """Words that stand together in the help, under ``title``."""

    title: ClassVar[str] = ""

    def __init_subclass__(cls, title: str) -> None:
        cls.title = title


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
        default = inspect.Parameter.empty if f.default is MISSING else f.default
        yield inspect.Parameter(
            f.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=_in(panel, hint)
        )


def _in(panel: str, hint: Any) -> Any:
    """``Annotated[type, option]`` with a copy of the option that stands in ``panel``."""
    if not panel:
        return hint
    bare, option = get_args(hint)
    option = copy(option)
    option.rich_help_panel = panel
    return Annotated[bare, option]


def _filled(kind: type[Any], given: Mapping[str, Any]) -> Any:
    hints = get_type_hints(kind)
    return kind(
        **{
            f.name: _filled(hints[f.name], given)
            if inspect.isclass(hints[f.name]) and issubclass(hints[f.name], Panel)
            else given[f.name]
            for f in fields(kind)
        }
    )
