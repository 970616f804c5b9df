"""Each task is seen from the probe where it can be, and its figure is what a hand computes."""

from __future__ import annotations

import math

import pytest
import torch

from edgeprune.errors import EdgepruneError
from edgeprune.records import Inputs, Port, Signature
from edgeprune.tasks import TASKS, Comparison, judged, labelled, sentence, told
from edgeprune.tasks.boxes import detections

RGB, GREY = Port("x", (3, 32, 48)), Port("x", (1, 28, 28))


def seen(*outputs: Port, image: Port = RGB, said: str = "") -> str:
    return told(judged(Signature(Inputs((image,)), outputs), said))


def out(*shape: int, name: str = "", **more: object) -> Port:
    return Port(name, shape, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("port", "task"),
    [
        (out(10), "classification"),
        (out(10, form="probabilities"), "classification"),
        (out(dtype="int64"), "classification"),
        (out(128, form="unit"), "embedding"),
        (out(20, form="shares"), "labels"),
        (out(1), "number"),
        (out(), "number"),
        (out(21, 32, 48), "segmentation"),
        (out(32, 48, dtype="int64"), "segmentation"),
        (out(1, 32, 48), "depth"),
        (out(3, 32, 48), "restoration"),
        (out(3, 64, 96), "restoration"),
        (out(40, 8, 12), "values"),
        (out(25, 37, batch=1), "sequence"),
    ],
)
def test_what_an_output_is(port: Port, task: str) -> None:
    assert seen(port) == task


def test_several_outputs_and_what_is_said_of_them() -> None:
    logits, age, mask = out(10, name="logits"), out(name="age"), out(2, 32, 48, name="mask")
    assert seen(logits, age, mask) == "logits=values,age=number,mask=segmentation"
    said = "logits=classification,mask=values"
    assert seen(logits, age, mask, said=said) == "logits=classification,age=number,mask=values"
    assert seen(out(10), said="embedding") == "embedding"
    assert seen(out(1, 28, 28), image=GREY) == "restoration"
    maps = [out(84, n, n, name=f"1.{i}") for i, n in enumerate((8, 4, 2))]
    assert seen(out(84, 84, name="0"), *maps).startswith("0=boxes,1.0=values")
    five = [out(3, n, n, 85, name=f"1.{i}") for i, n in enumerate((8, 4, 2))]
    assert seen(out(252, 85, name="0"), *five).startswith("0=boxes,1.0=values")
    assert seen(out(10), out(4, 4, name="anchors", batch=None)) == "values"  # those are no answer
    with pytest.raises(EdgepruneError, match="did you mean embedding"):
        seen(out(10), said="embeding")
    with pytest.raises(EdgepruneError, match="no output 'ages'; did you mean age"):
        seen(logits, age, said="ages=number")
    with pytest.raises(EdgepruneError, match="its one output has no name — --task embedding is"):
        seen(out(10), said="x=embedding")
    for task in ("boxes", "segmentation"):
        with pytest.raises(
            EdgepruneError, match=rf"task {task}: output .*\[N, 10\] has too few axes"
        ):
            seen(out(10), said=task)
    with pytest.raises(EdgepruneError, match="none follows the batch"):
        seen(out(10, batch=None))


def test_which_output_labels_judge() -> None:
    def port(*outputs: Port) -> str | None:
        found = labelled(judged(Signature(Inputs((RGB,)), outputs)))
        return found and found[0].name

    plain, age, mask = out(40, 8, 12, name="map"), out(name="age"), out(2, 32, 48, name="mask")
    assert port(plain, age) == "age"  # of a task of its own
    assert port(plain) == "map"
    assert port(age, mask) is None  # nobody knows which
    assert port(plain, plain) is None
    assert port(out(25, 37, batch=1)) is None  # there are no labels for it


def measured(task: str, a: torch.Tensor, b: torch.Tensor, at: int = 2) -> dict[str, float]:
    """In two parts, which must be the same as in one."""
    found = []
    for parts in ([(a, b)], [(a[:at], b[:at]), (a[at:], b[at:])]):
        sums = Comparison(Port("", tuple(a.shape[1:])), TASKS[task])
        for x, y in parts:
            sums.add(x, y)
        found.append(sums.result())
    assert found[0].measures == pytest.approx(found[1].measures)
    if found[0].variance_kept is not None:
        assert found[0].variance_kept == pytest.approx(found[1].variance_kept)
    return found[1].measures | {"kept": found[1].variance_kept}  # type: ignore[dict-item]


