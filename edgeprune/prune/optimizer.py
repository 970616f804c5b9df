"""Optimizer state follows a cut: the new parameters take the old ones' places and moments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def follow_optimizer(
    optimizer: torch.optim.Optimizer,
    old: nn.Module,
    new: nn.Module,
    cut: Callable[[str, Tensor], Tensor],
) -> None:
    """Point ``optimizer`` at ``new``'s parameters in place; moments are cut like their parameters.

    State in a parameter's shape (momentum, Adam's moments) is sliced; other state (step counts) is
    taken over. Parameters that the new network has not are dropped.
    """
    small = dict(new.named_parameters(remove_duplicate=False))
    names: dict[Tensor, str] = {
        p: n for n, p in old.named_parameters(remove_duplicate=False) if n in small
    }
    for group in optimizer.param_groups:
        group["params"] = [small[names[p]] for p in group["params"] if p in names]
    state: dict[Tensor, Any] = {}
    for p, values in optimizer.state.items():
        if p in names:
            state[small[names[p]]] = {
                key: cut(names[p], v)
                if isinstance(v, Tensor) and v.shape == p.shape and v.ndim
                else v
                for key, v in values.items()
            }
    optimizer.state.clear()
    optimizer.state.update(state)
