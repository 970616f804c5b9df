"""Optimizer state follows a cut: the new parameters take the old ones' places and moments."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor, nn


def follow_optimizer(
    optimizer: torch.optim.Optimizer,
    whole: nn.Module,
    small: nn.Module,
    cut: Callable[[str, Tensor], Tensor],
    sources: Callable[[str], Collection[str]],
) -> None:
    """Point ``optimizer`` at the parameters of ``small``, in place; moments are cut like theirs.

    ``sources``: of a parameter that ``whole`` has not, those of it that it was computed from.

    State in a parameter's shape (momentum, Adam's moments) is sliced; other state (step counts) is
    taken over. A parameter that was folded gives its place to what was computed from it.
    """
    new = dict(small.named_parameters(remove_duplicate=False))
    old = dict(whole.named_parameters(remove_duplicate=False))
    names: dict[Tensor, str] = {p: n for n, p in old.items() if n in new}
    heirs = {old[s]: new[n] for n in new if n not in old for s in sources(n) if s in old}
    placed: set[Tensor] = set()  # what was computed from several stands in the first one's group
    for group in optimizer.param_groups:
        places = [new[names[p]] if p in names else heirs.get(p) for p in group["params"]]
        own = dict.fromkeys(p for p in places if p is not None and p not in placed)
        group["params"] = list(own)
        placed.update(own)
    state: dict[Tensor, Any] = {}
    for p, values in optimizer.state.items():
        if p in names:
            state[new[names[p]]] = {
                key: cut(names[p], v) if _is_moment(v, p) else v for key, v in values.items()
            }
    optimizer.state.clear()
    optimizer.state.update(state)


def _is_moment(value: Any, parameter: Tensor) -> bool:
    return isinstance(value, Tensor) and value.ndim > 0 and value.shape == parameter.shape