def test_figures_by_hand() -> None:
    a = torch.tensor([[3.0, 4], [1, 0], [0, 2]])
    b = torch.tensor([[3.0, 4], [0, 1], [0, 1]])
    found = measured("embedding", a, b)
    assert found["cosine"] == pytest.approx(2 / 3)
    mean = torch.tensor([4 / 3, 2])
    assert found["kept"] == pytest.approx(1 - 3 / float((a - mean).square().sum()))
    found = measured("number", a[:, :1], b[:, :1])
    assert found["mean_absolute_error"] == pytest.approx(1 / 3)
    assert found["relative_error"] == pytest.approx(math.sqrt(1 / 10))
    assert measured("classification", a, b)["agreement"] == pytest.approx(2 / 3)
    assert measured("labels", a - 0.5, b - 0.5)["agreement"] == pytest.approx(4 / 6)
    assert measured("labels", torch.tensor([[0.9, 0.2]]), torch.tensor([[0.6, 0.7]]), at=1)[
        "agreement"
    ] == pytest.approx(0.5)


def test_figures_of_maps_by_hand() -> None:
    a, b = torch.zeros(4, 3, 2, 2), torch.zeros(4, 3, 2, 2)
    a[:, 0], b[:, 0] = 1, 1
    b[:2, 2] = 2  # of half of the images class 2 instead of 0
    found = measured("segmentation", a, b)
    assert found["agreement"] == pytest.approx(0.5)
    assert found["miou"] == pytest.approx((0.5 + 0) / 2)  # class 1 is nowhere
    one = measured("segmentation", a.argmax(1), b.argmax(1))
    assert one["agreement"] == pytest.approx(0.5)
    assert one["kept"] is None
    image = torch.linspace(0, 1, 4 * 3 * 4).reshape(4, 3, 2, 2)
    near = Comparison(Port("", (3, 2, 2)), TASKS["restoration"])
    near.add(image, image + 0.1)
    assert near.result().measures["psnr"] == pytest.approx(20, abs=1e-4)
    steps = torch.eye(3).expand(4, 3, 3)
    assert measured("sequence", steps, steps.flip(1))["agreement"] == pytest.approx(1 / 3)


def test_detections_are_matched_once_each() -> None:
    """Two boxes of two classes; the other network moves one far away and doubles the other."""
    a, b = torch.zeros(1, 4 + 2, 50), torch.zeros(1, 4 + 2, 50)
    a[0, :, 0] = torch.tensor([10, 10, 8, 8, 0.9, 0])
    a[0, :, 1] = torch.tensor([40, 40, 8, 8, 0, 0.8])
    b[0, :, 0] = torch.tensor([10, 11, 8, 8, 0.7, 0])
    b[0, :, 1] = torch.tensor([10, 10, 8, 9, 0.6, 0])  # suppressed by the one before
    b[0, :, 2] = torch.tensor([60, 40, 8, 8, 0, 0.8])
    assert [len(d["labels"]) for d in (*detections(a), *detections(b))] == [2, 2]
    sums = Comparison(Port("", (6, 50)), TASKS["boxes"])
    sums.add(a, b)
    assert sums.result().measures["matched"] == pytest.approx(0.5)
    sums.add(a, a)
    assert sums.result().measures["matched"] == pytest.approx(6 / 8)
    v5 = torch.zeros(1, 50, 7)
    v5[0, 3] = torch.tensor([10, 10, 8, 8, 0.9, 0.1, 0.9])
    (found,) = detections(v5)
    assert found["labels"].tolist() == [1]
    assert found["scores"].tolist() == pytest.approx([0.81])


def test_the_sentence_speaks_the_tasks_words() -> None:
    sums = Comparison(Port("vector", (2,)), TASKS["embedding"])
    sums.add(torch.eye(2), torch.eye(2))
    said = sentence([sums.result()], TASKS)
    assert said == (
        "vector is at cosine 1.0000 to the dense network's and keeps 100.0 % of its variance"
    )
