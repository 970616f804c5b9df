"""What is asked of a device, and the file in which the answer is kept.

The result file (``runs/NAME/bench/*.json``, or wherever ``--out`` says) is one JSON object:

``format``    ``"edgeprune-bench"``
``version``   1. A reader refuses a version that it does not know.
``status``    ``"complete"``; ``"incomplete"`` while it is being measured, and for ever if that broke off.
``created``   local time of the start.
``device``    as it was asked for: ``cpu``, ``ssh://pi@board``, ...
``emulated``  whether the device is an emulator, whose times say nothing.
``request``   the fields of :class:`Request`.
``models``    one object a model, in the order of the command line; the first is the baseline:
              ``name``, ``file``, ``bytes``, ``params``, ``macs``, ``flops``, ``counted_by``
              (``"edgeprune"``: the paper's convention, from the file's metadata; ``"graph"``: twice
              the multiply-adds of the convolutions and matrix products, counted in the file),
              ``metadata`` (the file's own strings), ``images`` and ``top1`` where accuracy was asked.
``measured``  the document of ``deploy/runner.py`` as it came: every sample of every round of every
              session, environment, load before and after. Its fields are described in that file.
``summary``   what ``bench/stats.py`` made of the samples (``"complete"`` files only):
              ``baseline``; ``networks``, one object a model (see :func:`edgeprune.bench.stats.summary`);
              ``warnings``, each ``{seen, cause, next}``. It can be made again from the rest.

Seconds, bytes and counts are plain numbers, accuracies are shares, absent things are ``null``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .. import files
from ..errors import EdgepruneError
from . import schema

FORMAT, VERSION = "edgeprune-bench", 1


@dataclass(frozen=True)
class Request:
    """What is asked of a device; the same fields as the runner's options, explained there."""

    threads: int = 1
    rounds: int = 50  # in all, over the passes
    seconds: float = 5.0  # of runs per model
    samples: int = 64  # runs per model that were not preempted: what p90 needs
    limit: float = 60.0  # seconds per model after which it ends without enough samples
    passes: int = 10  # fresh processes per model
    batch: int = 1
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    cores: tuple[int, ...] | None = None  # run on these only
    cool_down: float = 0.0  # seconds of rest before each pass
    max_temperature: float | None = None  # degrees Celsius, waited for before each pass

    def __post_init__(self) -> None:
        for name in ("threads", "rounds", "samples", "passes", "batch"):
            if getattr(self, name) < 1:
                raise EdgepruneError(f"--{name} {getattr(self, name)}", "must be at least 1")
        for name in ("seconds", "limit", "cool_down"):
            if not 0 <= getattr(self, name) < 1e6:
                raise EdgepruneError(f"--{name} {getattr(self, name)}", "not a sensible duration")

    def arguments(self) -> list[str]:
        """The runner's command line, without the models."""
        words: list[str] = []
        for name, value in asdict(self).items():
            if isinstance(value, int | float):
                words += [f"--{name.replace('_', '-')}", str(value)]
        if self.cores is not None:
            words += ["--cores", ",".join(map(str, self.cores))]
        for name, shape in self.shapes.items():
            words += ["--shape", f"{name}={','.join(map(str, shape))}"]
        return words


@dataclass(frozen=True)
class Result:
    """A result file: where it lies and what is in it."""

    path: Path
    document: dict[str, Any]

    @property
    def summary(self) -> dict[str, Any]:
        return self.document["summary"]

    @property
    def networks(self) -> list[dict[str, Any]]:
        return self.summary["networks"]


def load(path: Path) -> Result:
    """A whole result file; :class:`EdgepruneError` for anything else."""
    document = files.read_json(path)
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise EdgepruneError(str(path), "not a result of edgeprune bench")
    if document.get("version") != VERSION:
        raise EdgepruneError(
            str(path), f"version {document.get('version')}, this edgeprune reads {VERSION}"
        )
    if document.get("status") != "complete":
        raise EdgepruneError(
            str(path), "its measurement was broken off", "edgeprune bench once more"
        )
    try:
        schema.check_summary(document)
    except EdgepruneError as e:
        raise EdgepruneError(str(path), f"not the form of a result ({e.why})") from None
    return Result(path, document)
