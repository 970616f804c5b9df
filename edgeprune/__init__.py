"""edgeprune: a trained CNN becomes a smaller dense one, and its speed is measured, not promised."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .version import __version__

__all__ = ["__version__", "cut", "load", "plan", "repair", "save", "trace"]

if TYPE_CHECKING:
    from .api import cut, load, plan, repair, save, trace


def __getattr__(name: str) -> Any:
    """The words of `edgeprune.api`, imported (with torch) when the first is asked for.

    The rooms ``export`` and ``bench`` are words themselves: they can be called.
    """
    if name in __all__:
        from . import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
