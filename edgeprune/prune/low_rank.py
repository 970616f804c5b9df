"""Low rank: a layer becomes a pair of thinner ones (Denton et al. 2014; Jaderberg et al. 2014).

The weights of a dense layer, or of a convolution read as a matrix [O, I kh kw], are U S V'. "channels": first
sqrt(S) V' with the layer's own kernel and stride, then U sqrt(S), 1 x 1. A convolution of several rows and
columns may be parted between these instead, as a matrix [I kh, O kw]: a column, then a row ("spatial").
Kept are the r largest singular values s, the smallest r with

    s_1^2 + ... + s_r^2 >= energy (s_1^2 + s_2^2 + ...)

At full rank the pair computes what the layer did. A rank is a channel of the pair's middle, a group like any
other, the one of most energy first: so a choice of ranks is a keep, and what cuts, repairs, exports and
measures networks needs nothing more.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

CHANNELS, SPATIAL = "channels", "spatial"
HALVINGS = 30  # of the interval that the energy is looked for in


@dataclass(frozen=True)
class Factor:
    """How a layer is written as a pair."""

    form: str  # CHANNELS or SPATIAL
    rank: int
    share: float  # of the layer's weights (and multiplications, but at borders) that the pair has


def layers(model: nn.Module) -> dict[str, nn.Conv2d | nn.Linear]:
    """Those that can be written as a pair: plain, and alone with their weights."""
    owners: dict[int, int] = {}
    for _, p in model.named_parameters(remove_duplicate=False):
        owners[id(p)] = owners.get(id(p), 0) + 1
    return {
        name: module for name, module in model.named_modules()
        if name and owners.get(id(getattr(module, "weight", None))) == 1 and forms(module)
        and isinstance(module, nn.Conv2d | nn.Linear)
    }  # fmt: skip


def forms(layer: nn.Module) -> tuple[str, ...]:
    """The ways in which a layer can be parted; of strided convolutions one, for a column and a row that are
    strided one after the other multiply more."""
    if type(layer) is nn.Linear:
        return (CHANNELS,)
    if type(layer) is not nn.Conv2d or layer.groups > 1:
        return ()
    several = min(layer.kernel_size) > 1 and set(layer.stride) == {1}
    return (CHANNELS, SPATIAL) if several and layer.padding_mode == "zeros" else (CHANNELS,)


def matrix(weight: Tensor, form: str) -> Tensor:
    """The weights [O, I, ...] as the matrix that is decomposed, float64."""
    W = weight.detach().double()
    return W.flatten(1) if form == CHANNELS else W.permute(1, 2, 0, 3).flatten(0, 1).flatten(1)


def rank(values: Tensor, energy: float) -> int:
    """The fewest of the singular ``values``, falling, that hold the share ``energy`` of their squares.

    >>> s = torch.tensor([3.0, 2.0, 1.0])  # squares 9, 4, 1 of 14
    >>> rank(s, 0.6), rank(s, 0.9), rank(s, 0.95), rank(s, 1.0)
    (1, 2, 3, 3)
    """
    held = values.double().square().cumsum(0)
    return min(len(values), 1 + int((held < energy * held[-1] * (1 - 1e-12)).sum()))


@dataclass(frozen=True, eq=False)
class Spectrum:
    """The singular values of a layer in one form, and what its weights and one rank take."""

    form: str
    values: Tensor
    weights: int  # of the layer
    one: int  # weights of the pair for each rank

    def at(self, energy: float, multiple: int = 1) -> Factor:
        """The pair that holds ``energy``, its rank a multiple as far as there are so many."""
        r = min(len(self.values), multiple * math.ceil(rank(self.values, energy) / multiple))
        return Factor(self.form, r, r * self.one / self.weights)


def spectra(model: nn.Module) -> dict[str, tuple[Spectrum, ...]]:
    """Of each layer that can be parted, in each form."""
    found = {}
    for name, layer in layers(model).items():
        parts = [(form, matrix(layer.weight, form)) for form in forms(layer)]
        found[name] = tuple(
            Spectrum(form, torch.linalg.svdvals(M), M.numel(), sum(M.shape)) for form, M in parts
        )
    return found


def chosen(
    seen: Mapping[str, tuple[Spectrum, ...]], energy: float, multiple: int = 1
) -> dict[str, Factor]:
    """Of each layer the smaller pair that holds ``energy``; layers that no pair makes smaller stay whole."""
    best = {
        name: min((s.at(energy, multiple) for s in own), key=lambda f: f.share)
        for name, own in seen.items()
    }
    return {name: factor for name, factor in best.items() if factor.share < 1}


def energy_for(
    seen: Mapping[str, tuple[Spectrum, ...]], costs: Mapping[str, float], total: float, share: float,
    multiple: int = 1,
) -> float | None:  # fmt: skip
    """The most energy that every layer can hold if ``share`` of ``total`` is to be left; None: none can.

    ``costs``: of each layer, in the same unit. A layer's cost falls as its weights do.
    """

    def left(energy: float) -> float:
        found = chosen(seen, energy, multiple)
        return 1 - sum(costs[name] * (1 - f.share) for name, f in found.items()) / total

    low, high = 0.0, 1.0
    if left(low) > share:
        return None
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if left(middle) <= share else (low, middle)
    return low


def pair(layer: nn.Conv2d | nn.Linear, form: str, weights: bool = True) -> nn.Sequential:
    """The layer as two, at full rank; without ``weights`` they are whatever they are."""
    bias = layer.bias is not None
    like = {"device": layer.weight.device, "dtype": layer.weight.dtype}
    M = matrix(layer.weight, form)
    r = min(M.shape)
    made: tuple[nn.Conv2d | nn.Linear, nn.Conv2d | nn.Linear]
    if isinstance(layer, nn.Linear):
        made = (
            nn.Linear(layer.in_features, r, bias=False, **like),
            nn.Linear(r, layer.out_features, bias, **like),
        )
    else:
        made = _convolutions(layer, form, r, like)
    if weights:
        _fill(made, M, layer, form)
    pair = nn.Sequential(*made)
    return pair.train(layer.training)


def _convolutions(
    layer: nn.Conv2d, form: str, r: int, like: Mapping[str, object]
) -> tuple[nn.Conv2d, nn.Conv2d]:
    bias = layer.bias is not None
    inputs, outputs, more = layer.in_channels, layer.out_channels, dict(like)
    if form == CHANNELS:
        first = nn.Conv2d(
            inputs, r, layer.kernel_size, layer.stride, layer.padding, layer.dilation,  # type: ignore[arg-type]
            bias=False, padding_mode=layer.padding_mode, **more,  # type: ignore[arg-type]
        )  # fmt: skip
        return first, nn.Conv2d(r, outputs, 1, bias=bias, **more)  # type: ignore[arg-type]
    (kh, kw), (dh, dw), pad = layer.kernel_size, layer.dilation, layer.padding
    down, along = (pad, pad) if isinstance(pad, str) else ((pad[0], 0), (0, pad[1]))
    return (
        nn.Conv2d(inputs, r, (kh, 1), 1, down, (dh, 1), bias=False, **more),  # type: ignore[arg-type]
        nn.Conv2d(r, outputs, (1, kw), 1, along, (1, dw), bias=bias, **more),  # type: ignore[arg-type]
    )


def _fill(made: tuple[nn.Module, nn.Module], M: Tensor, layer: nn.Module, form: str) -> None:
    """Both layers' weights, in place: sqrt(S) on either side."""
    U, S, V = torch.linalg.svd(M, full_matrices=False)
    left, right = U * S.sqrt(), S.sqrt()[:, None] * V
    first, second = (made[0].get_parameter("weight"), made[1].get_parameter("weight"))
    with torch.no_grad():
        if form == CHANNELS:
            first.copy_(right.reshape(first.shape))
            second.copy_(left.reshape(second.shape))
        else:  # M is [I kh, O kw]
            inputs, kh = first.shape[1], first.shape[2]
            outputs, kw = second.shape[0], second.shape[3]
            first.copy_(left.reshape(inputs, kh, -1).permute(2, 0, 1)[..., None])
            second.copy_(right.reshape(-1, outputs, kw).permute(1, 0, 2)[:, :, None])
        if getattr(layer, "bias", None) is not None:
            made[1].get_parameter("bias").copy_(layer.get_parameter("bias"))


def decomposed(model: nn.Module, how: Mapping[str, str], weights: bool = True) -> nn.Module:
    """A copy whose layers of ``how`` (name -> form) are pairs at full rank.

    ``weights``: that compute the same; else only their shapes are right, to be filled.
    """
    made = copy.deepcopy(model)
    there = layers(model)
    for name, form in how.items():
        if name not in there or form not in forms(there[name]):
            raise KeyError(name)
        made.set_submodule(name, pair(there[name], form, weights))
    return made


def middle(layer: str) -> str:
    """The group of a pair's ranks."""
    return f"{layer}.0"
