"""Operators that work element by element, and choices among elements along an axis."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..known import Known, cast, ceil, divided, even, floor, known
from .row import Node, Row, Rows, axis_of, dtype_of, tensor


def operands(values: tuple[Any, ...]) -> list[Any]:
    """Tensors, and numbers where a constant of one element is broadcast."""
    ranks = [v.ndim for v in values if isinstance(v, Tensor)]
    like = next(v for v in values if isinstance(v, Tensor))
    return [
        v.one()
        if isinstance(v, Known) and v.array.size == 1 and v.array.ndim <= max(ranks)
        else tensor(v, like)
        for v in values
    ]


def both(f: Callable[..., Any], g: Callable[..., Any] | None = None, dtype: Any = None) -> Row:
    """``f`` of tensors; ``g`` (else ``f``) of numbers, one by one."""

    def run(node: Node, *values: Any) -> Any:
        return f(*operands(values))

    def of_known(node: Node, *values: Known) -> Known:
        found = np.vectorize(g or f, otypes=[object])(*(v.array for v in values))
        return known(found, dtype or values[0].dtype)

    return Row(run, known=of_known, scalars=True)


def one(f: Callable[[Tensor], Tensor]) -> Row:
    return Row(lambda node, x: f(x))


def folded(f: Callable[[Any, Any], Any], g: Callable[[Any, Any], Any]) -> Row:
    """An operator of any number of operands, two by two."""

    def run(node: Node, *values: Any) -> Any:
        return reduce(f, values)

    def of_known(node: Node, *values: Known) -> Known:
        pair = np.vectorize(g, otypes=[object])
        return known(reduce(pair, (v.array for v in values)), values[0].dtype)

    return Row(run, known=of_known)


def _extreme(f: Callable[..., Tensor], clamp: str) -> Callable[[Any, Any], Any]:
    def pair(a: Any, b: Any) -> Any:
        a, b = operands((a, b))
        if not isinstance(a, Tensor):
            a, b = b, a
        return f(a, b) if isinstance(b, Tensor) else a.clamp(**{clamp: b})

    return pair


def _add(a: Any, b: Any) -> Any:
    return operator.add(*operands((a, b)))


def _divide(a: Any, b: Any) -> Any:
    whole = next(v for v in (a, b) if isinstance(v, Tensor))
    if whole.is_floating_point():
        return a / b
    return torch.div(torch.as_tensor(a), b, rounding_mode="trunc")


def _power(a: Any, b: Any) -> Any:
    return a**b


def _mean(node: Node, *values: Tensor) -> Tensor:
    return reduce(operator.add, values) / len(values)


def _mod(node: Node, a: Any, b: Any) -> Any:
    a, b = operands((a, b))
    return torch.fmod(a, b) if node.get("fmod", 0) else torch.remainder(a, b)


def _where(node: Node, condition: Any, a: Any, b: Any) -> Tensor:
    like = next(v for v in (condition, a, b) if isinstance(v, Tensor))
    return torch.where(tensor(condition, like), tensor(a, like), tensor(b, like))


def _where_known(node: Node, condition: Known, a: Known, b: Known) -> Known:
    choose = np.vectorize(lambda c, x, y: x if c else y, otypes=[object])
    return known(choose(condition.array, a.array, b.array), a.dtype)


def _clip(node: Node, x: Tensor, low: Any = None, high: Any = None) -> Tensor:
    lowest = node.get("min") if low is None else low
    highest = node.get("max") if high is None else high
    limits = [v.one() if isinstance(v, Known) else v for v in (lowest, highest)]
    return x if limits == [None, None] else torch.clamp(x, *limits)


def _cast(node: Node, x: Tensor) -> Tensor:
    return x.to(dtype_of(node.get("to")))


def _cast_known(node: Node, x: Known) -> Known:
    dtype = dtype_of(node.get("to"))
    found = np.vectorize(lambda v: cast(v, dtype), otypes=[object])(x.array)
    return known(found, dtype)


def _cast_like(node: Node, x: Any, like: Tensor) -> Tensor:
    return tensor(x, like).to(like.dtype)


def _flat(f: Callable[[Tensor, int], Tensor]) -> Callable[..., Tensor]:
    """Before opset 13: over all axes from one on."""

    def run(node: Node, x: Tensor) -> Tensor:
        axis = axis_of(node.get("axis", 1), x.ndim)
        if axis == x.ndim - 1:
            return f(x, axis)
        return f(x.flatten(axis), axis).reshape(x.shape)

    return run


def _along(f: Callable[[Tensor, int], Tensor]) -> Callable[..., Tensor]:
    return lambda node, x: f(x, axis_of(node.get("axis", -1), x.ndim))


def _prelu(node: Node, x: Tensor, slope: Tensor) -> Tensor:
    """The slope is one number, or one a channel."""
    sizes = tuple(slope.shape)
    channels = slope.numel() == 1 or (
        x.ndim > 1 and slope.numel() == x.shape[1] and len(sizes) == x.ndim - 1
        and all(n == 1 for n in sizes[1:])
    )  # fmt: skip
    if channels:
        return F.prelu(x, slope.reshape(-1))
    return torch.where(x < 0, x * slope, x)


def _hard_sigmoid(node: Node, x: Tensor) -> Tensor:
    alpha, beta = node.get("alpha", 0.2), node.get("beta", 0.5)
    if abs(alpha - 1 / 6) < 1e-6 and beta == 0.5:
        return F.hardsigmoid(x)
    return torch.clamp(x * alpha + beta, 0, 1)


def _selu(node: Node, x: Tensor) -> Tensor:
    alpha, gamma = (
        node.get("alpha", 1.67326319217681884765625),
        node.get("gamma", 1.05070102214813232421875),
    )
    return torch.where(x > 0, x, alpha * (torch.exp(x) - 1)) * gamma


def _celu(node: Node, x: Tensor) -> Tensor:
    return F.celu(x, node.get("alpha", 1.0))


def _shrink(node: Node, x: Tensor) -> Tensor:
    bias, limit = node.get("bias", 0.0), node.get("lambd", 0.5)
    return torch.where(x < -limit, x + bias, torch.where(x > limit, x - bias, x * 0))


def _extreme_index(f: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def run(node: Node, x: Tensor) -> Tensor:
        if node.get("select_last_index", 0):
            raise node.fail("takes the last of equal elements")
        axis = axis_of(node.get("axis", 0), x.ndim)
        return f(x, dim=axis, keepdim=bool(node.get("keepdims", 1)))

    return run


def _top(node: Node, x: Tensor, k: Any) -> tuple[Tensor, Tensor]:
    axis = axis_of(node.get("axis", -1), x.ndim)
    found = torch.topk(x, k.one(), axis, bool(node.get("largest", 1)), bool(node.get("sorted", 1)))
    return found.values, found.indices


def _running_sum(node: Node, x: Tensor, axis: Known) -> Tensor:
    if node.get("exclusive", 0) or node.get("reverse", 0):
        raise node.fail("is exclusive or runs backwards")
    return torch.cumsum(x, axis.one())


def _identity(node: Node, x: Any, *rest: Any) -> Any:
    return x


def _dropout(node: Node, x: Any, *rest: Any) -> Any:
    if len(rest) > 1 and isinstance(rest[1], Known) and rest[1].one():
        raise node.fail("drops at random (training_mode is true)")
    ratio = node.get("ratio", 0.5)
    out = F.dropout(x, ratio, node.training) if isinstance(x, Tensor) else x
    return (out, torch.ones_like(x, dtype=torch.bool)) if node.outputs > 1 else out


def _gelu(node: Node, x: Tensor) -> Tensor:
    return F.gelu(x, approximate=node.get("approximate", "none"))


CASTED = Row(_cast, known=_cast_known)
MAX, MIN = (folded(_extreme(f, clamp), g) for f, clamp, g in
            ((torch.maximum, "min", max), (torch.minimum, "max", min)))  # fmt: skip

ROWS: Rows = {
    "Add": (both(operator.add),),
    "Sub": (both(operator.sub),),
    "Mul": (both(operator.mul),),
    "Div": (both(_divide, divided),),
    "Pow": (both(_power, operator.pow),),
    "Mod": (Row(_mod, known=both(operator.mod).known, scalars=True),),
    "Sum": (folded(_add, operator.add),),
    "Mean": (Row(_mean),),
    "Max": (MAX,),
    "Min": (MIN,),
    "Equal": (both(operator.eq, dtype=torch.bool),),
    "Greater": (both(operator.gt, dtype=torch.bool),),
    "GreaterOrEqual": (both(operator.ge, dtype=torch.bool),),
    "Less": (both(operator.lt, dtype=torch.bool),),
    "LessOrEqual": (both(operator.le, dtype=torch.bool),),
    "And": (both(torch.logical_and, lambda a, b: a and b),),
    "Or": (both(torch.logical_or, lambda a, b: a or b),),
    "Xor": (both(torch.logical_xor, operator.xor),),
    "Not": (both(torch.logical_not, operator.not_),),
    "Neg": (both(operator.neg),),
    "Abs": (both(torch.abs, abs),),
    "Sqrt": (both(torch.sqrt, math.sqrt),),
    "Exp": (one(torch.exp),),
    "Log": (one(torch.log),),
    "Sin": (one(torch.sin),),
    "Cos": (one(torch.cos),),
    "Tan": (one(torch.tan),),
    "Asin": (one(torch.asin),),
    "Acos": (one(torch.acos),),
    "Atan": (one(torch.atan),),
    "Sinh": (one(torch.sinh),),
    "Cosh": (one(torch.cosh),),
    "Erf": (one(torch.erf),),
    "Sign": (one(torch.sign),),
    "IsNaN": (one(torch.isnan),),
    "Floor": (both(torch.floor, floor),),
    "Ceil": (both(torch.ceil, ceil),),
    "Round": (both(torch.round, even),),
    "Reciprocal": (both(torch.reciprocal, lambda v: 1 / v),),
    "Relu": (one(F.relu),),
    "Sigmoid": (one(torch.sigmoid),),
    "Tanh": (one(torch.tanh),),
    "Softplus": (one(F.softplus),),
    "Softsign": (one(F.softsign),),
    "HardSwish": (one(F.hardswish),),
    "Mish": (one(F.mish),),
    "Gelu": (Row(_gelu),),
    "HardSigmoid": (Row(_hard_sigmoid),),
    "LeakyRelu": (Row(lambda node, x: F.leaky_relu(x, node.get("alpha", 0.01))),),
    "Elu": (Row(lambda node, x: F.elu(x, node.get("alpha", 1.0))),),
    "Celu": (Row(_celu),),
    "Selu": (Row(_selu),),
    "ThresholdedRelu": (Row(lambda node, x: x * (x > node.get("alpha", 1.0))),),
    "Shrink": (Row(_shrink),),
    "PRelu": (Row(_prelu, leaves=("", "weight")),),
    "Clip": (Row(_clip, numbers=(1, 2)),),
    "Where": (Row(_where, known=_where_known),),
    "Cast": (CASTED,),
    "CastLike": (Row(_cast_like, since=15),),
    "Identity": (Row(_identity, known=_identity),),
    "Dropout": (Row(_dropout),),
    "Softmax": (
        Row(_flat(torch.softmax), until=12),
        Row(_along(torch.softmax), since=13),
    ),
    "LogSoftmax": (
        Row(_flat(torch.log_softmax), until=12),
        Row(_along(torch.log_softmax), since=13),
    ),
    "ArgMax": (Row(_extreme_index(torch.argmax)),),
    "ArgMin": (Row(_extreme_index(torch.argmin)),),
    "TopK": (Row(_top, since=10, numbers=(1,)),),
    "CumSum": (Row(_running_sum, numbers=(1,)),),
}
