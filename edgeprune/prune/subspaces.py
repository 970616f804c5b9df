"""Which maps lie in one subspace: sparse subspace clustering (Elhamifar & Vidal 2013; Wang et al. 2018).

Each map is written as few of the others: min |C|_1 + lam/2 |X - X C|^2, diag(C) = 0. Maps that need each
other are near (|C| + |C|'), and spectral clustering parts them. Only S = X'X is needed of the maps. Both
are scikit-learn's.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

LAMBDA = 20.0  # lam in units of the least that writes every map by another one (Elhamifar & Vidal)
ROUNDS = 200  # of coordinate descent; what is left then changes no cluster (assumption)


def coefficients(S: Tensor) -> Tensor:
    """C [n, n] of maps with the second moments ``S`` [n, n], none of them 0; column j makes map j."""
    from sklearn.linear_model import Lasso

    size = S.diagonal().sqrt()
    G = (S / torch.outer(size, size)).double().numpy()  # maps of length 1
    n = len(G)
    alone = np.abs(G - np.diag(np.diag(G)))
    least = float(alone.max(0).min()) if n > 1 else 0.0
    C = np.zeros((n, n))
    if not least > 0:  # a map that nothing can help to make: nor can lam be told by it
        least = float(alone.max(initial=0.0))
    if not least > 0:
        return torch.from_numpy(C)
    values, vectors = np.linalg.eigh(G)
    X = (np.sqrt(np.clip(values, 0, None))[:, None] * vectors.T).copy()  # X'X = G, n rows
    fit = Lasso(least / LAMBDA / n, fit_intercept=False, precompute=True, max_iter=ROUNDS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of rounds that did not do
        for j in range(n):
            others = np.delete(np.arange(n), j)
            fit.precompute = np.ascontiguousarray(G[np.ix_(others, others)])
            C[others, j] = fit.fit(X[:, others], X[:, j]).coef_
    return torch.from_numpy(C)


def clusters(C: Tensor, k: int) -> NDArray[Any]:
    """The cluster of each map, 0..k-1, by spectral clustering of |C| + |C|'."""
    from sklearn.cluster import SpectralClustering

    if k == 1:
        return np.zeros(len(C), np.int64)
    near = (C.abs() + C.abs().T).numpy()
    by = SpectralClustering(
        k, affinity="precomputed", eigen_solver="lobpcg", assign_labels="cluster_qr", random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # clusters that nothing joins are what is looked for
        found: NDArray[Any] = by.fit(near).labels_
    return found
