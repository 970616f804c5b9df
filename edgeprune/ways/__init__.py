"""What is done with a network from beginning to end; each procedure is a page."""

from .asked import (
    WAYS,
    Asked,
    Gradual,
    Pruning,
    Targeted,
    Unlabelled,
    claim,
    derive,
    open_run,
    working,
)
from .dense import dense, result, whole
from .gradual import during_training
from .paper import iterative
from .post_training import Settings
from .record import Watch
from .target import dry, targeted
from .unlabelled import without_labels

__all__ = [
    "WAYS",
    "Asked",
    "Gradual",
    "Pruning",
    "Settings",
    "Targeted",
    "Unlabelled",
    "Watch",
    "claim",
    "dense",
    "derive",
    "dry",
    "during_training",
    "iterative",
    "open_run",
    "result",
    "targeted",
    "whole",
    "without_labels",
    "working",
]
