"""What is done with a network from beginning to end; each way to prune is a row, a value and a page."""

from .asked import Asked, asked_of, way_told
from .dense import dense, result, whole
from .gradual import Gradual
from .interleaved import Interleaved
from .lottery import Lottery
from .opening import claim, open_run, opened
from .paper import Paper
from .post_training import Settings
from .record import Watch
from .start import Planned, Pruned, dry, prune, train
from .table import WAYS, row_of, way_of
from .target import Target
from .unlabelled import Unlabelled
from .wanted import Wanted, said_inputs
from .way import Row, Way, Work

__all__ = [
    "WAYS",
    "Asked",
    "Gradual",
    "Interleaved",
    "Lottery",
    "Paper",
    "Planned",
    "Pruned",
    "Row",
    "Settings",
    "Target",
    "Unlabelled",
    "Wanted",
    "Watch",
    "Way",
    "Work",
    "asked_of",
    "claim",
    "dense",
    "dry",
    "open_run",
    "opened",
    "prune",
    "result",
    "row_of",
    "said_inputs",
    "train",
    "way_of",
    "way_told",
    "whole",
]
