"""Operators along axes: windows, mixes, reductions, and foldings of patches."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from torch import fx

from ..follow import Follow, labelled, plain, shape_of
from ..labels import Labelled, Vector, axes_of
from . import shapes, written_out
from .pointwise import pointwise
from .row import Operator


def window(f: Follow, node: fx.Node, x: Labelled, *args: Any, spatial: int, **kwargs: Any) -> Any:
    """Pools and upsampling mix within the last ``spatial`` axes only."""
    if x.axis is not None and x.axis >= x.ndim - spatial:
        x = f.pin(node, x, "channels lie along an axis that is pooled")
    return _like_plain(node, x.axis, x.labels)


def mix(f: Follow, node: fx.Node, x: Labelled, dim: Any = None, *args: Any, **kwargs: Any) -> Any:
    """Elements along ``dim`` mix (softmax, cumsum ...), the shape stays."""
    x = f.data(x)
    if x.axis in axes_of(dim, x.ndim):
        x = f.pin(node, x, "mixes channels with each other")
    return Labelled(shape_of(node), x.axis, x.labels, x.constant)


def reduce(
    f: Follow,
    node: fx.Node,
    x: Labelled,
    *args: Any,
    contracts: bool = False,
    **kwargs: Any,
) -> Any:
    """Sums, means, maxima along axes. A sum reads dropped channels as zero; others cannot."""
    dim = kwargs.get("dim", args[0] if args else None)
    if isinstance(dim, Labelled):  # max(x, y)
        return pointwise(f, node, x, dim)
    x = f.data(x)
    axes = axes_of(dim, x.ndim)
    if x.axis in axes:
        if not contracts:
            f.pin(node, x, "reduces over channels")
        else:
            f.contract(node, node.all_input_nodes[0], x.axis, f.labels(x, x.axis))
        return plain(node)
    if x.axis is None:
        return plain(node)
    kept = len(shape_of(node)) == x.ndim
    axis = x.axis if kept else x.axis - sum(a < x.axis for a in axes)
    return _like_plain(node, axis, x.labels, x.constant)


def norm(f: Follow, node: fx.Node, x: Labelled, order: Any = 2, *args: Any, **kwargs: Any) -> Any:
    """A p-norm reads dropped channels as zero, for p > 0."""
    positive = order is None or (isinstance(order, int | float) and order > 0)
    return reduce(f, node, x, *args, contracts=positive, **kwargs)


def _like_plain(
    node: fx.Node, axis: int | None, labels: Vector | None, constant: bool = False
) -> Any:
    """The node's output, or each of its outputs that has that axis, with these labels."""

    def label(x: Any) -> Any:
        fits = axis is not None and isinstance(x, Labelled) and x.ndim > axis
        fits = fits and x.shape[axis] == len(labels)  # type: ignore[arg-type,index]
        return Labelled(x.shape, axis, labels, constant) if fits else x

    out = plain(node)
    return [label(x) for x in out] if isinstance(out, list | tuple) else label(out)


def spectrum(
    f: Follow, node: fx.Node, x: Labelled, size: Any = None, dim: Any = None, *args: Any,
    default: Any = None, **kwargs: Any,
) -> Any:  # fmt: skip
    """A Fourier transform: what lies along its axes mixes, and may get another length."""
    dim = kwargs.get("dim", dim) or default
    size = kwargs.get("s", size)
    if dim is None and isinstance(size, list | tuple):
        dim = list(range(-len(size), 0))
    x = f.data(x)
    if x.axis in axes_of(dim, x.ndim):
        x = f.pin(node, x, "mixes channels with each other")
    return _like_plain(node, x.axis, x.labels)


def reads(f: Follow, node: fx.Node, *args: Any, reason: str, **kwargs: Any) -> Any:
    """What it gives bears no channels; its parameters (a window) stay without a word."""
    for x in labelled((args, kwargs)):
        if x.name is not None:
            f.hold(x)
        else:
            f.pin(node, x, reason)
    return plain(node)


def unpool(
    f: Follow, node: fx.Node, x: Labelled, places: Labelled, *args: Any, spatial: int
) -> Any:
    """Each channel goes back to where its own maxima came from."""
    if x.axis != x.ndim - spatial - 1:
        x = f.pin(node, x, "channels lie along an axis that is pooled")
        f.pin(node, places, "says where another tensor's elements go")
        return plain(node)
    if not places.on(x.axis):
        f.pin(node, x, "goes to places that cannot be cut")
    f.tie(places, x.axis, f.labels(x, x.axis))
    return f.result(node, x.axis, f.labels(x, x.axis))


def order(f: Follow, node: fx.Node, x: Labelled, *args: Any, at: int, **kwargs: Any) -> Any:
    """topk, sort: elements along one axis change places; ``at``: which argument the axis is."""
    dim = kwargs.get("dim", args[at] if len(args) > at else -1)
    x = f.data(x)
    if x.on(dim):
        x = f.pin(node, x, "sorts channels among each other")
    return _like_plain(node, x.axis, x.labels)


