"""edgeprune: a trained CNN becomes a smaller dense one, and its speed is measured, not promised."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .version import __version__

ROOMS = ("bench", "export")  # that can be called
WORDS = ("cut", "heal", "load", "plan", "repair", "save", "trace")  # of `edgeprune.api`
__all__ = [
    "__version__",
    "bench",
    "cut",
    "export",
    "heal",
    "load",
    "plan",
    "repair",
    "save",
    "trace",
]

if TYPE_CHECKING:  # what the rooms are to those who call them
    from .api import cut, heal, load, plan, repair, save, trace
    from .bench import of_files as bench
    from .export import of_module as export


def __getattr__(name: str) -> Any:
    """The words of `edgeprune.api`, imported (with torch) when the first is asked for.

    The rooms ``export`` and ``bench`` are words themselves: they can be called.
    """
    if name in WORDS:
        from . import api

        return getattr(api, name)
    if name in ROOMS:
        from importlib import import_module

        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
