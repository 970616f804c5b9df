"""One error for everything a user can cause or mend: what happened, why, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .units import some

SHOWN = 20  # names in a message


class EdgepruneError(Exception):
    """A failure that is told in one line and ends the command with exit code 2.

    ``what`` names the thing that failed ("checkpoint vgg16.pth"), ``why`` the reason, and
    ``next`` the remedy, best a command to type or a file to put somewhere.
    """

    def __init__(self, what: str, why: str = "", next: str = "") -> None:
        self.what, self.why, self.next = one_line(what), one_line(why), one_line(next)
        super().__init__(str(self))

    def __str__(self) -> str:
        text = self.what
        if self.why:
            text += f": {self.why}"
        if self.next:
            text += f" — {self.next}"
        return text


class UnknownRunError(EdgepruneError):
    """A word in a run's place that names none; it may be something else's name."""

    def __init__(self, wanted: str, why: str, next: str = "") -> None:
        self.wanted = wanted
        super().__init__(f"no run {wanted!r}", why, next)


@contextmanager
def told(what: str, next: str = "") -> Iterator[None]:
    """Whatever is raised inside is raised as an :class:`EdgepruneError` that names its cause."""
    try:
        yield
    except EdgepruneError:
        raise
    except Exception as e:
        raise EdgepruneError(what, raised(e)[:300], next) from e


def raised(error: BaseException) -> str:
    """``ValueError: its words`` on one line; a class from outside may raise where it is to speak."""
    try:
        words = str(error)
    except Exception as e:
        words = f"(its __str__ raises {type(e).__name__})"
    return one_line(f"{type(error).__name__}: {words}")


def first_line(error: BaseException) -> str:
    """The first of its words, which may be long; its class where it has none."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)


def one_line(text: str) -> str:
    """Everything on one line: what a library says, and names that come from outside, may hold line breaks
    and control characters, with which a file could write on somebody's terminal."""
    words = " ".join(str(text).split())
    return "".join(c for c in words if c.isprintable())


def closest(word: str, known: list[str] | tuple[str, ...]) -> str:
    """``did you mean X?`` for a mistyped name, else the list of what is known."""
    import difflib

    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]}?"
    return "known: " + some(known, SHOWN)  # timm knows 1,300
