"""The cost of any widths at once: one polynomial fitted to the cost model, exactly.

Every length is affine in the widths and every layer's cost a product of at most two of them, so the
whole is F(w) = F(W) + sum a_i d_i + sum b_ij d_i d_j with d = W - w, and only groups that meet in a
layer have a b_ij. A search asks for thousands of costs; the model itself takes milliseconds each.
Where groups vanish, layers leave with them, and what is left has a polynomial of its own: it is
fitted once the model itself has been asked about these groups many times.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..graph import Cost, Graph, cost

ASKED = 50  # times that the model itself is asked about the same groups gone, before a fit pays


class Counts:
    """``at(widths)`` is ``cost(graph, widths)``'s FLOPs, parameters or bytes (missing groups: whole)."""

    def __init__(self, graph: Graph, what: str) -> None:
        self.graph, self.what = graph, what
        whole = _Fit(graph, what, frozenset())
        self.fits = {frozenset[str](): whole}  # by the groups that are gone
        self.known: dict[frozenset[str], dict[frozenset[tuple[str, int]], float]] = {}
        self.dense = whole.dense

    def at(self, widths: Mapping[str, int]) -> float:
        gone = frozenset(name for name, width in widths.items() if not width)
        if gone and gone not in self.fits:
            return self._without(gone, widths)
        return self.fits[gone].at(widths)

    def _without(self, gone: frozenset[str], widths: Mapping[str, int]) -> float:
        known = self.known.setdefault(gone, {})
        asked = frozenset(widths.items())
        if asked not in known:
            known[asked] = float(getattr(cost(self.graph, widths), self.what))
        if len(known) >= ASKED:
            self.fits[gone] = _Fit(self.graph, self.what, gone)
        return known[asked]


class _Fit:
    """The polynomial in the widths of the groups that are not ``gone``."""

    def __init__(self, graph: Graph, what: str, gone: frozenset[str]) -> None:
        self.names = [name for name in graph.groups if name not in gone]
        self.full = np.array([graph.groups[n].width for n in self.names], float)

        def counted(widths: Mapping[str, int]) -> Cost:
            return cost(graph, {**dict.fromkeys(gone, 0), **widths})

        whole = counted({})
        self.dense = float(getattr(whole, what))
        n = len(self.names)
        self.linear, self.square = np.zeros(n), np.zeros((n, n))
        touched: list[set[int]] = []
        single: list[float] = []  # F at width 1 of one group, less F(W)
        for i, name in enumerate(self.names):
            W = graph.groups[name].width
            one = counted({name: 1})
            single.append(getattr(one, what) - self.dense)
            touched.append(_differ(whole, one, what))
            if W > 2:  # two more points decide a and b; a group of two has but one other width
                middle = (W + 1) // 2
                d1, d2 = W - 1, W - middle
                f1, f2 = single[-1], getattr(counted({name: middle}), what) - self.dense
                self.square[i, i] = (f1 / d1 - f2 / d2) / (d1 - d2)
                self.linear[i] = f1 / d1 - self.square[i, i] * d1
            elif W == 2:
                self.linear[i] = single[-1]
        for i in range(n):
            for j in range(i + 1, n):
                if touched[i] & touched[j]:  # of none that is 1 wide
                    both = getattr(counted({self.names[i]: 1, self.names[j]: 1}), what)
                    rest = both - self.dense - single[i] - single[j]
                    self.square[i, j] = rest / ((self.full[i] - 1) * (self.full[j] - 1))

    def at(self, widths: Mapping[str, int]) -> float:
        d = self.full - [
            widths.get(name, full) for name, full in zip(self.names, self.full, strict=True)
        ]
        return float(self.dense + self.linear @ d + d @ self.square @ d)


def _differ(a: Cost, b: Cost, what: str) -> set[int]:
    """Rows whose cost is another."""
    pairs = zip(a.rows, b.rows, strict=True)
    return {i for i, (x, y) in enumerate(pairs) if getattr(x, what) != getattr(y, what)}
