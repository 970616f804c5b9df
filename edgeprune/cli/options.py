"""Options that several commands share, each said once."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ..errors import EdgepruneError
from . import complete

RUN = Annotated[
    str | None,
    typer.Argument(
        metavar="[RUN]",
        help="A run's name or path; default: the latest.",
        autocompletion=complete.runs,
    ),
]
RUN_OR_FILES = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RUN | A.onnx [B.onnx …]]",
        help="A run's name or path (default: the latest), or .onnx files, the first the baseline.",
        autocompletion=complete.runs_or_files,
    ),
]
TEST = Annotated[
    str | None,
    typer.Option(
        "--test",
        autocompletion=complete.data,
        metavar="FOLDER",
        help="Labelled images that judge, never split or trained on: class folders, an archive, a "
        "name; default: the data set's own test part.",
    ),
]
SHAPE = Annotated[
    list[str] | None,
    typer.Option(
        "--shape",
        metavar="[NAME=]3x480x640",
        help="Size of an input that the file leaves open, without the batch; NAME where there are "
        "several.",
    ),
]


EXAMPLE = Annotated[
    list[str] | None,
    typer.Option(
        "--shape",
        metavar="1x49x10",
        help="What the network takes where it is no image: an example's shape, again for each input "
        "(NAME=3x32x32 by keyword, 20:int64 of another type); or FILE.py:FUNCTION, which makes a batch.",
    ),
]
SCORE = Annotated[
    str | None,
    typer.Option(
        "--score",
        autocompletion=complete.scores,
        help="l1, l2, fpgm, bn_scale, apoz, mean_response, linear_redundancy, subspaces, pfa, taylor, "
        "taylor_gate, obd, car, car_greedy, reconstruction, random; or a function of yours, "
        "FILE.py:FUNCTION.",
    ),
]

METHOD = Annotated[
    str | None,
    typer.Option(
        "--method",
        "--plan-method",
        help="uniform, global, sensitivity, reconstruction, search, threshold: how the cuts spread over "
        "the layers; own: as many as the score keeps by itself (pfa; no target).",
    ),
]

KEEP = Annotated[
    list[str] | None,
    typer.Option("--keep", metavar="GLOB", help="Groups that stay whole; again for more."),
]

FLOOR = Annotated[
    float | None,
    typer.Option(
        "--floor",
        help="Least share of a group's width (0.1). 0: a branch may vanish, where that is exact.",
    ),
]

ROUND_TO = Annotated[
    str,
    typer.Option(
        "--round-to",
        help="Widths are multiples of this; auto: what the runtime on --device computes in.",
    ),
]

TASK = Annotated[
    str | None,
    typer.Option(
        "--task",
        autocompletion=complete.tasks,
        metavar="[OUTPUT=]NAME",
        help="What the outputs are, where it cannot be seen: classification, embedding, labels, "
        "number, boxes, sequence, segmentation, restoration, depth, values.",
    ),
]


def model(more: str = "") -> Any:
    text = (
        "vgg16, mobilenetv1 (-0.75 for a width multiplier), torchvision/NAME, timm/NAME, "
        "FILE.py:FUNCTION or FILE.onnx." + more
    )
    return typer.Option("--model", help=text, autocompletion=complete.models)


def init() -> Any:
    text = (
        "First weights: scratch, imagenet, a path (run, .safetensors, .pth), or NAME for "
        "weights/MODEL_NAME.safetensors in EDGEPRUNE_HOME."
    )
    return typer.Option("--init", help=text, autocompletion=complete.inits)


def weights() -> Any:
    text = "A checkpoint file (.safetensors or .pth); another word for --init PATH."
    return typer.Option("--weights", metavar="FILE", help=text)


def first_weights(init: str, weights: str | None) -> str:
    """``--init`` and ``--weights`` are one thing: a file that must be there."""
    from pathlib import Path

    if weights is None:
        return init
    if init != "scratch":
        raise EdgepruneError("--init and --weights", "say the same thing", "leave one out")
    if not Path(weights).expanduser().is_file():
        raise EdgepruneError(f"--weights {weights}", "no such file", "say its path from here")
    return weights


def head() -> Any:
    text = "paper (pooling, dense 512, classes) or original (the network's own)."
    return typer.Option("--head", help=text)


def partial() -> Any:
    text = "Accept weights that hold only part of the network; the rest starts fresh."
    return typer.Option("--partial", help=text)


def data(more: str = "") -> Any:
    text = (
        "digits, cifar10, cifar100, svhn, caltech101, a name under EDGEPRUNE_HOME/data, or a path: "
        "folder of class folders, .zip, .tar.gz, .npz." + more
    )
    return typer.Option("--data", help=text, autocompletion=complete.data)


def size() -> Any:
    text = "Side of the input in pixels; default: 32 for the sets of small images, else 224."
    return typer.Option("--size", min=16, max=1024, help=text)


def epochs() -> Any:
    text = "Epochs of the dense training; default: the recipe's."
    return typer.Option("--epochs", min=1, help=text)


def recipe() -> Any:
    text = "default, or paper (Adam 1e-3, divided by 10 every 40 epochs)."
    return typer.Option("--recipe", help=text)


def batch() -> Any:
    return typer.Option("--batch-size", min=1, help="Images a step.")


def lr() -> Any:
    text = "Highest learning rate; default: the recipe's."
    return typer.Option("--lr", min=0, help=text)


def limit() -> Any:
    text = "Use only that many training images (stratified), stated in every result; all test images judge."
    return typer.Option("--limit", min=1, help=text)


def seed() -> Any:
    text = "Seeds the split, the weights and the order."
    return typer.Option("--seed", min=0, help=text)


def name() -> Any:
    text = "Name of the run; default: made from model, data and init."
    return typer.Option("--name", help=text)


def skip_bad() -> Any:
    text = "Skip and count unreadable images instead of stopping."
    return typer.Option("--skip-bad", help=text)


def precision() -> Any:
    text = "auto (a few steps are timed, the faster is taken), fp32 or bf16."
    return typer.Option("--precision", help=text)


def json() -> Any:
    return typer.Option("--json", help="Print the result as JSON on stdout.")


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
