"""The study that is built in, its small form, and what the paper printed (Hubens et al. 2020, tables 1-4)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ..records import Flat, Network, Pruning, Start, Study, StudyRow, Words

PAPER_WAY: dict[str, Any] = {"step": 0.25, "max_drop": 1.0, "retrain_epochs": 5}
CONTROLS = {
    "scratch-e": Pruning("scratch", {"budget": "epochs", "of": "paper"}),
    "scratch-b": Pruning("scratch", {"budget": "compute", "of": "paper"}),
}


def built_in() -> Study:
    """Both networks on the four sets, pre-trained (A) and from random weights (B), three seeds."""
    return Study(
        name="paper",
        models={
            "mobilenetv1": Network(
                inits={"A": Start(init="imagenet-float", partial=True), "B": Start()},
                train=Words(epochs=[40, 80]),
            ),
            "vgg16": Network(
                inits={"A": Start(init="imagenet"), "B": Start()}, train=Words(epochs=[40, 80])
            ),
        },
        data={"cifar10": Words(), "cifar100": Words(), "svhn": Words(), "caltech101": Words(size=96)},
        seeds=[0, 1, 2],
        ways={"paper": Pruning("paper", PAPER_WAY), **CONTROLS},
        bench=True,
    )  # fmt: skip


def smoke() -> Study:
    """Everything that the study does, in a minute: digits, a narrow MobileNetV1, one seed, one step."""
    return Study(
        name="paper-smoke",
        models={
            "mobilenetv1-0.25": Network(inits={"B": Start(), "A": Start(of="B")}),
        },
        data={"digits": Words(limit=200)},
        train=Words(epochs=[4], batch_size=16),
        ways={
            "paper": Pruning("paper", {"step": 0.5, "max_drop": 100.0, "retrain_epochs": 1, "max_steps": 1,
                                       "sensitivity_images": 30}),
            **CONTROLS,
        },
        flat=Flat(points=100.0),  # four epochs are never flat
    )  # fmt: skip


def scaled(study: Study, *, seeds: int | None = None, limit: int | None = None) -> Study:
    """With fewer seeds, or images of each set."""
    data = study.data
    if limit is not None:
        data = {name: words.but(Words(limit=limit)) for name, words in data.items()}
    return replace(study, seeds=study.seeds[:seeds] if seeds else study.seeds, data=data)


@dataclass(frozen=True)
class Printed:
    """A line of the paper's tables 2 and 4."""

    model: str
    data: str
    start: str
    params: float  # millions
    flops: float  # millions, of one image
    dense_params: float
    dense_flops: float

    @property
    def lost(self) -> tuple[float, float]:
        """Percent of parameters and FLOPs that are gone, from the printed cells."""
        return 100 * (1 - self.params / self.dense_params), 100 * (
            1 - self.flops / self.dense_flops
        )


DENSE = {  # (network, set): millions of parameters and FLOPs
    ("vgg16", "cifar10"): (14.98, 627.48), ("vgg16", "cifar100"): (15.03, 627.57),
    ("vgg16", "svhn"): (14.98, 627.48), ("vgg16", "caltech101"): (15.03, 30720.99),
    ("mobilenetv1", "cifar10"): (3.76, 24.23), ("mobilenetv1", "cifar100"): (3.80, 24.32),
    ("mobilenetv1", "svhn"): (3.76, 24.23), ("mobilenetv1", "caltech101"): (3.81, 1136.59),
}  # fmt: skip
PRUNED = {
    ("vgg16", "cifar10", "A"): (3.43, 421.20), ("vgg16", "cifar10", "B"): (8.26, 397.85),
    ("vgg16", "cifar100", "A"): (8.26, 503.47), ("vgg16", "cifar100", "B"): (8.69, 444.56),
    ("vgg16", "svhn", "A"): (3.15, 414.12), ("vgg16", "svhn", "B"): (4.08, 311.04),
    ("vgg16", "caltech101", "A"): (8.44, 25402.11), ("vgg16", "caltech101", "B"): (13.59, 30171.17),
    ("mobilenetv1", "cifar10", "A"): (1.05, 13.83), ("mobilenetv1", "cifar10", "B"): (0.98, 12.26),
    ("mobilenetv1", "cifar100", "A"): (2.54, 21.42), ("mobilenetv1", "cifar100", "B"): (3.12, 21.89),
    ("mobilenetv1", "svhn", "A"): (1.50, 17.66), ("mobilenetv1", "svhn", "B"): (1.75, 16.57),
    ("mobilenetv1", "caltech101", "A"): (3.08, 1078.30),
    ("mobilenetv1", "caltech101", "B"): (3.43, 1105.83),
}  # fmt: skip
PRINTED = [Printed(m, d, s, *cell, *DENSE[m, d]) for (m, d, s), cell in PRUNED.items()]

# filters of the prunable convolutions in their order, of the rows whose widths the paper gives (tables 1, 3)
WIDTHS = {
    ("vgg16", "cifar10", ""): (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512),
    ("vgg16", "cifar10", "A"): (64, 64, 128, 128, 256, 256, 256, 192, 192, 192, 128, 128, 128),
    ("vgg16", "cifar10", "B"): (64, 64, 128, 112, 160, 160, 160, 384, 384, 384, 384, 384, 384),
    ("mobilenetv1", "cifar10", ""):
        (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024),
    ("mobilenetv1", "cifar10", "A"):
        (21, 64, 128, 128, 256, 256, 384, 384, 384, 384, 256, 256, 256, 128),
    ("mobilenetv1", "cifar10", "B"):
        (32, 64, 128, 128, 224, 224, 288, 288, 288, 288, 288, 272, 304, 320),
}  # fmt: skip


def rows_printed() -> list[StudyRow]:
    """The paper's tables as rows of a study, of one seed, as far as they say."""
    return [
        StudyRow(
            job=f"{line.model}-{line.data}-{line.start}", model=line.model, data=line.data,
            start=line.start, seed=0, way="paper", state="done",
            params=round(1e6 * line.params), dense_params=round(1e6 * line.dense_params),
            flops=round(1e6 * line.flops), dense_flops=round(1e6 * line.dense_flops),
            widths=_by_layer(line.model, line.data, line.start),
            dense_widths=_by_layer(line.model, line.data, ""),
        )
        for line in PRINTED
    ]  # fmt: skip


def _by_layer(model: str, data: str, start: str) -> dict[str, int]:
    return {f"conv{i}": w for i, w in enumerate(WIDTHS.get((model, data, start), ()), 1)}
