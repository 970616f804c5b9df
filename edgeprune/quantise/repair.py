"""A float network changed so that its 8 bits give what it gave: one row a step.

Each step works on a copy of the file's network (`network.Network`), layer by layer from front to back, by
the engine that repairs pruned networks (`prune.compensate`): a layer reads what the rounded network gives
it, and is to give what the float one gave.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ..prune.compensate import Regression, Repaired, Solver, least_squares, mean_only, through
from .equalise import equalise
from .grid import LEAST, rounded, rounded_in_turn
from .network import Network, look, rounding
from .ranges import Rule


def bias(network: Network, rule: Rule) -> list[Repaired]:
    """The mean of each filter's error goes into its bias (Banner 2018; Nagel 2019, section 4.2)."""
    return _walked(network, rule, _rounded(mean_only))


def lstsq(network: Network, rule: Rule) -> list[Repaired]:
    """Weights and biases by least squares on the rounded inputs, shrunk to what they were; then `bias`."""
    return _walked(network, rule, _rounded(least_squares))


def fitted(network: Network, rule: Rule) -> list[Repaired]:
    """As `lstsq`, each weight rounded so that what the others still can is made up for by them."""
    return _walked(network, rule, _fitted)


STEPS: dict[str, Callable[[Network, Rule], list[Repaired]]] = {
    "equalise": equalise, "bias": bias, "lstsq": lstsq, "fitted": fitted,
}  # fmt: skip


def _walked(network: Network, rule: Rule, solver: Solver) -> list[Repaired]:
    passed = rounding(look(network.whole, network.images), rule)
    return through(network.whole, network.copy, network.images, passed, solver)


def _rounded(solver: Solver) -> Solver:
    """The solver's weights as 8 bits hold them: the offset is then found for these."""

    def solve(
        both: Regression, halves: list[Regression], W0: Tensor, weights: Tensor
    ) -> tuple[Tensor, Repaired]:
        W, result = solver(both, halves, W0, weights)
        return rounded(W), result

    return solve


def _fitted(
    both: Regression, halves: list[Regression], W0: Tensor, weights: Tensor
) -> tuple[Tensor, Repaired]:
    W, result = least_squares(both, halves, W0, weights)
    return rounded_in_turn(W, both.S, max(result.ridge, LEAST)), result
