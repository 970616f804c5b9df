"""int8: a float .onnx file and examples in, the same network in 8 bits out."""

from .file import prepared, quantised, save
from .make import USUAL, Made, checked, of_file
from .observe import observe
from .ranges import RANGES, Range, Seen
from .repair import STEPS

__all__ = [
    "RANGES", "STEPS", "USUAL", "Made", "Range", "Seen", "checked", "observe", "of_file", "prepared",
    "quantised", "save",
]  # fmt: skip
