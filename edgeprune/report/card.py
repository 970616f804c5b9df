"""A model card in Hugging Face's form: metadata, then what a run asked, cut and measured, in Markdown."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from .. import files, units
from ..version import __version__
from .results import Results, comparison

CARD = "README.md"  # as a repository of models shows it


def write(found: Results) -> Path:
    path = found.run.path / CARD
    files.write_text(path, text(found))
    return path


def text(found: Results) -> str:
    """The whole card; every figure is the run's own."""
    recipe, names = found.recipe, found.run.exported
    parts = [
        _metadata(found),
        f"# {found.run.name}",
        f"`{recipe.model}`, " + _cut(found),
        comparison(found.run, found).markdown(),
        "## Files",
        "\n".join(f"- `{name}.onnx`: {_size(found, name)}" for name in names)
        or "none yet: `edgeprune export`",
        "## How it was made",
        f"```sh\nedgeprune {shlex.join(recipe.argv)}\n```",
        _made(found),
        "## Licence",
        "That of the network, its first weights and the images, which edgeprune does not know: say it "
        "here and as `license` above before this is published.",
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _metadata(found: Results) -> str:
    """YAML, each value as JSON, which is YAML."""
    recipe = found.recipe
    said: dict[str, Any] = {
        "library_name": "onnx",
        "tags": ["edgeprune", "pruned", "onnx", "onnxruntime"],
        "pipeline_tag": "image-classification" if recipe.task == "classification" else None,
        "base_model": recipe.model if recipe.model.startswith("timm/") else None,
        "datasets": [recipe.data] if recipe.data else None,
        "metrics": ["accuracy"] if recipe.data and recipe.task == "classification" else None,
    }
    lines = [f"{key}: {json.dumps(value)}" for key, value in said.items() if value is not None]
    return "\n".join(["---", *lines, "---"])


def _cut(found: Results) -> str:
    dense, pruned = found.dense, found.pruned
    if dense is None or pruned is None:
        return "not pruned yet."
    left = f"{100 * pruned.flops / dense.flops:.1f} % of the FLOPs"
    wide = [f"{n} {w} → {pruned.widths[n]}" for n, w in dense.widths.items()
            if pruned.widths.get(n, w) != w]  # fmt: skip
    shown = ", ".join(wide[:12]) + (f" and {len(wide) - 12} more" if len(wide) > 12 else "")
    return f"with {left} left. Filters that stayed, layer by layer: {shown or 'all'}."


def _made(found: Results) -> str:
    recipe = found.recipe
    looked = recipe.images or recipe.data or "no images"
    versions = ", ".join(f"{name} {version}" for name, version in recipe.versions.items())
    return (
        f"First weights: {Path(recipe.init).name}; images: {Path(looked).name}; input {recipe.size} pixels; "
        f"seed {recipe.seed}. edgeprune {__version__} ({versions})."
    )


def _size(found: Results, network: str) -> str:
    return units.size(found.run.onnx_path(network).stat().st_size)
