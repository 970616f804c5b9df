"""The door: whatever goes wrong inside is told here, once, in one line.

Exit codes: 2 for what a user can mend, 3 where `compare --fail-on` says no, 70 for a fault of edgeprune
itself (with a file for the report), 128 and a signal's number where one ended the command.
"""

from __future__ import annotations

import errno
import os
import re
import shlex
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer

from ..errors import EdgepruneError, UnknownRunError, raised
from ..version import __version__
from . import brief, given, output

USAGE: type[Exception] = typer.BadParameter.__mro__[1]  # typer's own class for wrong words
FAILED, FAULT, INTERRUPTED, BROKEN_PIPE = 2, 70, 130, 141


def run(app: typer.Typer, words: list[str] | None = None) -> int:
    """Run ``app`` on ``words`` (default: the command line) and return the exit code."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - as long as the process
        stream = getattr(sys, name)
        if hasattr(
            stream, "reconfigure"
        ):  # no line of a table may stop a command at an old terminal
            stream.reconfigure(errors="replace")
    if os.name == "nt":
        return tell("Windows: a run's lock needs a POSIX system — use WSL, or docker/Dockerfile")
    by: list[int] = []
    try:
        with _ends_tidily(by):
            command = typer.main.get_command(app)
            output.loudness()
            if words is None:  # what reads the command line later reads all of it
                sys.argv[1:] = given.expanded(command, sys.argv[1:])
            else:
                words = given.expanded(command, words)
            said = sys.argv[1:] if words is None else words
            output.Loud.json = "--json" in said
            result = command(
                args=brief.shown(command, said), prog_name="edgeprune", standalone_mode=False
            )
        if by or result == INTERRUPTED:  # newer typers make an exit code of Ctrl-C, without a word
            return _stopped(by)
        return result if isinstance(result, int) else 0
    except UnknownRunError as e:
        return _refused(_network(e))
    except EdgepruneError as e:
        return _refused(e)
    except USAGE as e:
        context = getattr(e, "ctx", None)
        path = context.command_path if context else "edgeprune"
        message = e.format_message() if hasattr(e, "format_message") else str(e)
        if not message:  # no command at all: the help was printed instead
            return FAILED
        return tell(
            f"{' '.join(message.split()).removesuffix('.')}{_placed(e)} — see {path} --help"
        )
    except (KeyboardInterrupt, typer.Abort):
        return _stopped(by)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except MemoryError:
        return tell("out of memory — use a smaller --batch-size, --size or --limit")
    except OSError as e:
        if e.errno in (errno.ENOSPC, errno.EDQUOT):
            return tell(f"disk full: {e.filename or e.strerror} — free some space")
        if e.filename is None or e.strerror is None:  # not about a file
            return ours(e)
        return tell(f"{e.filename}: {e.strerror}")
    except Exception as e:
        return ours(e)


def _network(error: UnknownRunError) -> EdgepruneError:
    """What to do where the word is a network's name; else the error as it is."""
    from .. import models

    try:
        models.check_name(error.wanted)
    except EdgepruneError:
        return error
    why = "that is a network, whose name follows --model; a run is made of it"
    return EdgepruneError(error.what, why, f"edgeprune prune --model {error.wanted}")


def _placed(error: Any) -> str:
    """Where a word stands alone that is the value of an option: which option may have been meant."""
    word = re.match(r"Got unexpected extra arguments?(?:\(s\))? \((\S+)", error.format_message())
    command = error.ctx.command if word and error.ctx else None
    options = [o for p in command.params for o in p.opts] if command else []
    if word is None or "--model" not in options:
        return ""
    return f": an option's name stands before its value, as in --model {word[1].rstrip(')')}"


def ours(error: Exception) -> int:
    """Whatever nobody foresaw is a fault of edgeprune: one line, and the rest in a file for the report."""
    text = _traced(error)
    head = f"edgeprune {__version__}, Python {sys.version.split()[0]}, {sys.platform}\n"
    words = f"edgeprune {shlex.join(sys.argv[1:])}\n\n"
    try:
        fd, path = tempfile.mkstemp(prefix="edgeprune-fault-", suffix=".txt")
        with os.fdopen(fd, "w", errors="replace") as f:
            f.write(head + words + text)
    except OSError:
        path = "(which could not be written)"
    what = raised(error)[:200]
    said = f"this is a fault of edgeprune ({what}) — please report it with the file {path}"
    return tell(said, FAULT)


def _traced(error: Exception) -> str:
    try:
        return "".join(traceback.format_exception(error))
    except Exception:  # one whose own words raise
        return "".join(traceback.format_tb(error.__traceback__)) + raised(error)


@contextmanager
def _ends_tidily(by: list[int]) -> Iterator[None]:
    """kill and a closed terminal end a command as Ctrl-C does: what must be tidied up is.

    Such a signal's number is added to ``by``.
    """
    here = os.getpid()

    def handler(number: int, frame: Any) -> None:
        if os.getpid() != here:  # a forked worker has no business in here
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        by.append(number)
        raise KeyboardInterrupt

    before = {}
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        # what the caller has them ignore (nohup) or handled himself stays
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            try:
                before[number] = signal.signal(number, handler)
            except ValueError:  # not the main thread
                break
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def _refused(error: EdgepruneError) -> int:
    if output.Loud.verbose:
        print("".join(traceback.format_exception(error)), file=sys.stderr)
    return tell(str(error), error=error)


def _stopped(by: list[int]) -> int:
    print("stopped: type the same command again and it goes on, or starts anew", file=sys.stderr)
    return 128 + by[0] if by else INTERRUPTED


def tell(line: str, code: int = FAILED, error: EdgepruneError | None = None) -> int:
    """One line on stderr, in red on a terminal; under --json a document on stdout, too. The exit code."""
    if output.Loud.json:
        told = error or EdgepruneError(line)
        parts = {"what": told.what, "why": told.why, "next": told.next, "exit_code": code}
        output.show_json({"error": parts})
    red, plain = ("\x1b[31m", "\x1b[0m") if sys.stderr.isatty() else ("", "")
    print(f"{red}error:{plain} {line}", file=sys.stderr)
    return code
