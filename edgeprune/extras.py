"""What is not installed with edgeprune itself, by the extra that brings it.

A core that prunes without labels, exports and measures is a third of all that edgeprune can use; the rest
is asked for where it is needed, with the words that install it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager

from .errors import EdgepruneError

# extra -> what it lets one import; pyproject.toml names the packages (a test compares the two)
EXTRAS: dict[str, tuple[str, ...]] = {
    "train": ("accelerate", "sklearn", "torchvision"),
    "probe": ("sklearn",),
    "plots": ("matplotlib",),
    "torchvision": ("torchvision",),
    "timm": ("timm",),
    "boxes": ("pycocotools", "torchvision"),
    "lan": ("segno",),
    "study": ("optuna",),
    "log": ("tensorboard",),
}


def there(extra: str) -> bool:
    """Whether all of the extra is installed."""
    return all(importlib.util.find_spec(module) is not None for module in EXTRAS[extra])


def check(extra: str, what: str, *modules: str) -> None:
    """Refuse ``what`` before any work where the extra, or what it needs of it, is not here."""
    for module in modules or EXTRAS[extra]:
        if importlib.util.find_spec(module) is None:
            raise missing(extra, module, what)


@contextmanager
def needed(extra: str, what: str) -> Iterator[None]:
    """Around imports of the extra's modules: one that is not installed is told with the remedy."""
    try:
        yield
    except ImportError as e:
        module = (e.name or "").partition(".")[0]
        if module not in EXTRAS[extra]:
            raise
        raise missing(extra, module, what) from None


def missing(extra: str, module: str, what: str) -> EdgepruneError:
    return EdgepruneError(what, f"needs {module}", f"pip install 'edgeprune[{extra}]'")
