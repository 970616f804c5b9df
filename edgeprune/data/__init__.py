"""Images and labels: a name becomes a checked, split data set, and that becomes batches."""

from .known import KNOWN
from .loaders import Dataset, Loader, Split, evaluation_batches, load
from .sources import names, natural_size
from .transforms import augment_for

__all__ = [
    "KNOWN",
    "Dataset",
    "Loader",
    "Split",
    "augment_for",
    "evaluation_batches",
    "load",
    "names",
    "natural_size",
]
