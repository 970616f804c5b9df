"""Labels: which channel each element of a tensor bears, and which channels are one class.

A label is a number; label 0 is the pinned class, that which never leaves. Beside each tensor walks
a :class:`Labelled` in normal form: at most one axis along which labels differ. Classes are kept by
a union-find that always keeps the smaller root, so that pinning is a union with 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Vector = NDArray[np.int64]
PINNED = 0
MADE = "@"  # before the name of a tensor that the forward makes of a size alone


@dataclass(frozen=True, eq=False)
class Labelled:
    """The labels of one tensor: those of ``axis``, constant along all others; None: all pinned."""

    shape: tuple[int, ...]  # of the traced example
    axis: int | None = None
    labels: Vector | None = None  # [shape[axis]]
    constant: bool = False  # computed from parameters and buffers alone
    name: str | None = None  # of the parameter, buffer or folded constant that this tensor is
    free: bool = False  # its labels were made by repeating one element: they give way to all others

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def made(self) -> bool:
        """A tensor made of nothing but its written size (zeros), which can follow any other."""
        return self.name is not None and self.name.startswith(MADE)

    @property
    def is_vector(self) -> bool:
        """One axis longer than 1 at most: its labels can be followed like a feature map's."""
        return sum(size > 1 for size in self.shape) <= 1

    def at_one_place(self) -> Labelled:
        """The labelled axis alone, all others of size 1."""
        shape = tuple(size if self.on(axis) else 1 for axis, size in enumerate(self.shape))
        return replace(self, shape=shape)

    def array(self) -> Tensor:
        """int64 labels in the tensor's shape, expanded (no memory beyond the vector)."""
        if self.axis is None or self.labels is None:
            return torch.zeros((), dtype=torch.int64).expand(self.shape)
        vector = torch.from_numpy(self.labels)
        return vector.reshape([-1] + [1] * (self.ndim - self.axis - 1)).expand(self.shape)

    def on(self, axis: int) -> bool:
        """Whether the labels lie on ``axis`` (negative: from the right)."""
        return self.axis is not None and self.axis == axis % self.ndim


def axes_of(dim: Any, ndim: int) -> set[int]:
    """The axes that a ``dim`` argument means; None or empty: all."""
    if dim is None or (isinstance(dim, list | tuple) and not dim):
        return set(range(ndim))
    return {d % ndim for d in (dim if isinstance(dim, list | tuple) else [dim])}


class Classes:
    """Union-find over labels, vectorised. What is asked for is compressed, and no more."""

    def __init__(self) -> None:
        self._parent: Vector = np.zeros(1024, np.int64)  # room for more than there are
        self._made = 1

    @property
    def parent(self) -> Vector:
        """The class of each label."""
        self.find(np.arange(self._made))
        return self._parent[: self._made].copy()

    def fresh(self, n: int) -> Vector:
        """``n`` new labels, each a class of its own."""
        labels = np.arange(self._made, self._made + n)
        if self._made + n > len(self._parent):
            self._parent = np.concatenate([self._parent, np.zeros(self._made + n, np.int64)])
        self._parent[labels] = labels
        self._made += n
        return labels

    def fresh_in(self, classes: Vector, n: int) -> Vector:
        """``n`` new labels, each in the class of its one of these labels (broadcast)."""
        labels = self.fresh(n)
        self._parent[labels] = self.find(classes)
        return labels

    def find(self, labels: Vector) -> Vector:
        """The class of each of these labels: the least label in it."""
        found = self._parent[labels]
        above = self._parent[found]
        if np.array_equal(found, above):
            return found
        while not np.array_equal(found, above):
            found, above = above, self._parent[above]
        self._parent[labels] = found
        return found

    def union(self, a: Vector, b: Vector | int) -> None:
        """Make ``a[i]`` and ``b[i]`` one class (broadcast)."""
        a, b = np.broadcast_arrays(a, b)
        while True:
            ra, rb = self.find(a), self.find(b)
            differ = ra != rb
            if not differ.any():
                return
            low = np.minimum(ra, rb)[differ]
            np.minimum.at(self._parent, np.maximum(ra, rb)[differ], low)

    def pin(self, labels: Vector) -> None:
        self.union(labels, PINNED)

    def normal_form(
        self, array: Tensor, constant: bool = False, places: Sequence[int] = ()
    ) -> Labelled:
        """``array`` (int64 labels of each element) with one labelled axis at most.

        If labels differ along several axes, one stays and what differs along the others becomes one
        class: this couples a shuffle's or an attention head's channels exactly as far as a
        rectangular tensor demands. It is none of ``places`` (axes as long as the input says), if there is
        a choice; else that which leaves most classes, of equals the last.
        """
        shape = tuple(array.shape)
        roots = self.find(_narrow(array).numpy())
        axes = [d for d in range(roots.ndim) if _varies(roots, d)]
        if not axes:
            if roots.size:
                self.pin(roots.reshape(-1)[:1])
            return Labelled(shape, constant=constant)

        def rank(d: int) -> tuple[bool, int, int]:
            return d not in places, _components(roots, d), d

        axis = axes[0] if len(axes) == 1 else max(axes, key=rank)
        rows = np.moveaxis(roots, axis, 0).reshape(roots.shape[axis], -1)
        if len(axes) > 1:
            self.union(rows, rows[:, :1])
        labels = self.find(rows[:, 0])
        if (labels == labels[0]).all():
            self.pin(labels[:1])
            return Labelled(shape, constant=constant)
        return Labelled(shape, axis, labels, constant)


def _narrow(array: Tensor) -> Tensor:
    """Expanded axes (stride 0) hold one value many times: look at it once."""
    for d, (size, stride) in enumerate(zip(array.shape, array.stride(), strict=True)):
        if stride == 0 and size > 1:
            array = array.narrow(d, 0, 1)
    return array


def _varies(roots: Vector, axis: int) -> bool:
    return roots.shape[axis] > 1 and bool((roots != roots.take([0], axis)).any())


def _components(roots: Vector, axis: int) -> int:
    """Classes left if all labels with one index on ``axis`` become one (index <-> label graph)."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    rows = np.moveaxis(roots, axis, 0).reshape(roots.shape[axis], -1)
    _, labels = np.unique(rows, return_inverse=True)
    labels = labels.reshape(rows.shape)
    index = np.broadcast_to(np.arange(len(rows))[:, None], rows.shape)
    n = len(rows) + int(labels.max()) + 1
    edges = (index.ravel(), len(rows) + labels.ravel())
    return int(connected_components(coo_matrix((np.ones(rows.size), edges), (n, n)))[0])
