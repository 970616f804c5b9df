"""Images and labels: a name becomes a checked, split data set, and that becomes batches."""

from .loaders import Dataset, Loader, Split, evaluation_batches, held_out
from .paired import Rows, load, natural_size, takes
from .sources import listed
from .transforms import augment_for
from .unlabelled import unlabelled

__all__ = [
    "Dataset",
    "Loader",
    "Rows",
    "Split",
    "augment_for",
    "evaluation_batches",
    "held_out",
    "listed",
    "load",
    "natural_size",
    "takes",
    "unlabelled",
]
