"""Rooms that can be called: ``from edgeprune import bench; bench("dense.onnx", "pruned.onnx")``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any


class _Room(ModuleType):
    _word: Callable[..., Any]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._word(*args, **kwargs)


def called_as(room: str, word: Callable[..., Any]) -> None:
    """The imported module ``room`` is called as its function ``word``."""
    module = sys.modules[room]
    module.__class__ = _Room
    module.__dict__["_word"] = word
