"""Who else hears what a run writes into its history: TensorBoard, MLflow, or a logger of one's own.

The history (``history.jsonl``) is always written; a logger is told each of its records after that. An
epoch that a kill lost is told again, with the same numbers. A logger that fails is told once and asked no
more: nothing that is trained is lost over it.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from . import extras, records
from .errors import EdgepruneError, closest, first_line

ORDER = ("step", "epoch", "epochs")  # numbers that say where a record stands, not what it found


class Logger(Protocol):
    """Two words; ``run`` is the run's folder."""

    def log(self, run: Path, record: records.Record) -> None:
        """A record that stands in the run's history now."""

    def close(self) -> None:
        """Nothing more comes."""


LISTENING: list[Logger] = []


def tell(run: Path, record: records.Record) -> None:
    """Tell all that listen."""
    for logger in list(LISTENING):
        try:
            logger.log(run, record)
        except Exception as e:
            LISTENING.remove(logger)
            name = type(logger).__name__
            logging.getLogger(__name__).warning("%s hears no more: %s", name, first_line(e))


@contextmanager
def listening(*loggers: Logger) -> Iterator[None]:
    """These hear what is written meanwhile, besides those that listen already."""
    LISTENING.extend(loggers)
    try:
        yield
    finally:
        for logger in loggers:
            if logger in LISTENING:
                LISTENING.remove(logger)
                logger.close()


def named(names: str) -> list[Logger]:
    """The loggers of names with commas between them."""
    words = [name.strip() for name in names.split(",") if name.strip()]
    for name in words:
        if name not in LOGGERS:
            raise EdgepruneError(f"--log {name}", closest(name, list(LOGGERS)))
    return [LOGGERS[name]() for name in words]


def scalars(record: records.Record) -> dict[str, float]:
    """The numbers that a record found, by name."""
    fields = {f.name: getattr(record, f.name) for f in dataclasses.fields(record)}
    return {
        name: float(value)
        for name, value in fields.items()
        if name not in ORDER and type(value) in (int, float) and math.isfinite(value)
    }


def place(record: records.Record) -> tuple[str, int]:
    """What a record is about, and where on its axis it stands: pruned/retrain of step 3, its epoch."""
    about = [getattr(record, word, None) for word in ("network", "phase")]
    step, epoch = (getattr(record, word, None) for word in ("step", "epoch"))
    if epoch is not None and step is not None:
        about.append(f"step {step}")
    kind = getattr(record, "kind", type(record).__name__.lower())
    return "/".join([kind, *(str(a) for a in about if a)]), int(
        epoch if epoch is not None else step or 0
    )


class TensorBoard:
    """Each run's numbers as scalars, in the folder ``tensorboard`` of the run."""

    def __init__(self) -> None:
        extras.check("log", "--log tensorboard")
        self.writers: dict[Path, Any] = {}

    def log(self, run: Path, record: records.Record) -> None:
        from torch.utils.tensorboard import SummaryWriter

        if run not in self.writers:
            self.writers[run] = SummaryWriter(str(run / "tensorboard"))  # type: ignore[no-untyped-call]
        about, at = place(record)
        for name, value in scalars(record).items():
            self.writers[run].add_scalar(f"{about}/{name}", value, at)
        self.writers[run].flush()

    def close(self) -> None:
        for writer in self.writers.values():
            writer.close()


class MLflow:
    """Each run as one of MLflow's, by its name; where, MLFLOW_TRACKING_URI says."""

    def __init__(self) -> None:
        try:
            import mlflow
        except ImportError:
            raise EdgepruneError("--log mlflow", "needs mlflow", "pip install mlflow") from None
        self.client = mlflow
        self.known: dict[Path, str] = {}

    def log(self, run: Path, record: records.Record) -> None:
        about, at = place(record)
        key = about.replace("/", ".").replace(" ", "_")
        numbers = {f"{key}.{name}": value for name, value in scalars(record).items()}
        with self.client.start_run(run_id=self.known.get(run), run_name=run.name) as there:
            self.known[run] = there.info.run_id
            self.client.log_metrics(numbers, step=at)

    def close(self) -> None:
        pass


LOGGERS: dict[str, Callable[[], Logger]] = {"tensorboard": TensorBoard, "mlflow": MLflow}
