"""The cost of any widths at once: one polynomial fitted to the cost model, exactly.

Every length is affine in the widths and every layer's cost a product of at most two of them, so the
whole is F(w) = F(W) + sum a_i d_i + sum b_ij d_i d_j with d = W - w, and only groups that meet in a
layer have a b_ij. A search asks for thousands of costs; the model itself takes milliseconds each.
Where a group vanishes, layers leave with it: then the model itself is asked, once for all widths.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..graph import Cost, Graph, cost


class Counts:
    """``at(widths)`` is ``cost(graph, widths)``'s FLOPs, parameters or bytes (missing groups: whole)."""

    def __init__(self, graph: Graph, what: str) -> None:
        self.graph, self.what = graph, what
        self.vanished: dict[tuple[int, ...], float] = {}  # what the model said where groups vanish
        self.names = list(graph.groups)
        self.full = np.array([graph.groups[n].width for n in self.names], float)
        whole = cost(graph)
        self.dense = getattr(whole, what)
        n = len(self.names)
        self.linear, self.square = np.zeros(n), np.zeros((n, n))
        touched: list[set[int]] = []
        single: list[float] = []  # F at width 1 of one group, less F(W)
        for i, name in enumerate(self.names):
            W = graph.groups[name].width
            one = cost(graph, {name: 1})
            single.append(getattr(one, what) - self.dense)
            touched.append(_differ(whole, one, what))
            if W > 2:  # two more points decide a and b; a group of two has but one other width
                middle = (W + 1) // 2
                d1, d2 = W - 1, W - middle
                f1, f2 = single[-1], getattr(cost(graph, {name: middle}), what) - self.dense
                self.square[i, i] = (f1 / d1 - f2 / d2) / (d1 - d2)
                self.linear[i] = f1 / d1 - self.square[i, i] * d1
            elif W == 2:
                self.linear[i] = single[-1]
        for i in range(n):
            for j in range(i + 1, n):
                if touched[i] & touched[j]:  # of none that is 1 wide
                    both = getattr(cost(graph, {self.names[i]: 1, self.names[j]: 1}), what)
                    rest = both - self.dense - single[i] - single[j]
                    self.square[i, j] = rest / ((self.full[i] - 1) * (self.full[j] - 1))

    def at(self, widths: Mapping[str, int]) -> float:
        pairs = zip(self.names, self.full, strict=True)
        asked = tuple(int(widths.get(name, full)) for name, full in pairs)
        if 0 in asked:
            return self._vanished(asked)
        d = self.full - asked
        return float(self.dense + self.linear @ d + d @ self.square @ d)

    def _vanished(self, asked: tuple[int, ...]) -> float:
        if asked not in self.vanished:
            found = cost(self.graph, dict(zip(self.names, asked, strict=True)))
            self.vanished[asked] = float(getattr(found, self.what))
        return self.vanished[asked]


def _differ(a: Cost, b: Cost, what: str) -> set[int]:
    """Rows whose cost is another."""
    pairs = zip(a.rows, b.rows, strict=True)
    return {i for i, (x, y) in enumerate(pairs) if getattr(x, what) != getattr(y, what)}
