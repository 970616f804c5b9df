"""What a killed ``edgeprune frontier`` has done: its look at the images and each network that was made.

They lie in the run's ``frontier/state``, in a folder that is named by what they follow from: the dense
network, the examples, how it is pruned, what it is priced in. What follows from anything else is not taken,
and is removed. How many networks there shall be, in 8 bits too or not, and how they are measured is no part
of that: the ladder's first rungs are the same.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from .. import files, records, runs
from ..errors import EdgepruneError
from ..graph.inputs import flat
from ..models import code
from ..prune import Plan
from ..prune.scores import is_own
from ..records import Output
from ..ways import Settings
from ..ways.post_training import Look, Ranking
from ..ways.table import fingerprint
from ..ways.way import Work


@dataclass(frozen=True)
class Made:
    """One network as it was made: enough to measure it and to make it again."""

    file: Path
    params: int
    flops: int
    plan: Plan | None = None  # None: the dense one, and those in 8 bits
    share: float = 1.0
    outputs: tuple[Output, ...] = ()
    int8: bool = False


@dataclass(frozen=True, eq=False)
class Halfway:
    """The state of one exploration; ``key``: of what it follows from."""

    work: Work[Any]
    key: str

    @property
    def folder(self) -> Path:
        return self.work.run.frontier_state / self.key

    def path(self, name: str) -> Path:
        """Of a network's .onnx file."""
        return self.folder / f"{name}.onnx"

    def begin(self) -> None:
        """Take away what other words, images or weights left there."""
        for other in self.work.run.frontier_state.glob("*"):
            if other.name != self.key:
                shutil.rmtree(other)

    def forget(self) -> None:
        """All of it is measured and written."""
        shutil.rmtree(self.work.run.frontier_state, ignore_errors=True)

    def ranking(self, names: Sequence[str]) -> Ranking | None:
        """What the look said of the groups ``names``, in their order; None: not looked yet."""
        try:
            tensors, words = files.read_tensors(self.folder / "look.safetensors")
            curves = {n: tensors[f"lost {n}"].tolist() for n in names if f"lost {n}" in tensors}
            scores = {n: tensors[f"score {n}"] for n in names}
            return Ranking(scores, curves or None, json.loads(words["shares"]))
        except (EdgepruneError, KeyError, ValueError):
            return None

    def keep_ranking(self, ranking: Ranking) -> None:
        lost = {n: torch.tensor(c, dtype=torch.float64) for n, c in (ranking.curves or {}).items()}
        tensors = {f"score {n}": t for n, t in ranking.scores.items()}
        files.write_tensors(
            self.folder / "look.safetensors", tensors | {f"lost {n}": t for n, t in lost.items()},
            {"shares": json.dumps(dict(ranking.shares))},
        )  # fmt: skip

    def made(self, name: str) -> Made | None:
        """The network of that name, if it was finished; its record is what is written last."""
        path = self.path(name)
        try:
            told = records.read(path.with_suffix(".json"), records.Halfway)
            plan = None if not told.plan else Plan.from_json(files.read_json(_plan(path)))
        except EdgepruneError:
            return None
        whole = path.is_file() and files.sha256(path) == told.sha256
        if not whole or (plan is not None and fingerprint(plan) != told.plan):
            return None
        return Made(path, told.params, told.flops, plan, told.share, tuple(told.outputs), told.int8)

    def keep(self, made: Made) -> Made:
        """Its file is there; with the record it is finished."""
        if made.plan is not None:
            files.write_json(_plan(made.file), made.plan.to_json())
        told = records.Halfway(
            sha256=files.sha256(made.file), params=made.params, flops=made.flops, share=made.share,
            int8=made.int8, outputs=list(made.outputs),
            plan="" if made.plan is None else fingerprint(made.plan),
        )  # fmt: skip
        files.write_json(made.file.with_suffix(".json"), records.plain(told))
        return made


def of(work: Work[Any], start: Look, settings: Settings, price: Sequence[Any]) -> Halfway:
    """The state of what follows from these; ``price``: what plans are counted in, and what is known of it."""
    own = code.hashed(settings.score) if is_own(settings.score) else ""
    goes = [asdict(replace(settings, target=None)), list(price), own, runs.versions()]
    found = hashlib.sha256(json.dumps([*goes, start.dense.fingerprint]).encode())
    for tensor in start.dense.model.state_dict().values():
        found.update(_bytes(tensor))
    for batch in (*start.images.batches, *start.judge):
        for part in flat(batch):
            found.update(_bytes(part))
    return Halfway(work, found.hexdigest()[:16])


def _bytes(tensor: torch.Tensor) -> bytes:
    return tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes()


def _plan(path: Path) -> Path:
    return path.with_suffix(".plan.json")
