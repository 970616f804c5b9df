"""onnxruntime's own format for phones and small builds: each file as .ort, and the operators that they need.

Written by onnxruntime's converter, whose optimisations are made once, here, so that a build without an
optimiser loads them; those of one processor alone (blocks of channels) are left out.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import numpy as np

from .. import files
from ..errors import EdgepruneError, first_line
from ..graph.inputs import Example
from . import parity

OPERATORS = "operators.config"  # for --include_ops_by_config of onnxruntime's build
INT8 = 0.02  # of an output's largest value: what is rounded to 8 bits in another order


@dataclass(frozen=True)
class Mobile:
    """One file in the mobile format; ``difference`` from its .onnx file, relative to the largest value."""

    path: Path
    bytes: int
    difference: float


def write(
    paths: Sequence[Path], samples: Example, int8: Sequence[bool]
) -> tuple[list[Mobile], Path]:
    """Each .onnx file as .ort beside it, once it was loaded and gave the same; and the operators that all of
    them need."""
    with tempfile.TemporaryDirectory(prefix="edgeprune-") as place:
        made = [_converted(path, Path(place, str(i))) for i, path in enumerate(paths)]
        found = []
        for path, ort, eight in zip(paths, made, int8, strict=True):
            gap = _difference(path, ort, samples)
            if not gap <= (INT8 if eight else parity.TOLERANCE):
                raise EdgepruneError(
                    str(path), f"the mobile format gives other outputs ({gap:.1e} of the largest)"
                )
            found.append(Mobile(path.with_suffix(".ort"), ort.stat().st_size, gap))
        needed = _operators(made, [path.name for path in paths], Path(place, OPERATORS))
        for one, ort in zip(found, made, strict=True):
            files.write_bytes(one.path, ort.read_bytes())
    listed = paths[0].with_name(OPERATORS)
    files.write_text(listed, needed)
    return found, listed


def _converted(path: Path, folder: Path) -> Path:
    from onnxruntime.tools.convert_onnx_models_to_ort import (
        OptimizationStyle,
        convert_onnx_models_to_ort,
    )

    try:
        with redirect_stdout(StringIO()):  # it tells what it does
            convert_onnx_models_to_ort(
                path, output_dir=folder, optimization_styles=[OptimizationStyle.Fixed]
            )
    except Exception as e:  # whatever onnxruntime raises
        raise EdgepruneError(f"{path}: no mobile format", first_line(e)) from e
    return next(folder.glob("*.ort"))


def _difference(path: Path, ort: Path, samples: Example) -> float:
    """The largest, of any output's values, in terms of the largest one."""
    a, b = (parity.run_on(parity.session(each, 1), samples) for each in (path, ort))
    gaps = [
        float(np.abs(x.astype(np.float64) - y).max() / max(np.abs(x).max(), 1e-12))
        for x, y in zip(a, b, strict=True)
        if x.size
    ]
    return max(gaps, default=0.0)


def _operators(made: Sequence[Path], names: Sequence[str], place: Path) -> str:
    """The list as onnxruntime's build reads it; the files by their names, not where they lay."""
    from onnxruntime.tools.ort_format_model import create_config_from_models

    create_config_from_models(made, place, False)
    lines = [line for line in place.read_text().splitlines() if not line.startswith("#")]
    return "\n".join([f"# what these need: {', '.join(names)}", *lines, ""])
