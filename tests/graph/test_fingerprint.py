"""A fingerprint says which network something was made for, and which way of recording saw it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from edgeprune import api, files
from edgeprune.errors import EdgepruneError
from edgeprune.graph import graph as graphs
from edgeprune.graph import trace
from edgeprune.prune import Plan, plan
from tests.graph.test_opening import UNet
from tests.graphs import random_keep, traced
from tests.nets import build, images

# By PyTorch, whose operators these are. Where one changes and the network did not, plans made before
# would be said to be for another network: raise RECORDING in graph/graph.py, and write them anew.
TORCH = "2.14"
SEEN = {
    "recording": 3,
    "Plain": "3-d460f231b0326361",
    "Depthwise": "3-9c6716272b54cc84",
    "Shuffle": "3-17795b498e3d4cdd",
    "Attention": "3-a678a86f779d9052",
    "Grouped": "3-c0474789fb970357",
    "UNet": "3-5f890a49f57095d7",
    "LSTM": "3-56d7b6d81d462c10",
}


@pytest.mark.skipif(not torch.__version__.startswith(TORCH), reason=f"written with PyTorch {TORCH}")
def test_networks_are_seen_as_they_were() -> None:
    torch.manual_seed(0)
    names = ("Plain", "Depthwise", "Shuffle", "Attention", "Grouped")
    found = {name: traced(name).fingerprint for name in names}
    found["UNet"] = trace(UNet(), images(2).float()).fingerprint  # with formulas of its sizes
    layers = (nn.Flatten(2), nn.LSTM(64, 6))
    found["LSTM"] = trace(
        nn.Sequential(nn.Conv2d(3, 4, 3), *layers), images(2)[..., :10, :10].float()
    ).fingerprint
    assert {**found, "recording": graphs.RECORDING} == SEEN


def saved(folder: Path, network: str | None) -> tuple[Path, nn.Module]:
    """A file of a cut network that bears that fingerprint."""
    graph = trace(build("Residual"), images(2))
    small = api.cut(graph, random_keep(graph, 0, 0.5))
    if network is not None:
        small.edgeprune_cuts[0]["network"] = network  # type: ignore[index]
    return api.save(small, folder / "small.safetensors"), small


OLD = ("0123456789abcdef", f"{graphs.RECORDING - 1}-0123456789abcdef")


@pytest.mark.parametrize("network", [None, *OLD])
def test_a_file_from_before_loads(tmp_path: Path, network: str | None) -> None:
    path, small = saved(tmp_path, network)
    again = api.load(path, lambda: build("Residual"))
    x = images(3)
    with torch.no_grad():
        assert torch.equal(again(x), small(x))
    if network is not None:  # what is saved from now on is as networks are seen now
        api.save(again, tmp_path / "again.safetensors")
        told = files.read_tensors(tmp_path / "again.safetensors")[1]
        (one,) = json.loads(told[api.KEY])["cuts"]
        assert one["network"] == trace(build("Residual"), images(2)).fingerprint


@pytest.mark.parametrize(
    ("network", "said"),
    [(None, "was cut from another network"), (OLD[0], "saw networks otherwise: and does not fit")],
)
def test_a_file_of_another_network_is_refused_whenever_it_was_made(
    tmp_path: Path, network: str | None, said: str
) -> None:
    path, _ = saved(tmp_path, network)
    for other in ("Plain", "Shuffle"):
        with pytest.raises(EdgepruneError, match=said) as caught:
            api.load(path, lambda name=other: build(name))
        assert "build the network as it was before the cut" in caught.value.next


def wider() -> nn.Module:
    """The same names, other widths."""
    net = build("Residual")
    stem: nn.Conv2d = net.get_submodule("stem.0")  # type: ignore[assignment]
    net.set_submodule("stem.0", nn.Conv2d(3, stem.out_channels, 5, padding=2).double())
    return net.eval()


def test_a_file_from_before_of_other_shapes_is_refused(tmp_path: Path) -> None:
    path, _ = saved(tmp_path, OLD[0])
    with pytest.raises(EdgepruneError, match="does not fit"):
        api.load(path, wider)


@pytest.mark.parametrize(
    ("network", "why"),
    [
        (OLD[0], "made by a version of edgeprune that saw networks otherwise"),
        (OLD[1], "made by a version of edgeprune that saw networks otherwise"),
        (f"{graphs.RECORDING}-0123456789abcdef", "is for another network"),
    ],
)
def test_a_plan_from_before_is_refused_with_the_remedy(network: str, why: str) -> None:
    graph = traced("Residual")
    found: Plan = plan.Plan.from_json(
        {
            **plan.Plan(
                graph.fingerprint, "uniform", random_keep(graph, 0, 0.5), {}, {}, {}, {}
            ).to_json(),
            "network": network,
        }
    )
    with pytest.raises(EdgepruneError, match=why) as caught:
        found.check(graph)
    assert "--dry-run" in caught.value.next
