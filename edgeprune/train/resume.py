"""Where a training stands, as one file: written whole or not at all, read only by its own training."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .. import files
from ..errors import EdgepruneError
from ..records import Epoch

FORMAT = 1
KEY = "edgeprune.training"  # of the JSON in the safetensors metadata: one file cannot disagree


@dataclass
class Standing:
    """All that the next step depends on, beside the network's and the optimizer's tensors.

    There is no random state: order, augmentation and dropout follow from (seed, epoch, batch).
    """

    fingerprint: str
    precision: str
    epoch: int = 0  # whole epochs done
    batch: int = 0  # batches done in the epoch after them
    loss_sum: float = 0.0  # of this epoch's batches
    epoch_seconds: float = 0.0  # spent in this epoch
    records: list[Epoch] = field(default_factory=list)
    best: int = 0  # epoch of the best weights, 0: none yet
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    warned: bool = False  # of a network at chance
    stopped: str = ""  # why it ended; "" while it goes on
    cuts: Any = None  # what a cutter needs to make this network from the first; None: whole


def fingerprint(model: nn.Module, *parts: Any) -> str:
    """Of a training: the weights it starts from and the JSON-able ``parts`` (recipe, data)."""
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode())
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        plain = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(memoryview(plain.view(torch.uint8).numpy()))
    return digest.hexdigest()


@dataclass(frozen=True)
class Saved:
    """What was read back: the standing, and the tensors by name."""

    path: Path
    at: Standing
    tensors: dict[str, Tensor]
    plain: dict[str, Any]  # what optimizer and gradient scaler keep beside tensors


def write(
    path: Path,
    at: Standing,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler | None = None,
) -> None:
    """Write everything to ``path`` in one atomic file."""
    words = {f.name: getattr(at, f.name) for f in fields(at) if f.name != "best_weights"}
    words["records"] = [asdict(r) for r in at.records]
    tensors = {f"model/{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"best/{k}": v for k, v in at.best_weights.items()}
    slots: dict[str, Any] = {}
    names: dict[Tensor, str] = {p: name for name, p in model.named_parameters()}
    for p, state in optimizer.state.items():
        for slot, value in state.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer/{slot}/{names[p]}"] = value
            elif value is not None:
                slots[f"{slot}/{names[p]}"] = value
    plain = {"optimizer": slots, "scaler": scaler.state_dict() if scaler else {}}
    value = {"format": FORMAT, "at": words, "plain": plain}
    files.write_tensors(path, tensors, {KEY: json.dumps(value)})


def read(path: Path, wanted: str) -> Saved:
    """:class:`EdgepruneError` if the file is not whole or of another training than ``wanted``."""
    tensors, metadata = files.read_tensors(path)
    try:
        value = json.loads(metadata[KEY])
        words = value["at"]
        if value["format"] != FORMAT or words["fingerprint"] != wanted:
            raise EdgepruneError(
                str(path),
                "belongs to another training",
                "type the command that began it, or give another --name",
            )
        words["records"] = [Epoch(**r) for r in words["records"]]
        at = Standing(**words, best_weights=_under("best/", tensors))
        return Saved(path, at, tensors, value["plain"])
    except (KeyError, TypeError, ValueError, AttributeError):
        raise EdgepruneError(
            str(path),
            "not the state of a training",
            "delete the run's state folder: the training then begins anew",
        ) from None


def restore(
    saved: Saved,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler | None = None,
) -> None:
    """Put the tensors back where they were, in place."""
    try:
        model.load_state_dict(_under("model/", saved.tensors))
        slots = _under("optimizer/", saved.tensors)
        _restore(optimizer, model, slots, saved.plain["optimizer"])
        if scaler is not None:
            scaler.load_state_dict(saved.plain["scaler"])
    except (RuntimeError, KeyError, TypeError, ValueError) as e:
        raise EdgepruneError(
            str(saved.path),
            f"does not fit this training ({e})",
            "delete the run's state folder: the training then begins anew",
        ) from None


def _restore(
    optimizer: torch.optim.Optimizer,
    model: nn.Module,
    tensors: dict[str, Tensor],
    plain: dict[str, Any],
) -> None:
    """The optimizer's slots with the strides they had: like their parameter (channels_last)."""
    parameters = dict(model.named_parameters())
    slots: dict[str, dict[str, Any]] = {}
    for key, value in tensors.items():
        slot, name = key.split("/", 1)
        like = parameters[name]
        if value.shape == like.shape:
            value = torch.empty_like(like, dtype=value.dtype, requires_grad=False).copy_(value)
        slots.setdefault(name, {})[slot] = value
    for key, value in plain.items():
        slot, name = key.split("/", 1)
        slots.setdefault(name, {})[slot] = value
    names = {p: name for name, p in parameters.items()}
    order = [names[p] for group in optimizer.param_groups for p in group["params"]]
    state = {i: slots[name] for i, name in enumerate(order) if name in slots}
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
