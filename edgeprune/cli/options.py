"""Options that several commands share, each said once: ``options.seed()`` or, in a panel of the
help, ``options.seed("Rest")``.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ..errors import EdgepruneError

RUN = Annotated[
    str | None, typer.Argument(metavar="[RUN]", help="A run's name or path; default: the latest.")
]


def _option(*words: str, help: str, panel: str | None, **more: Any) -> Any:
    return typer.Option(*words, help=help, rich_help_panel=panel, **more)


def model(panel: str | None = None) -> Any:
    text = (
        "vgg16, mobilenetv1 (-0.75 for a width multiplier), torchvision/NAME, timm/NAME or "
        "FILE.py:FUNCTION."
    )
    return _option("--model", help=text, panel=panel)


def init(panel: str | None = None) -> Any:
    text = (
        "First weights: scratch, imagenet, a path (run, .safetensors, .pth), or NAME for "
        "weights/MODEL_NAME.safetensors in EDGEPRUNE_HOME."
    )
    return _option("--init", help=text, panel=panel)


def weights(panel: str | None = None) -> Any:
    text = "A checkpoint file (.safetensors or .pth); another word for --init PATH."
    return _option("--weights", metavar="FILE", help=text, panel=panel)


def first_weights(init: str, weights: str | None) -> str:
    """``--init`` and ``--weights`` are one thing: a file that must be there."""
    from pathlib import Path

    if weights is None:
        return init
    if init != "scratch":
        raise EdgepruneError("--init and --weights", "say the same thing", "leave one out")
    if not Path(weights).expanduser().is_file():
        raise EdgepruneError(f"--weights {weights}", "no such file")
    return weights


def head(panel: str | None = None) -> Any:
    text = "paper (pooling, dense 512, classes) or original (the network's own)."
    return _option("--head", help=text, panel=panel)


def partial(panel: str | None = None) -> Any:
    text = "Accept weights that hold only part of the network; the rest starts fresh."
    return _option("--partial", help=text, panel=panel)


def data(panel: str | None = None, more: str = "") -> Any:
    text = (
        "digits, cifar10, cifar100, svhn, caltech101, a name under EDGEPRUNE_HOME/data, or a path: "
        "folder of class folders, .zip, .tar.gz, .npz." + more
    )
    return _option("--data", help=text, panel=panel)


def size(panel: str | None = None) -> Any:
    text = "Side of the input in pixels; default: 32 for the sets of small images, else 224."
    return _option("--size", min=16, max=1024, help=text, panel=panel)


def epochs(panel: str | None = None) -> Any:
    text = "Epochs of the dense training; default: the recipe's."
    return _option("--epochs", min=1, help=text, panel=panel)


def recipe(panel: str | None = None) -> Any:
    text = "default, or paper (Adam 1e-3, divided by 10 every 40 epochs)."
    return _option("--recipe", help=text, panel=panel)


def batch(panel: str | None = None) -> Any:
    return _option("--batch-size", min=1, help="Images a step.", panel=panel)


def lr(panel: str | None = None) -> Any:
    text = "Highest learning rate; default: the recipe's."
    return _option("--lr", min=0, help=text, panel=panel)


def limit(panel: str | None = None) -> Any:
    text = "Use only that many training images (stratified); stated in every result."
    return _option("--limit", min=1, help=text, panel=panel)


def seed(panel: str | None = None) -> Any:
    text = "Seeds the split, the weights and the order."
    return _option("--seed", min=0, help=text, panel=panel)


def name(panel: str | None = None) -> Any:
    text = "Name of the run; default: made from model, data and init."
    return _option("--name", help=text, panel=panel)


def skip_bad(panel: str | None = None) -> Any:
    text = "Skip and count unreadable images instead of stopping."
    return _option("--skip-bad", help=text, panel=panel)


def precision(panel: str | None = None) -> Any:
    text = "auto (a few steps are timed, the faster is taken), fp32 or bf16."
    return _option("--precision", help=text, panel=panel)


def json(panel: str | None = None) -> Any:
    return _option("--json", help="Print the result as JSON on stdout.", panel=panel)


# Without a panel, for the commands that need none.
MODEL = Annotated[str, model()]
INIT = Annotated[str, init()]
WEIGHTS = Annotated[str | None, weights()]
HEAD = Annotated[str, head()]
PARTIAL = Annotated[bool, partial()]
DATA = Annotated[str, data()]
SIZE = Annotated[int | None, size()]
EPOCHS = Annotated[int | None, epochs()]
RECIPE = Annotated[str, recipe()]
BATCH = Annotated[int | None, batch()]
LR = Annotated[float | None, lr()]
LIMIT = Annotated[int | None, limit()]
SEED = Annotated[int, seed()]
NAME = Annotated[str | None, name()]
SKIP_BAD = Annotated[bool, skip_bad()]
PRECISION = Annotated[str, precision()]
JSON = Annotated[bool, json()]
