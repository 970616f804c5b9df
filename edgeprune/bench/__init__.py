"""Measurement: raw samples from a device, one statistics, one result file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..callable import called_as
from .measure import Images, images_of, measure
from .protocol import Request, Result, load

__all__ = ["Images", "Request", "Result", "images_of", "load", "measure", "of_files"]


def of_files(
    *models: str | Path, device: str = "cpu", out: str | Path | None = None, **asked: Any
) -> Result:
    """Measure .onnx files side by side, the first as the baseline, on ``device``.

    ``asked`` are fields of :class:`Request`, such as ``threads=1`` or ``seconds=2``. Every sample is kept in
    ``out`` (default: ``NAME.bench.json`` beside the last file).

    >>> import torch
    >>> from edgeprune import export
    >>> _ = export(torch.nn.Conv2d(3, 8, 3), "layer.onnx", [torch.randn(4, 3, 16, 16)])
    >>> quick = {"seconds": 0.0, "rounds": 2, "samples": 2, "passes": 2, "limit": 1.0}
    >>> _ = of_files("layer.onnx", out="layer.bench.json", **quick)
    >>> Path("layer.bench.json").exists()
    True
    """
    paths = [Path(model) for model in models]
    place = Path(out) if out is not None else paths[-1].with_suffix(".bench.json")
    return measure(paths, out=place, device=device, request=Request(**asked))


called_as(__name__, of_files)
