"""The run folder of what is asked: new, gone on with, or derived; one command at a time writes to it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from .. import checkpoint, files, records, runs
from ..errors import EdgepruneError
from ..models import code
from ..prune.scores import is_own
from ..runs import Run
from .asked import NAMES, Asked, asked_of, recipe_of


def open_run(asked: Asked, name: str, argv: Sequence[str]) -> Run:
    """The run of that name for what is asked, as `opened`; its lock is given back at once."""
    with opened(asked, name, argv) as run:
        return run


@contextmanager
def opened(
    asked: Asked, name: str, argv: Sequence[str], parent: Run | None = None
) -> Iterator[Run]:
    """The run of that name for what is asked, locked: a new one, or the one that the same words began.

    ``parent``: the run whose dense network a new one starts from. A run whose dense network was
    trained for other words is refused with the difference; a run that was only trained takes the
    pruning that is asked now. Nothing is written before the lock is held.
    """
    asked = with_its_score(asked)
    run, _ = claim(asked, name)
    with working(run):
        _, new = claim(asked, name)  # somebody may have been faster
        derived = parent is not None and parent.name != name
        if new:
            write_recipe(run, asked, argv, parent.name if parent is not None and derived else None)
        if (score := _own_score(asked)) is not None:
            code.keep_score(run, score)
        if (
            derived
            and parent is not None
            and not run.has("dense")
            and not run.state_folder.exists()
        ):
            _inherit(run, parent)
        yield run


def with_its_score(asked: Asked) -> Asked:
    """With the hash of the user's own criterion, if it is one: another content is another pruning."""
    if asked.pruning is None:
        return asked
    score = _own_score(asked)
    return replace(asked, score_sha256=None if score is None else code.hashed(score))


def _own_score(asked: Asked) -> str | None:
    score = asked.pruning.settings.score if asked.pruning is not None else ""
    return score if is_own(score) else None


def claim(asked: Asked, name: str) -> tuple[Run, bool]:
    """The run of that name, and whether its recipe is still to be written; refuses as `opened`."""
    asked = with_its_score(asked)
    run = runs.named(name)
    if not run.recipe_path.exists():
        if run.path.exists() and any(not p.name.startswith(".") for p in run.path.iterdir()):
            raise EdgepruneError(f"{run.path} is there but is no run", next="choose another --name")
        return run, True
    there = asked_of(run)
    if asked.pruning is None:
        asked = replace(asked, pruning=there.pruning, score_sha256=there.score_sha256)
    different = _difference(there, asked)
    if different and different <= {"pruning", "images", "score_sha256"} and not pruning_begun(run):
        return run, True
    if different:
        raise EdgepruneError(
            f"run {name} was made with other settings",
            ", ".join(_change(key, there, asked) for key in sorted(different)),
            f"choose another --name, or remove {run.path}",
        )
    return run, False


def pruning_begun(run: Run) -> bool:
    """Whether anything was done for the pruning that the recipe asks for."""
    done = bool(run.history(records.Step) or run.history(records.Sensitivity))
    return done or run.has("pruned") or (run.state_folder / "pruning.safetensors").exists()


@contextmanager
def working(run: Run) -> Iterator[None]:
    """The run's lock; a run that was only begun when an error ended it is taken away again."""
    fresh = not run.history_path.exists()
    with run.lock():
        try:
            yield
        except EdgepruneError:
            work = (run.history_path, run.weights_path("dense"), run.state_folder)
            if fresh and not any(path.exists() for path in work):
                for path in (run.recipe_path, run.spec_path, run.path / ".lock"):
                    path.unlink(missing_ok=True)
                with suppress(OSError):  # what else lies there is not ours
                    run.path.rmdir()
            raise


def _inherit(run: Run, parent: Run) -> None:
    """``parent``'s dense network: to prune it in another way without training again.

    Its weights come last: without them a killed command does all of it again.
    """
    checkpoint.inherit(run, parent)
    there = run.told()[0]
    for record in parent.told()[0]:
        if getattr(record, "network", None) == "dense" and record not in there:
            run.append(record)
    for path in (parent.onnx_path("dense"), parent.weights_path("dense")):
        if path.is_file():
            with files.atomic(run.path / path.name) as temporary:
                shutil.copyfile(path, temporary)


def write_recipe(
    run: Run,
    asked: Asked,
    argv: Sequence[str],
    parent: str | None = None,
    fresh: Sequence[str] = (),
) -> None:
    """``parent``: the run whose dense network it starts from; ``fresh``: tensors without first weights."""
    there = run.recipe() if run.recipe_path.exists() else records.Recipe()
    made = records.Recipe(
        command="prune" if asked.pruning else "train",
        argv=list(argv),
        created=there.created or runs.now(),
        fresh=list(fresh),
        versions=runs.versions(),
        parent=parent or there.parent,
    )
    files.write_json(run.recipe_path, records.plain(recipe_of(asked, made)))


def _difference(there: Asked, asked: Asked) -> set[str]:
    return {k for k in NAMES if getattr(there, k) != getattr(asked, k)}


def _change(key: str, there: Any, asked: Any) -> str:
    """``limit 500 -> 1000``; for a nested value the fields of it that differ."""
    from .table import WAYS, row_of

    old, new = getattr(there, key), getattr(asked, key)
    nested = hasattr(old, "__dataclass_fields__") and not isinstance(old, records.Target)
    if nested and type(old) is type(new):
        fields = [f for f in old.__dataclass_fields__ if getattr(old, f) != getattr(new, f)]
        return ", ".join(_change(f, old, new) for f in fields)
    kinds = tuple(row.value for row in WAYS.values())
    said = [row_of(v).name if isinstance(v, kinds) else v for v in (old, new)]
    return f"{key} {said[0]} -> {said[1]}"
