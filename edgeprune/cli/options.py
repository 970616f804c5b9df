"""Options that several commands share, each said once."""

from __future__ import annotations

from typing import Annotated

import typer

RUN = Annotated[
    str | None, typer.Argument(metavar="[RUN]", help="A run's name or path; default: the latest.")
]
MODEL = Annotated[
    str,
    typer.Option(
        "--model",
        help="vgg16, mobilenetv1 (-0.75 for a width multiplier), torchvision/NAME, timm/NAME or "
        "FILE.py:FUNCTION.",
    ),
]
INIT = Annotated[
    str,
    typer.Option(
        "--init",
        help="First weights: scratch, imagenet, a path (run, .safetensors, .pth), or NAME for "
        "EDGEPRUNE_HOME/weights/MODEL_NAME.safetensors.",
    ),
]
HEAD = Annotated[
    str,
    typer.Option(
        "--head", help="paper (pooling, dense 512, classes) or original (the network's own)."
    ),
]
PARTIAL = Annotated[
    bool,
    typer.Option(
        "--partial",
        help="Accept weights that hold only part of the network; the rest starts fresh.",
    ),
]
DATA = Annotated[
    str,
    typer.Option(
        "--data",
        help="digits, cifar10, cifar100, svhn, caltech101, a name under EDGEPRUNE_HOME/data, or a path: "
        "folder of class folders, .zip, .tar.gz, .npz.",
    ),
]
SIZE = Annotated[
    int | None,
    typer.Option("--size", min=16, max=1024, help="Side of the input in pixels; default: 32 for the sets "
                 "of small images, else 224."),
]  # fmt: skip
EPOCHS = Annotated[
    int | None,
    typer.Option("--epochs", min=1, help="Epochs of the dense training; default: the recipe's."),
]
RECIPE = Annotated[
    str,
    typer.Option("--recipe", help="default, or paper (Adam 1e-3, divided by 10 every 40 epochs)."),
]
BATCH = Annotated[int | None, typer.Option("--batch-size", min=1, help="Images a step.")]
LR = Annotated[
    float | None, typer.Option("--lr", min=0, help="Highest learning rate; default: the recipe's.")
]
LIMIT = Annotated[
    int | None,
    typer.Option(
        "--limit",
        min=1,
        help="Use only that many training images (stratified); stated in every result.",
    ),
]
SEED = Annotated[
    int, typer.Option("--seed", min=0, help="Seeds the split, the weights and the order.")
]
NAME = Annotated[
    str | None,
    typer.Option("--name", help="Name of the run; default: made from model, data and init."),
]
SKIP_BAD = Annotated[
    bool, typer.Option("--skip-bad", help="Skip and count unreadable images instead of stopping.")
]
PRECISION = Annotated[
    str,
    typer.Option(
        "--precision", help="auto (a few steps are timed, the faster is taken), fp32 or bf16."
    ),
]
JSON = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
