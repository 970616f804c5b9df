"""The shapes of what some operators make, in plain arithmetic.

An operator's own code takes up to a hundred times as long to say it. Each function has the operator's
arguments, tensors without numbers; None: the operator itself is asked, which knows what is wrong with
them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from .row import Shape


def convolved(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1,
) -> Shape | None:  # fmt: skip
    """conv1d, 2d, 3d: x (N, C, *places), weight (O, C / groups, *kernel)."""
    n = weight.ndim - 2
    windows = [_each(window, n) for window in (stride, padding, dilation)]
    sound = (
        n > 0
        and x.ndim == n + 2
        and x.shape[1] == weight.shape[1] * groups
        and weight.shape[0] % groups == 0
        and (bias is None or bias.shape == weight.shape[:1])
    )
    if not sound or any(w is None for w in windows):
        return None
    every = (x.shape[2:], weight.shape[2:], *windows)
    places = [
        (size + 2 * p - d * (k - 1) - 1) // s + 1
        for size, k, s, p, d in zip(*every, strict=True)  # type: ignore[arg-type]
    ]
    return (x.shape[0], weight.shape[0], *places) if min(*places, *x.shape) > 0 else None


def _each(window: Any, n: int) -> Sequence[int] | None:
    """Along each of ``n`` axes; None for words ("same")."""
    window = [window] if type(window) is int else window
    if isinstance(window, str) or len(window) not in (1, n) or any(w < 0 for w in window):
        return None
    return window if len(window) == n else [*window] * n


def pooled(x: Tensor, size: Any) -> Shape | None:
    """Adaptive pooling to a size."""
    if x.ndim != len(size) + 2 or min(*size, *x.shape) < 1:
        return None
    return (*x.shape[:2], *size)


def reduced(x: Tensor, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Shape | None:
    """mean over some axes."""
    if dtype is not None or not isinstance(dim, list | tuple) or not dim or x.numel() == 0:
        return None
    axes = {d % x.ndim for d in dim if -x.ndim <= d < x.ndim}
    if len(axes) != len(dim):
        return None
    pairs = enumerate(x.shape)
    return tuple(1 if d in axes else n for d, n in pairs if keepdim or d not in axes)


def projected(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Shape | None:
    """linear: x (*, C), weight (O, C)."""
    if weight.ndim != 2 or not x.ndim or x.shape[-1] != weight.shape[1]:
        return None
    if bias is not None and bias.shape != weight.shape[:1]:
        return None
    return (*x.shape[:-1], weight.shape[0])


def joined(parts: Sequence[Tensor], dim: int = 0) -> Shape | None:
    """cat."""
    first = parts[0]
    if any(t.ndim != first.ndim for t in parts) or not -first.ndim <= dim < first.ndim:
        return None
    dim %= first.ndim
    rest = {(*t.shape[:dim], *t.shape[dim + 1 :]) for t in parts}
    if len(rest) > 1 or any(0 in t.shape for t in parts):
        return None
    return (*first.shape[:dim], sum(t.shape[dim] for t in parts), *first.shape[dim + 1 :])
