"""Operators around tensors: a module whose Python is written when it is first called."""

from __future__ import annotations

import copy
import inspect
import io

import pytest
import torch
from torch import fx, nn

from edgeprune.graph import trace
from edgeprune.graph.module import Operators
from edgeprune.prune import narrow


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3)
    ).eval()


def test_a_trace_and_a_cut_write_no_python(monkeypatch: pytest.MonkeyPatch) -> None:
    net, x = network(), torch.randn(2, 3, 12, 12)

    def python_code(*_: object, **__: object) -> None:
        raise AssertionError("Python was written")

    with monkeypatch.context() as m:
        m.setattr(fx.Graph, "python_code", python_code)
        graph = trace(net, x)
        small = narrow(graph, {"0": [1, 2]})
    assert torch.equal(graph.module(x), net(x))
    assert torch.allclose(small.module(x), small.model(x), atol=1e-6)


def test_it_is_a_graph_module_in_all_else() -> None:
    net, x = network(), torch.randn(2, 3, 12, 12)
    module = trace(net, x).module
    assert isinstance(module, Operators)
    twin = copy.deepcopy(module)
    assert list(inspect.signature(module.forward).parameters) == ["x"]
    assert "conv2d" in module.code
    saved = io.BytesIO()
    torch.save(twin, saved)
    saved.seek(0)
    loaded = torch.load(saved, weights_only=False)
    for each in (module, twin, loaded):
        assert torch.equal(each(x), net(x))


def test_a_changed_graph_computes_what_it_now_says() -> None:
    net, x = network(), torch.randn(2, 3, 12, 12)
    module = trace(net, x).module
    before, code = module(x), module.code
    relu = next(n for n in module.graph.nodes if "relu" in str(n.target))
    relu.replace_all_uses_with(relu.args[0])
    module.graph.erase_node(relu)
    module.recompile()
    assert not torch.equal(module(x), before)  # asked first: its code is not read before it runs
    assert module.code != code
    assert torch.equal(module(x), net[3](net[1](net[0](x))))