def gather(f: Follow, node: fx.Node, x: Labelled, dim: int, index: Labelled, **kw: Any) -> Any:
    """Elements along one axis, where the index says; along all others both lie beside each other."""
    x, index = f.data(x), f.data(index)
    axis = x.axis if x.axis is not None else index.axis
    if axis is None:
        return plain(node)
    alike = axis != dim % x.ndim and x.ndim == index.ndim and x.shape[axis] == index.shape[axis]
    if not (alike and x.on(axis) and index.on(axis)):
        for each in (x, index):
            f.pin(node, each, "is gathered along channels, or by what cannot be cut")
        return plain(node)
    f.classes.union(f.labels(x, axis), f.labels(index, axis))
    return f.result(node, axis, f.labels(x, axis))


def glu(f: Follow, node: fx.Node, x: Labelled, dim: int = -1) -> Any:
    """One half times the sigmoid of the other: channel c leaves with channel c + C/2."""
    if not x.on(dim):
        return Labelled(shape_of(node), x.axis, x.labels)
    first, second = f.labels(x, dim).reshape(2, -1)
    f.classes.union(first, second)
    return f.result(node, dim, first)


def im2col(f: Follow, node: fx.Node, x: Labelled, kernel: Sequence[int], *args: Any) -> Any:
    """(N, C, H, W) to (N, C * kernel, places): each channel's patch lies together."""
    if x.axis not in (None, 1):
        x = f.pin(node, x, "channels lie along an axis that is unfolded")
    return f.result(node, 1, np.repeat(f.labels(x, 1), int(np.prod(kernel))))


def col2im(
    f: Follow, node: fx.Node, x: Labelled, size: Sequence[int], kernel: Sequence[int], *args: Any
) -> Any:
    """The way back: a channel's patch leaves together."""
    if x.axis not in (None, 1):
        x = f.pin(node, x, "channels lie along an axis that is folded")
    patches = f.labels(x, 1).reshape(-1, int(np.prod(kernel)))
    f.classes.union(patches, patches[:, :1])
    return f.result(node, 1, patches[:, 0])


def grid_sample(f: Follow, node: fx.Node, x: Labelled, grid: Labelled, *args: Any) -> Any:
    """Every channel is read at the same places."""
    grid = f.pin(node, f.data(grid), "says where to sample")
    if x.axis not in (None, 1):
        x = f.pin(node, x, "channels lie along an axis that is sampled")
    return f.result(node, 1, f.labels(x, 1))


ROWS = (
    Operator(
        "max_pool1d avg_pool1d adaptive_max_pool1d max_pool1d_with_indices"
        " upsample_nearest1d upsample_linear1d reflection_pad1d replication_pad1d",
        partial(window, spatial=1),
    ),
    Operator(
        "max_pool2d avg_pool2d adaptive_max_pool2d max_pool2d_with_indices upsample_nearest2d"
        " _upsample_nearest_exact2d upsample_bilinear2d _upsample_bilinear2d_aa"
        " upsample_bicubic2d reflection_pad2d replication_pad2d",
        partial(window, spatial=2),
    ),
    Operator(
        "max_pool3d avg_pool3d adaptive_max_pool3d max_pool3d_with_indices"
        " upsample_nearest3d upsample_trilinear3d",
        partial(window, spatial=3),
    ),
    Operator("adaptive_avg_pool1d", partial(window, spatial=1), averages=True),
    Operator(
        "adaptive_avg_pool2d _adaptive_avg_pool2d",
        partial(window, spatial=2),
        averages=True,
        shape=shapes.pooled,
    ),
    Operator("adaptive_avg_pool3d", partial(window, spatial=3), averages=True),
    Operator("softmax _softmax log_softmax cumsum cumprod softmin", mix),
    Operator("sum", partial(reduce, contracts=True)),
    Operator("linalg_vector_norm norm", norm),
    Operator("mean", reduce, exact=written_out.mean, averages=True, shape=shapes.reduced),
    Operator("amax amin", reduce, averages=True),
    Operator("prod std var var_mean max min argmax argmin", reduce),
    Operator(
        "fft_fft fft_ifft fft_rfft fft_irfft fft_hfft fft_ihfft", partial(spectrum, default=-1)
    ),
    Operator(
        "fft_fft2 fft_ifft2 fft_rfft2 fft_irfft2 fft_hfft2 fft_ihfft2",
        partial(spectrum, default=[-2, -1]),
    ),
    Operator("fft_fftn fft_ifftn fft_rfftn fft_irfftn fft_hfftn fft_ihfftn", spectrum),
    Operator("view_as_real", partial(window, spatial=0)),
    Operator("view_as_complex", partial(window, spatial=1)),
    Operator("fft_fftshift fft_ifftshift", mix),
    Operator("stft istft", partial(reads, reason="its frames are taken apart")),
    Operator("affine_grid_generator", partial(reads, reason="says where to sample")),
    Operator("meshgrid", partial(reads, reason="is repeated along other axes")),
    Operator("max_unpool2d", partial(unpool, spatial=2)),
    Operator("max_unpool3d", partial(unpool, spatial=3)),
    Operator("topk", partial(order, at=1)),
    Operator("sort argsort", partial(order, at=0)),
    Operator("gather", gather),
    Operator("glu", glu),
    Operator("im2col", im2col),
    Operator("col2im", col2im),
    Operator("grid_sampler grid_sampler_2d grid_sampler_3d", grid_sample),
)
