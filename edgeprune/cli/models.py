"""``edgeprune models``: which networks there are, and which weights for them."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

import typer

from . import options, output


def models(
    search: Annotated[
        str | None,
        typer.Argument(
            help="Part of a name: also lists torchvision's and timm's networks that hold it."
        ),
    ] = None,
    as_json: options.JSON = False,
) -> None:
    """List the networks that --model takes and the weights that --init finds for each.

    Example: [b]edgeprune models resnet[/b]
    """
    from .. import models as room
    from ..errors import EdgepruneError
    from ..report.tables import Column, Table

    about = {
        "vgg16": "the paper's form: 13 convolutions, no batch norm, pooling, dense 512",
        "mobilenetv1": "the paper's form: depthwise separable, batch norm, dense 512",
        "mobilenetv1-0.75": "the same with a width multiplier (any number)",
        "mobilenetv2": "timm's mobilenetv2_100, with its own head",
    }
    rows = [
        {"model": name, "inits": room.known_inits(name), "about": text}
        for name, text in about.items()
        if not search or search in name
    ]
    if search:
        rows += [
            {"model": name, "inits": ["scratch", "imagenet"], "about": ""}
            for name in _others(search)
        ]
    if not rows:
        raise EdgepruneError(f"no network with {search!r} in its name", next="edgeprune models")
    if as_json:
        output.show_json(rows)
        return
    columns = [
        Column("model", align="left"),
        Column("inits", "--init", ", ".join, align="left", wraps=True),
        Column("about", "", align="left", wraps=True),
    ]
    notes = [] if search else ["Also: torchvision/NAME, timm/NAME (edgeprune models WORD searches them), "
                               "FILE.py:FUNCTION, FILE.onnx."]  # fmt: skip
    output.show(Table("Networks", columns, rows, notes))


def _others(word: str) -> list[str]:
    names = []
    with suppress(ImportError):
        from torchvision import models as library

        names += [f"torchvision/{n}" for n in library.list_models(module=library) if word in n]
    with suppress(ImportError):
        import timm

        names += [f"timm/{n}" for n in timm.list_models(f"*{word}*")]
    return names
