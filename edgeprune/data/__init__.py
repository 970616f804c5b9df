"""Images and labels: a name becomes a checked, split data set, and that becomes batches."""

from .loaders import Dataset, Loader, Split, evaluation_batches, load
from .transforms import AUGMENTS, augment_for, natural_size

__all__ = [
    "AUGMENTS",
    "Dataset",
    "Loader",
    "Split",
    "augment_for",
    "evaluation_batches",
    "load",
    "natural_size",
]
