"""The network is asked what it is: the image its first layer wants, what it gives, the batch's axis."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from edgeprune.errors import EdgepruneError
from edgeprune.graph.inputs import call
from edgeprune.graph.probe import image, inputs_said, probe
from edgeprune.records import Inputs, Port, Signature


class Answers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(4, 6, 3, padding=1)
        self.register_buffer("anchors", torch.arange(4.0))

    def forward(self, x: Tensor) -> dict[str, object]:
        y = self.a(x)
        vector = y.mean((2, 3))
        return {
            "map": y, "steps": y.flatten(2).permute(2, 0, 1), "mask": y.argmax(1),
            "more": (vector.softmax(1), nn.functional.normalize(vector), vector.sigmoid()),
            "anchors": self.anchors, "none": None,
        }  # fmt: skip


def test_what_it_takes_and_gives() -> None:
    model = Answers().train()
    inputs = image(model, 16)
    assert inputs.said == "[N, 4, 16, 16]"
    found = probe(model, inputs)
    assert model.training
    assert {p.name: (p.said, p.form) for p in found.outputs} == {
        "map": ("[N, 6, 16, 16]", ""),
        "steps": ("[256, N, 6]", ""),
        "mask": ("[N, 16, 16] int64", ""),
        "more.0": ("[N, 6]", "probabilities"),
        "more.1": ("[N, 6]", "unit"),
        "more.2": ("[N, 6]", "shares"),
        "anchors": ("[4]", ""),
    }


@pytest.mark.parametrize(
    ("layer", "why"),
    [
        (nn.Conv1d(12, 4, 3), "first layer is a Conv1d of 12 channels"),
        (nn.Conv3d(3, 4, 3), "first layer is a Conv3d of 3 channels"),
        (nn.Linear(40, 4), "first layer is a Linear of 40 channels"),
    ],
)
def test_what_takes_no_image_is_refused_with_its_first_layer(layer: nn.Module, why: str) -> None:
    with pytest.raises(EdgepruneError, match=why) as refused:
        image(nn.Sequential(layer), 32)
    assert "--shape 1x49x10" in refused.value.next


def test_shapes_as_they_are_typed() -> None:
    assert inputs_said(["1x49x10"]).said == "[N, 1, 49, 10]"
    assert inputs_said(["3x8x8,20:int64"]).said == "x0 [N, 3, 8, 8], x1 [N, 20] int64".replace(
        "x0", "x"
    )
    named = inputs_said(["b=4", "a=3x8x8"])
    assert named.call == {"b": 0, "a": 1}
    assert inputs_said(["4", "5"]).call == [0, 1]
    for word in ("3xx8", "a=3,4", "4:text", "", "a=3,a=4"):
        with pytest.raises(EdgepruneError, match="--shape"):
            inputs_said([word])
    with pytest.raises(EdgepruneError, match="cannot be"):
        inputs_said(["4x" + "9" * 5000])


def test_what_it_does_not_run_on_is_told() -> None:
    with pytest.raises(EdgepruneError, match=r"does not run on \[N, 3, 8, 8\]"):
        probe(Answers(), inputs_said(["3x8x8"]))
    with pytest.raises(EdgepruneError, match="gives no tensor"):
        probe(type("N", (nn.Module,), {"forward": lambda self, x: None})(), inputs_said(["3"]))


def test_a_sparse_output_is_looked_at_as_a_dense_one() -> None:
    sparse = type("S", (nn.Module,), {"forward": lambda self, x: x.relu().to_sparse()})()
    assert probe(sparse, inputs_said(["5"])).outputs[0].said == "[N, 5]"


class Dice(nn.Module):
    """Draws numbers in every forward, or only in training; or counts its calls."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.layer, self.kind, self.calls = nn.Linear(4, 3), kind, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        y = self.layer(x)
        if self.kind == "counts":
            return y + self.calls
        return y + torch.rand(3) if self.training or self.kind == "draws" else y


@pytest.mark.parametrize("kind", ["draws", "counts", "in training"])
def test_a_forward_that_never_gives_the_same_twice_is_refused(kind: str) -> None:
    inputs = Inputs((Port("x", (4,)),))
    net, before = Dice(kind), torch.get_rng_state()
    if kind == "in training":
        assert probe(net, inputs).outputs[0].shape == (3,)
    else:
        with pytest.raises(EdgepruneError, match="other outputs for the same input"):
            probe(net, inputs)
    assert torch.equal(torch.get_rng_state(), before)


class Odd(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.layer, self.kind = nn.Linear(4, 3), kind
        self.norm = nn.BatchNorm1d(3, track_running_stats=False)

    def forward(self, x: Tensor) -> object:
        if self.kind == "writes":
            x.mul_(2)
        y = self.layer(x)
        if self.kind == "beside it":
            return self.norm(y)
        if self.kind == "makes layers" and not hasattr(self, "late"):
            self.late = nn.Linear(3, 3)
        return {"gives 300 outputs": [y] * 300, "returns a str": "a cat"}.get(self.kind, y)


@pytest.mark.parametrize(
    "kind", ["beside it", "makes layers", "gives 300 outputs", "returns a str"]
)
def test_what_cannot_be_compared_is_refused_by_what_it_does(kind: str) -> None:
    with pytest.raises(EdgepruneError, match=kind) as refused:
        probe(Odd(kind), inputs_said(["4"]))
    assert refused.value.next


def test_where_the_inputs_come_from_is_told_with_what_it_does_not_run_on() -> None:
    with pytest.raises(EdgepruneError, match=r"--images x.npy: Odd does not run on \[N, 5\]"):
        probe(Odd(""), inputs_said(["5"]), "--images x.npy")


def test_a_forward_that_writes_to_its_input_leaves_the_callers_alone() -> None:
    x = torch.ones(2, 4)
    net = Odd("writes")
    assert torch.equal(call(net, x), call(net, x))
    assert torch.equal(x, torch.ones(2, 4))
    assert probe(Odd("writes"), inputs_said(["4"])).outputs[0].shape == (3,)


def test_of_many_ports_a_few_are_said() -> None:
    ports = tuple(Port(f"y{i}", (3,)) for i in range(200))
    said = Signature(Inputs((Port("x", (4,)),)), ports).said
    assert said.endswith("y5 [N, 3] and 194 more")
