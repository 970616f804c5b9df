"""What lies in files, as types: one for the writer, the reader, the check and the published schema."""

from .network import Convention, ModelSpec
from .run import (
    Choice,
    Code,
    Epoch,
    Other,
    Recipe,
    Record,
    Result,
    Sensitivity,
    Spec,
    Step,
    Training,
    Way,
    line_of,
    of_line,
)
from .typed import parse, plain, read, read_leniently, schema, value

__all__ = [
    "Choice",
    "Code",
    "Convention",
    "Epoch",
    "ModelSpec",
    "Other",
    "Recipe",
    "Record",
    "Result",
    "Sensitivity",
    "Spec",
    "Step",
    "Training",
    "Way",
    "line_of",
    "of_line",
    "parse",
    "plain",
    "read",
    "read_leniently",
    "schema",
    "value",
]
