"""The ONNX operators that are read, one row each, by family; and those that are refused by name."""

from __future__ import annotations

from . import layers, moves, pointwise, recurrent, reductions, resizes
from .row import DTYPES, HALVES, LIMIT, Node, NotSupported, Row, Rows, dtype_of

FAMILIES = (pointwise, moves, reductions, layers, resizes, recurrent)
ROWS: Rows = {name: rows for family in FAMILIES for name, rows in family.ROWS.items()}

QUANTISED = (
    "holds a quantised network",
    "prune the float network that it was made from, and quantise afterwards",
)
CONTROL = (
    "branches or loops in the graph",
    "fold what is constant with onnxsim FILE.onnx NEW.onnx, or export without it",
)
DETECTIONS = (
    "chooses boxes by their numbers",
    "give backbone and head alone: onnx.utils.extract_model cuts the file before it",
)
SEQUENCES = ("holds sequences instead of tensors", "export with tensors as inputs and outputs")

# operator -> (why, remedy)
REFUSED = {
    **dict.fromkeys(
        ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "ConvInteger",
         "MatMulInteger", "QLinearConv", "QLinearMatMul"), QUANTISED,
    ),
    **dict.fromkeys(("If", "Loop", "Scan"), CONTROL),
    **dict.fromkeys(("NonMaxSuppression", "NonZero", "Unique", "Compress"), DETECTIONS),
    **dict.fromkeys(
        ("SequenceAt", "SequenceConstruct", "SequenceEmpty", "SequenceInsert", "SplitToSequence",
         "ConcatFromSequence", "SequenceLength", "SequenceMap", "Optional"), SEQUENCES,
    ),
}  # fmt: skip

__all__ = [
    "DTYPES", "FAMILIES", "HALVES", "LIMIT", "REFUSED", "ROWS", "Node", "NotSupported", "Row", "dtype_of",
    "row_of",
]  # fmt: skip


def row_of(operator: str, opset: int) -> Row | None:
    """The row of an operator in an opset; None: there is none."""
    return next((r for r in ROWS.get(operator, ()) if r.since <= opset <= r.until), None)
