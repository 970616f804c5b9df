"""From files to cases: profile, roofline and what-ifs, in this order, each in a fresh process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import EdgepruneError, closest
from ..runtime import channel_block
from ..runtime.roofline import bound
from . import sweep
from .findings import Case, questions
from .layers import network
from .profile import profile

DEVICES = ("cpu",)  # where operators can be timed; other devices answer `edgeprune bench`


def examine(
    models: Sequence[Path],
    *,
    names: Sequence[str] | None = None,
    device: str = "cpu",
    seconds: float = 1.5,
    shapes: Mapping[str, Sequence[int]] = {},
) -> list[Case]:
    """One :class:`Case` a model, measured interleaved, about ``5 + 3 * seconds`` seconds.

    Raises :class:`EdgepruneError` for unknown devices and for files that are no models.
    """
    if device not in DEVICES:
        raise EdgepruneError(
            f"--device {device}", closest(device, DEVICES), "edgeprune bench times it there"
        )
    profiles = profile(models, seconds=seconds, shapes=shapes)
    flags = set(profiles[0].environment["cpu"]["flags"])
    block = channel_block(flags)
    networks = [
        network(name, p, block)
        for name, p in zip(names or [m.stem for m in models], profiles, strict=True)
    ]
    peaks = sweep.peaks(int8=any(n.int8 for n in networks))
    return [
        Case(
            network=n,
            peaks=peaks,
            bounds={layer.name: bound(layer, n, peaks) for layer in n.layers},
            what_if=sweep.what_if(questions(n), seconds=seconds),
            caches=p.environment["caches"],
        )
        for n, p in zip(networks, profiles, strict=True)
    ]
