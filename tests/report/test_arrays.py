"""From a run to the figures' arrays: real networks in a run folder, norms as the paper defines them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import synthetic
import torch

from edgeprune import checkpoint, graph, models, report
from edgeprune.errors import EdgepruneError
from edgeprune.report import arrays
from edgeprune.runs import Run

pytestmark = pytest.mark.skipif(
    not hasattr(graph, "trace"), reason="the graph room is not here yet"
)


@pytest.fixture(scope="module")
def mobilenet(tmp_path_factory):
    """A run with a dense MobileNetV1 of a quarter of the widths, BGR input, and its weights."""
    run = Run(tmp_path_factory.mktemp("runs") / "small")
    spec = models.ModelSpec("mobilenetv1-0.25", 10)
    convention = models.Convention(32, channels="BGR")
    network = models.fresh(spec, 0)
    traced = graph.trace(network, checkpoint.example(convention))
    synthetic.write_recipe(run, model=spec.model)
    widths = {name: group.width for name, group in traced.groups.items()}
    checkpoint.write_spec(run, spec, convention, ["0"] * 10, widths, kept={})
    checkpoint.write_weights(run, "dense", network, spec, convention)
    return run, network


def test_norms_are_those_of_the_paper_s_layers(mobilenet):
    run, network = mobilenet
    layers = arrays.norms(report.read(run))
    assert [layer.label.split(" (")[0] for layer in layers] == [f"conv{i}" for i in range(1, 15)]
    weight = network.get_parameter("features.3.pw.conv.weight")
    fourth = layers[3]
    assert fourth.label == "conv4 (features.3.pw.conv)"
    assert np.allclose(fourth.norms, weight.detach().abs().sum((1, 2, 3)).numpy(), rtol=1e-5)
    assert fourth.filter_size == weight[0].numel()


def test_first_filters_are_red_green_blue(mobilenet):
    run, network = mobilenet
    filters = arrays.first_filters(report.read(run))
    weight = network.get_parameter("features.0.conv.weight").detach()
    assert torch.equal(torch.from_numpy(filters.weights), weight.flip(1))
    assert filters.left is None
    found = report.read(run)
    left = {"features.0.conv": [1, 3], "features.1.pw.conv": [0]}
    spec = dataclasses.replace(found.spec, kept=left)
    assert arrays.first_filters(dataclasses.replace(found, spec=spec)).left == [1, 3]


def test_absent_parts_are_refused_with_the_remedy(tmp_path):
    found = report.read(synthetic.run(tmp_path / "a", "spec", "dense"))
    for part in (arrays.sensitivity, arrays.history):
        with pytest.raises(EdgepruneError, match=r"edgeprune prune --model vgg16 --init imagenet$"):
            part(found)  # the run's own command


def test_history_and_sensitivity_are_the_run_s(tmp_path):
    found = report.read(synthetic.whole(tmp_path / "a"))
    history = arrays.history(found)
    assert len(history.steps) == 35
    assert history.limit == pytest.approx(0.9012)
    assert history.steps[-2].params == pytest.approx(0.2289, abs=1e-4)
    assert not history.steps[-1].kept
    assert [c.label for c in arrays.sensitivity(found)][12] == "conv13 (features.28)"
