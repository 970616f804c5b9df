"""A figure as files that a page, a paper or a slide takes."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from .. import files, runs
from ..runs import Run
from . import figures


def write(stem: Path, drawn: Figure, run: Run) -> list[Path]:
    """The figure of a run as PNG and as SVG."""
    made = {"png": figures.png(drawn), "svg": figures.svg(drawn)}
    paths = [stem.with_name(f"{stem.name}.{suffix}") for suffix in made]
    with run.lock(runs.TELLING):
        for path, data in zip(paths, made.values(), strict=True):
            files.write_bytes(path, data)
    return paths
