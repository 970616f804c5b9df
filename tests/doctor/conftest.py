from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from edgeprune.doctor.layers import network
from edgeprune.doctor.profile import profile
from edgeprune.runtime import Network, channel_block

from . import networks

MADE = {
    "64": networks.stack(64),
    "63": networks.stack(63),
    "60": networks.stack(60),
    "dw 63": networks.separable(63),
    "dw 64": networks.separable(64),
    "int8 63": networks.separable(63, int8=True),
    "int8 64": networks.separable(64, int8=True),
    "E 191": networks.residual(32, 191),
    "E 192": networks.residual(32, 192),
    "MobileNet-A": networks.mobilenet(networks.MOBILENET_A),
    "MobileNet-A, stem 24": networks.mobilenet((24, *networks.MOBILENET_A[1:])),
    "grouped": networks.grouped(),
    "variable": networks.variable(),
    "unnamed": networks.unnamed(),
}


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Network]:
    """All small networks as the real runtime runs them on this machine; one process for all."""
    block = channel_block()
    if block == 1:
        pytest.skip("this CPU's runtime has no blocked layout")
    folder = tmp_path_factory.mktemp("doctor")
    paths = [folder / f"{i}.onnx" for i in range(len(MADE))]
    for path, model in zip(paths, MADE.values(), strict=True):
        onnx.save(model, path)
    profiles = profile([Path(p) for p in paths], seconds=0.01)
    return {name: network(name, p, block) for name, p in zip(MADE, profiles, strict=True)}
