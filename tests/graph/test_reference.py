"""What the recording follows, torch.export follows too: the same groups, by another way."""

from __future__ import annotations

import importlib
from collections.abc import Callable

import pytest
import torch
import torchvision
from torch import Tensor, fx, nn

from edgeprune.graph import Graph, trace
from tests.nets import NETS, build, images

room = importlib.import_module("edgeprune.graph.trace")


def exported(model: nn.Module, example: Tensor, opened: bool = True) -> fx.GraphModule:
    """The same network by PyTorch's exporter, made functional by its decompositions."""
    with torch.no_grad():
        program = torch.export.export(model, (example,), strict=False).run_decompositions({})
    module = program.module(check_guards=False)
    assert isinstance(module, fx.GraphModule)
    for node in module.graph.nodes:
        node.meta["open"] = ()
        if node.target is torch.ops.aten.slice.Tensor and _whole(node):
            node.replace_all_uses_with(node.args[0])
    module.graph.eliminate_dead_code()
    module.recompile()
    return module


def _whole(node: fx.Node) -> bool:
    return bool(node.args[0].meta["val"].shape == node.meta["val"].shape)  # type: ignore[union-attr]


def groups(graph: Graph) -> list[tuple[int, list[tuple[int, int]]]]:
    """Width, and the axes of the module's own tensors (the tensors, as tied ones have many names)."""
    named = dict(graph.model.named_parameters(remove_duplicate=False))
    return sorted(
        (g.width, sorted((id(named[s.tensor]), s.axis) for s in g.sites if s.tensor in named))
        for g in graph.groups.values()
    )


def torchvision_net(name: str) -> nn.Module:
    torch.manual_seed(0)
    return torchvision.models.get_model(name, weights=None).eval()


CASES: dict[str, Callable[[], tuple[nn.Module, Tensor]]] = {
    **{name: lambda name=name: (build(name), images(2)) for name in NETS},
    **{
        name: lambda name=name: (torchvision_net(name), torch.randn(2, 3, 64, 64))
        for name in ("resnet18", "mobilenet_v3_small", "shufflenet_v2_x0_5", "squeezenet1_1")
    },
}


@pytest.mark.parametrize("name", CASES)
def test_what_the_exporter_lets_leave_leaves(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, example = CASES[name]()
    recorded = trace(model, example)
    monkeypatch.setattr(room, "record", exported)
    reference = trace(model, example)
    # the exporter may take an operator apart, and then less can leave (Scaled)
    assert all(group in groups(recorded) for group in groups(reference))
    assert groups(recorded) == groups(reference) or name == "Scaled"
