"""Tensors whose numbers are known without running the network: sizes, and what is computed of them.

A number is a Python ``int``, ``float`` or ``bool``, or one of PyTorch's symbols (an open size while
a network is exported), which count as such.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

MOST = 1 << 16  # numbers that are reckoned with in Python
Numbers = np.ndarray[Any, Any]  # of Python objects


@dataclass(frozen=True, eq=False)
class Known:
    """An array of numbers, and the type of tensor that they make."""

    array: Numbers
    dtype: torch.dtype

    @property
    def whole(self) -> bool:
        return not (self.dtype.is_floating_point or self.dtype == torch.bool)

    def list(self) -> list[Any]:
        return list(self.array.ravel())

    def one(self) -> Any:
        """Its only number."""
        if self.array.size != 1:
            raise ValueError(f"takes {self.array.size:,} numbers where one is wanted")
        return self.array.ravel()[0]

    def tensor(self, device: torch.device) -> Tensor:
        return torch.tensor(self.array.tolist(), dtype=self.dtype, device=device)


def known(numbers: Any, dtype: torch.dtype) -> Known:
    """Of numbers in nested lists, or of an array."""
    array = np.asarray(numbers, dtype=object)
    if array.size > MOST:
        raise ValueError(f"{array.size:,} sizes to reckon with, {MOST:,} are the most")
    return Known(array, dtype)


def cast(value: Any, dtype: torch.dtype) -> Any:
    """One number in another type."""
    if dtype == torch.bool:
        return bool(value)
    if dtype.is_floating_point:
        return torch.sym_float(value)
    if isinstance(value, torch.SymInt):
        return value
    return torch.sym_int(value) if isinstance(value, torch.SymFloat) else int(value)


def divided(a: Any, b: Any) -> Any:
    """ONNX's division: whole numbers towards zero."""
    if isinstance(a, float | torch.SymFloat) or isinstance(b, float | torch.SymFloat):
        return a / b
    quotient = abs(a) // abs(b)
    return quotient if (a >= 0) == (b >= 0) else -quotient


def even(value: Any) -> float:
    """Rounded, halves to the even number."""
    return float(round(value))


def floor(value: Any) -> Any:
    return torch.sym_float(math.floor(value))


def ceil(value: Any) -> Any:
    return torch.sym_float(math.ceil(value))
