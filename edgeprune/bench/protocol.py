"""The file in which a device's answer is kept: :class:`edgeprune.records.Bench` says what is in it.

``measured`` is the document of ``deploy/runner.py`` as it came: every sample of every round of every
session, environment, load before and after. ``summary`` is what ``bench/stats.py`` made of the samples.
A reader refuses a version that it does not know, and what was broken off.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .. import files, records
from ..errors import EdgepruneError
from ..records import Request

__all__ = ["FORMAT", "VERSION", "Request", "Result", "json_of", "load"]
FORMAT, VERSION = "edgeprune-bench", 1


@dataclass(frozen=True)
class Result:
    """A whole result file: where it lies and what is in it."""

    path: Path
    told: records.Bench

    @property
    def summary(self) -> records.Summary:
        assert self.told.summary is not None  # it is whole
        return self.told.summary

    @property
    def networks(self) -> list[records.Judged]:
        return self.summary.networks

    @property
    def document(self) -> Any:
        """The file's JSON."""
        return json_of(self.told)

    def measured(self) -> records.Measured:
        """The samples and what is known of the device; they may have been edited since."""
        try:
            found = records.value(self.told.measured, records.Measured, "measured")
            return found.of(len(self.told.models))
        except EdgepruneError as e:
            raise EdgepruneError(
                str(self.path),
                f"not the form of a result ({e.why or e.what})",
                "measure again: edgeprune bench",
            ) from None


def json_of(told: records.Bench) -> Any:
    """What a file holds of it; the device's answer is not copied."""
    found = records.plain(replace(told, measured=None)) | {"measured": told.measured}
    if told.summary is None:
        del found["summary"]
    return found


def load(path: Path) -> Result:
    """A whole result file; :class:`EdgepruneError` for anything else."""
    document = files.read_json(path)
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise EdgepruneError(
            str(path), "not a result of edgeprune bench", "give a file of a run's bench/ folder"
        )
    if document.get("version") != VERSION:
        raise EdgepruneError(
            str(path),
            f"version {document.get('version')}, this edgeprune reads {VERSION}",
            "measure again with this edgeprune: edgeprune bench",
        )
    if document.get("status") != "complete":
        raise EdgepruneError(
            str(path), "its measurement was broken off", "edgeprune bench once more"
        )
    try:
        told = records.value(document, records.Bench, "result")
        if told.summary is None:
            raise EdgepruneError("result", "no summary", "measure again: edgeprune bench")
    except EdgepruneError as e:
        raise EdgepruneError(
            str(path), f"not the form of a result ({e.why})", "measure again: edgeprune bench"
        ) from None
    return Result(path, told)
