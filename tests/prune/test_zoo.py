"""The long list: cut == masked on networks of torchvision and timm, and how much of them can leave."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "zoo.py"

# Share of the parameters that some droppable unit touches; 0.95 and more where not named. Layer
# norms and means over channels pin (convnext ...), as do products labelled on two axes.
SHARES = {
    "tv/convnext_tiny": 0.90,
    "edgenext_xx_small": 0.65,
    "convnextv2_atto": 0.0,
    "inception_next_atto": 0.76,
    "rdnet_tiny": 0.82,
    "poolformer_s12": 0.78,
    "efficientformer_l1": 0.92,
    "efficientvit_b0": 0.61,
    "eca_nfnet_l0": 0.86,
    "focalnet_tiny_srf": 0.91,
    "mambaout_femto": 0.69,
    # What training mode alone runs (auxiliary classifiers) is not in the graph.
    "tv/googlenet": 0.50,
    "tv/inception_v3": 0.87,
}


def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("zoo_script", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ZOO = _script()


@pytest.mark.zoo
@pytest.mark.parametrize("name", [*ZOO.DEVELOPMENT, *ZOO.HELD_OUT])
def test_zoo(name: str) -> None:
    pytest.importorskip("timm")
    row = ZOO.measure(name)
    assert row["error"] < 1e-9
    assert row["power"] is None or row["power"] > 1e-3
    assert row["cost"]
    assert row["share"] > SHARES.get(name, 0.95)
