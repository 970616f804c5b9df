"""What every command is given besides its own words: ``--config FILE``, ``EDGEPRUNE_…`` variables.

Both become words of the command line before Typer reads it: file, then variables, then what was typed, so
that what was typed wins, and a run's recipe holds all of it. A key is an option's name without its dashes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from .. import files
from ..errors import EdgepruneError, closest

CONFIG = "--config"
PREFIX = "EDGEPRUNE_"
YES, NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off", "")


def expanded(
    group: Any, words: Sequence[str], environ: Mapping[str, str] = os.environ
) -> list[str]:
    """``words`` with what a config file and the environment say put before what was typed.

    ``group`` is Typer's command; one without ``commands`` takes its words as they are.
    """
    at = next((i for i, word in enumerate(words) if not word.startswith("-")), None)
    if at is None or words[at] not in getattr(group, "commands", {}):
        return list(words)
    name, typed = words[at], list(words[at + 1 :])
    known = options(group.commands[name])
    path, typed = _config(typed, environ)
    given = [] if path is None else list(_of_file(path, name, known, set(group.commands)))
    given = [*_joined(given), *_of_environment(name, known, environ)]
    by: dict[str, list[str]] = {}
    placed: list[str] = []  # a recipe's run
    for parameter, found in given:
        placed += found if not parameter else []
        by |= {parameter: found} if parameter else {}
    said = {known[w.partition("=")[0].lstrip("-")].name for w in typed
            if w.startswith("--") and w.partition("=")[0].lstrip("-") in known}  # fmt: skip
    kept = [word for parameter, found in by.items() if parameter not in said for word in found]
    return [*words[: at + 1], *placed, *kept, *typed]


def _joined(given: Iterable[Given]) -> list[Given]:
    """An option that stands again is one, with all its words."""
    found: dict[str, list[str]] = {}
    loose: list[Given] = []
    for parameter, words in given:
        if parameter:
            found.setdefault(parameter, []).extend(words)
        else:
            loose.append((parameter, words))
    return [*loose, *found.items()]


def options(command: Any) -> dict[str, Any]:
    """A command's options by their long names without dashes."""
    return {
        spelled.lstrip("-"): parameter
        for parameter in command.params
        for spelled in (*parameter.opts, *parameter.secondary_opts)
        if spelled.startswith("--")
    }


def _config(typed: list[str], environ: Mapping[str, str]) -> tuple[str | None, list[str]]:
    """The file that --config (or EDGEPRUNE_CONFIG) names, and the words without it."""
    found: list[str] = []
    rest: list[str] = []
    words = iter(typed)
    for word in words:
        if word == "--":  # behind it everything is a name
            rest += [word, *words]
        elif word == CONFIG or word.startswith(f"{CONFIG}="):
            path = word.partition("=")[2] if "=" in word else next(words, "")
            if not path:
                raise EdgepruneError(CONFIG, "names no file", "--config FILE.toml")
            found.append(path)
        else:
            rest.append(word)
    if len(found) > 1:
        raise EdgepruneError(
            f"{CONFIG} {found[1]}", f"stands beside {CONFIG} {found[0]}", "one file holds all of it"
        )
    return (found[0] if found else environ.get(f"{PREFIX}CONFIG") or None), rest


Given = tuple[str, list[str]]  # a parameter's name, and the words that give it


def _of_file(path: str, name: str, known: dict[str, Any], commands: set[str]) -> Iterator[Given]:
    place = files.place(path)
    try:
        text = place.read_bytes()
    except OSError as e:
        raise EdgepruneError(f"{CONFIG} {path}", e.strerror or str(e)) from None
    if place.suffix == ".json":
        yield from _of_recipe(path, text, name, known)
        return
    said = files.toml(text, f"{CONFIG} {path}")
    tables = {key: value for key, value in said.items() if isinstance(value, dict)}
    for key in tables:
        if key not in commands:
            raise EdgepruneError(
                f"{path}: [{key}]", f"no command of that name; {closest(key, sorted(commands))}"
            )
    own = {key: value for key, value in said.items() if key not in tables} | tables.get(name, {})
    for key, value in own.items():
        yield _one(key, value, known, f"{path}: {key}", f"edgeprune {name} --help-all")


def _of_recipe(path: str, text: bytes, name: str, known: dict[str, Any]) -> Iterator[Given]:
    """What the command of a run's ``recipe.json`` was given; code that it names is to be typed."""
    from ..records import Recipe, parse

    words = parse(text, Recipe, path).argv
    if words[:1] != [name]:
        asked = f"of edgeprune {words[0]}" if words else "of no command"
        raise EdgepruneError(f"{CONFIG} {path}", f"the recipe {asked}, not of edgeprune {name}")
    i = 1
    while i < len(words):
        word, equals, value = words[i].partition("=")
        parameter = known.get(word.lstrip("-")) if word.startswith("--") else None
        if parameter is None:  # a run's name; or an option of another version, which Typer refuses
            yield ("", [words[i]])
            i += 1
            continue
        if not equals and not parameter.is_flag:
            value = words[i + 1] if i + 1 < len(words) else ""
        if names_code(parameter.name, value):
            raise EdgepruneError(
                f"{path}: {word} {value}", "a recipe's code runs only where it is typed",
                f"add {word} {value}, if it is yours",
            )  # fmt: skip
        taken = 1 if equals or parameter.is_flag else 2
        yield (parameter.name, words[i : i + taken])
        i += taken


def names_code(parameter: str, value: str) -> bool:
    """Whether an option's value is a ``FILE.py:FUNCTION``, however the file is spelled (``FILE.py/:net``)."""
    from ..models import code

    return ".py:" in value or (parameter == "model" and code.is_own(value))


def _of_environment(name: str, known: dict[str, Any], environ: Mapping[str, str]) -> list[Given]:
    """``EDGEPRUNE_BENCH_DEVICE=board`` is ``--device board`` of bench."""
    prefix = f"{PREFIX}{name.upper().replace('-', '_')}_"
    return [
        _one(key.removeprefix(prefix), value, known, key, f"edgeprune {name} --help-all", True)
        for key, value in sorted(environ.items())
        if key.startswith(prefix)
    ]


def _one(
    key: str, value: Any, known: dict[str, Any], where: str, next: str, text: bool = False
) -> Given:
    """The words for one key; lists are for options that may stand again."""
    option = key.lower().replace("_", "-")
    if option not in known or option in ("help", "help-all", "config"):
        raise EdgepruneError(where, f"no such option; {closest(option, sorted(known))}", next)
    parameter, spelled = known[option], f"--{option}"
    if parameter.is_flag:
        if text and str(value).lower() in YES + NO:
            value = str(value).lower() in YES
        if not isinstance(value, bool):
            raise EdgepruneError(
                where, f"{json.dumps(value, default=str)} is neither true nor false"
            )
        return (parameter.name, [spelled] if value else [])
    values = value if isinstance(value, list) else [value]
    if len(values) != 1 and not parameter.multiple:
        raise EdgepruneError(where, "takes one value", f"{key} = VALUE")
    for one in values:
        if isinstance(one, bool) or not isinstance(one, str | int | float):
            raise EdgepruneError(where, f"{json.dumps(one, default=str)} is no text and no number")
    return (parameter.name, [f"{spelled}={one}" for one in values])
