"""A study's file: TOML, read strictly."""

from __future__ import annotations

from pathlib import Path

from .. import files, records, runs, ways
from ..errors import EdgepruneError
from ..records import Study
from . import jobs


def read(path: Path) -> Study:
    """The study that ``path`` describes; whatever it says that no run understands is refused by its name."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise EdgepruneError(
            str(path), "no such file", "edgeprune study --paper is one that is built in"
        ) from None
    except OSError as e:
        raise EdgepruneError(str(path), e.strerror or str(e)) from None
    given = files.toml(raw, str(path))
    for word, told in (
        (given.get("ways") or {}).items() if isinstance(given.get("ways"), dict) else ()
    ):
        if isinstance(told, dict) and "way" not in told:
            known = ", ".join(ways.WAYS)
            raise EdgepruneError(
                f"{path}: ways.{word}", "does not name its way", f'way = "…": {known}'
            )
    return checked(records.value(given, Study, str(path)), str(path))


def checked(study: Study, where: str) -> Study:
    """``study``, whose jobs and ways are found to be possible."""
    if not runs.NAME.fullmatch(study.name):
        raise EdgepruneError(
            f"{where}: name {study.name!r}", "not a name", "use letters, digits, '.', '_' and '-'"
        )
    for word, told in study.ways.items():
        own = {k: v for k, v in told.words.items() if k != "of"}
        way = ways.way_told(records.Pruning(told.way, own), f"{where}: ways.{word}")
        if ("plan" in vars(way)) < ("of" in told.words):
            raise EdgepruneError(
                f"{where}: ways.{word}.of", f"{told.way} applies no plan", "leave it out"
            )
    for name in (name for job in jobs.jobs(study) for name in job.names):
        if not runs.NAME.fullmatch(name):
            raise EdgepruneError(f"{where}: run {name!r}", "not a run's name", "shorter words")
    return study
