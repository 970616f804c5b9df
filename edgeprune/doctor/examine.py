"""From files to cases: profile, roofline and what-ifs, in this order, each in a fresh process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from ..errors import EdgepruneError, closest
from ..runtime import channel_block, predictor
from ..runtime.device import Device
from ..runtime.roofline import bound
from . import sweep
from .findings import Case, Said, questions
from .layers import network
from .profile import Watch, nobody, profile

DEVICES = ("cpu",)  # where operators can be timed; other devices answer `edgeprune bench`


SECONDS = 1.5  # of runs for each network, and as long again at other widths


def forecast(models: int, seconds: float = SECONDS) -> float:
    """Seconds that :func:`examine` takes where nothing else runs; on a busy machine, up to four times.

    It waits for runs that were not interrupted; reading the files and starting processes included.
    """
    return 6 + (3 + 2 * seconds) * models


def examine(
    models: Sequence[Path],
    *,
    names: Sequence[str] | None = None,
    device: str = "cpu",
    seconds: float = SECONDS,
    shapes: Mapping[str, Sequence[int]] = {},
    watch: Watch = nobody,
) -> list[Case]:
    """One :class:`Case` a model, measured interleaved; :func:`forecast` says how long it takes.

    Raises :class:`EdgepruneError` for unknown devices and for files that are no models.
    """
    if device not in DEVICES:
        raise EdgepruneError(
            f"--device {device}", closest(device, DEVICES), "edgeprune bench times it there"
        )
    known_as = names or [m.stem for m in models]
    profiles = profile(
        models, seconds=seconds, shapes=shapes, heard=partial(watch, "layers, as they are")
    )
    flags = set(profiles[0].environment["cpu"]["flags"])
    block = channel_block(flags)
    networks = [network(name, p, block) for name, p in zip(known_as, profiles, strict=True)]
    peaks = sweep.peaks(
        int8=any(n.int8 for n in networks), heard=partial(watch, "what this core can attain")
    )
    return [
        Case(
            network=n,
            peaks=peaks,
            bounds={layer.name: bound(layer, n, peaks) for layer in n.layers},
            what_if=sweep.what_if(
                questions(n), seconds=seconds, heard=partial(watch, f"{n.name} at other widths")
            ),
            caches=p.environment["caches"],
        )
        for n, p in zip(networks, profiles, strict=True)
    ]


def foretold(case: Case, known: Device | None) -> Case:
    """With what this machine's profile predicts of it; a network in 8 bits is not predicted."""
    if known is None or case.network.int8:
        return case
    model, layers = known.model, case.network.layers
    said = Said(
        predictor.predict(model, layers), predictor.strange(model, layers),
        known.error.median, known.error.worst,
    )  # fmt: skip
    return replace(case, said=said)
