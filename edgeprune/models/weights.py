"""Where a network's first weights come from (``--init``), and whether they fit.

``scratch``; ``imagenet`` (a public checkpoint, downloaded once into the home folder); a path (a run
of our own, a ``.safetensors``, a ``.pth`` read with ``weights_only``); or a NAME for which
``weights/MODEL_NAME.safetensors`` lies in the home folder. The input convention the weights were
trained with comes along.
"""

from __future__ import annotations

import json
import pickle
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .. import files, records
from ..errors import EdgepruneError
from ..fetch import fetch, home
from ..records.network import IMAGENET_MEAN, IMAGENET_STD, Convention, ModelSpec
from .zoo import ALPHA, fresh

State = dict[str, Tensor]
HALF = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class Remote:
    """A public checkpoint: address, the name it keeps in the home folder, and its input."""

    url: str
    file: str
    input: Convention
    sha256_prefix: str | None = None
    rename: Callable[[State], State] | None = None


@dataclass(frozen=True)
class Source:
    """Weights that were found: tensors by name, and what they say of the network and its input."""

    where: str
    tensors: State
    input: Convention
    padding: str | None = None
    bn_eps: float | None = None
    notes: tuple[str, ...] = ()


@dataclass
class Fit:
    """What `fill` did: names of the tensors that start fresh, of which the head's are expected."""

    fresh: list[str] = field(default_factory=list)
    head: list[str] = field(default_factory=list)


def find(spec: ModelSpec, init: str) -> Source | None:
    """The weights that ``init`` names for ``spec.model``; None for ``scratch``.

    Raises :class:`EdgepruneError` that says which file to put where when there are none.
    """
    if init == "scratch":
        return None
    path = files.place(init)
    if (path / "spec.json").is_file() or (Path("runs") / init / "spec.json").is_file():
        return _from_run(path if (path / "spec.json").is_file() else Path("runs") / init)
    if path.suffix in (".safetensors", ".pth", ".pt", ".ckpt") or path.is_file():
        return read(path)
    if "/" in init or not init:
        raise EdgepruneError(f"--init {init!r}", "no such file or run")
    stored = home() / "weights" / f"{spec.model.replace('/', '_')}_{init}.safetensors"
    if stored.is_file():
        return read(stored)
    if init == "imagenet":
        remote = _remote(spec)
        if remote:
            target = home() / "weights" / remote.file
            fetch(remote.url, target, sha256_prefix=remote.sha256_prefix, max_bytes=2 << 30)
            source = read(target, remote.input)
            if remote.rename:
                source = replace(source, tensors=remote.rename(source.tensors))
            return source
    there = sorted(
        p.name for p in (home() / "weights").glob(f"{spec.model.replace('/', '_')}_*.safetensors")
    )
    inits = [
        n.removeprefix(f"{spec.model.replace('/', '_')}_").removesuffix(".safetensors")
        for n in there
    ]
    raise EdgepruneError(
        f"--init {init} for {spec.model}",
        "no such weights" + (f"; there are: scratch, {', '.join(inits)}" if inits else ""),
        f"put them there: {stored}",
    )


def read(path: Path, default: Convention | None = None) -> Source:
    """A checkpoint file. Its metadata say the input convention; ``default`` stands in where they
    are silent.
    """
    if not path.is_file():
        raise EdgepruneError(f"checkpoint {path}", "no such file")
    if path.suffix == ".safetensors":
        tensors, metadata = files.read_tensors(path)
        source = _described(str(path), tensors, metadata, default)
    else:
        source = Source(str(path), _unpickled(path), default or Convention())
    odd = [k for k, v in source.tensors.items() if not _is_plain(v)]
    if odd:
        raise EdgepruneError(
            f"checkpoint {path}",
            f"quantised, sparse, complex or empty tensors: {_some(odd)}",
            "save plain floating-point tensors",
        )
    clean = {
        k: v.float() if v.is_floating_point() else v
        for k, v in source.tensors.items()
        if not k.endswith("num_batches_tracked")
    }
    bad = [k for k, v in clean.items() if not torch.isfinite(v).all()]
    if bad:
        raise EdgepruneError(f"checkpoint {path}", f"NaN or infinite values in {_some(bad)}")
    return replace(source, tensors=clean)


def fill(network: nn.Module, spec: ModelSpec, source: Source, *, partial: bool = False) -> Fit:
    """Put ``source``'s tensors into ``network`` (in place); the head starts fresh where the classes
    differ.

    The head is all of ``classifier`` for the paper's form (its dense 512 is not the checkpoint's),
    else the last layer. Anything else that is missing is refused unless ``partial``; other shapes
    and unknown names always.
    """
    own = {k: v for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")}
    prefix = head_of(network, spec)
    given = source.tensors
    head = [k for k in own if k == prefix or k.startswith(prefix + ".")]
    whole = all(k in given and given[k].shape == own[k].shape for k in head)
    head_missing = [] if whole else head
    body = [k for k in own if k not in head]
    wrong = [k for k in body if k in given and given[k].shape != own[k].shape]
    if wrong:
        shapes = ", ".join(
            f"{k} is {_shape(given[k])}, the network wants {_shape(own[k])}" for k in wrong[:3]
        )
        raise EdgepruneError(
            f"{source.where} does not fit {spec.model}", shapes + (" …" if len(wrong) > 3 else "")
        )
    whole_numbers = [
        k
        for k, v in own.items()
        if k in given and v.is_floating_point() and not given[k].is_floating_point()
    ]
    if whole_numbers:
        first = whole_numbers[0]
        raise EdgepruneError(
            f"{source.where} does not fit {spec.model}",
            f"{_some(whole_numbers)}: {str(given[first].dtype).removeprefix('torch.')}, "
            "the network wants floating-point numbers",
            "save it dequantised" if given[first].dtype != torch.bool else "",
        )
    stem = prefix.split(".")[0]
    unknown = [k for k in given if k not in own and k.split(".")[0] != stem]
    if unknown:
        raise EdgepruneError(
            f"{source.where} does not fit {spec.model}",
            f"the network has no {_some(unknown, given)}",
        )
    missing = [k for k in body if k not in given]
    if missing and not partial:
        raise EdgepruneError(
            f"{source.where} holds only part of {spec.model}",
            f"missing: {', '.join(missing)}",
            "add --partial to start these fresh",
        )
    if body and len(missing) == len(body):
        raise EdgepruneError(f"{source.where} does not fit {spec.model}", "no tensor of it matches")
    with torch.no_grad():
        for name, tensor in own.items():
            if name not in missing and name not in head_missing:
                tensor.copy_(given[name])
    return Fit(fresh=missing + head_missing, head=head_missing)


def whole(spec: ModelSpec, source: Source, heads: Sequence[str]) -> tuple[ModelSpec, nn.Module]:
    """``source`` as a whole network, classifier and all: its spec and the network in eval mode.

    The classes are as many as the checkpoint's last layer has; the head is the first of ``heads``
    that it fits. Raises :class:`EdgepruneError` for a checkpoint that holds anything less.
    """
    refusals = []
    for head in heads:
        fitting = spec.but(head=head)
        fitting = fitting.but(classes=_classes(fitting, source))
        network = fresh(fitting, 0)
        try:
            fit = fill(network, fitting, source)
        except EdgepruneError as e:
            refusals.append(e)
            continue
        if not fit.fresh:
            return fitting, network
        refusals.append(
            EdgepruneError(
                f"{source.where} is no whole {spec.model}",
                f"missing: {_some(fit.fresh)}",
                "a trained network with its classifier is needed; edgeprune train makes one",
            )
        )
    raise refusals[0]


def _classes(spec: ModelSpec, source: Source) -> int:
    """The width of the checkpoint's last layer: the tensors that depend on the number of classes."""
    few, more = (fresh(spec.but(classes=n), 0).state_dict() for n in (7, 11))
    for name, tensor in few.items():
        given = source.tensors.get(name)
        if tensor.shape != more[name].shape and given is not None and given.ndim:
            return max(2, len(given))
    return spec.classes


def head_of(network: nn.Module, spec: ModelSpec) -> str:
    """Qualified name of the part that maps features to classes."""
    if spec.head == "paper" and (spec.model == "vgg16" or ALPHA.fullmatch(spec.model)):
        return "classifier"
    layers = [n for n, m in network.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    for name in reversed(layers):
        module = network.get_submodule(name)
        if getattr(module, "out_features", getattr(module, "out_channels", 0)) == spec.classes:
            return name
    return layers[-1] if layers else "classifier"


def known_inits(model: str) -> list[str]:
    """``scratch``, ``imagenet`` where there is a public checkpoint, and what lies in the home
    folder.
    """
    stem = model.replace("/", "_") + "_"
    local = [
        p.name[len(stem) : -len(".safetensors")]
        for p in (home() / "weights").glob(f"{stem}*.safetensors")
    ]
    remote = ["imagenet"] if model in REMOTES else []
    return ["scratch", *sorted({*remote, *local})]


def _from_run(path: Path) -> Source:
    from ..runs import Run

    run = Run(path)
    value = records.read(run.spec_path, records.Spec)
    spec, given = value.model, value.input
    tensors, _ = files.read_tensors(run.weights_path("dense"))
    source = Source(str(path), tensors, given, spec.padding, spec.bn_eps)
    clean = {k: v for k, v in tensors.items() if not k.endswith("num_batches_tracked")}
    return replace(source, tensors=clean)


def _unpickled(path: Path) -> State:
    """A ``.pth``: tensors only (``weights_only=True``), maybe under ``state_dict`` or ``model``."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about formats that are refused below anyway
            value: Any = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as e:
        raise EdgepruneError(f"checkpoint {path}", e.strerror or str(e)) from None
    except pickle.UnpicklingError:  # torch's own words advise to load it with weights_only=False
        raise EdgepruneError(
            f"checkpoint {path}",
            "not a file of plain tensors: it holds other Python objects, which could run code, or "
            "is no checkpoint",
            "save its state_dict",
        ) from None
    except Exception as e:  # a broken pickle or zip raises whatever it stumbles over
        reason = str(e).split("\n")[0].split(". ")[0][:200] or type(e).__name__
        raise EdgepruneError(
            f"checkpoint {path}", f"not a whole file of tensors ({reason})", "save its state_dict"
        ) from None
    for key in ("state_dict", "model", "model_state_dict"):
        if isinstance(value, dict) and isinstance(value.get(key), dict):
            value = value[key]
    if not isinstance(value, dict):
        raise EdgepruneError(
            f"checkpoint {path}", f"holds a {type(value).__name__}, not a state_dict"
        )
    tensors = {str(k).removeprefix("module."): v for k, v in value.items() if isinstance(v, Tensor)}
    if not tensors:
        raise EdgepruneError(f"checkpoint {path}", "holds no tensors")
    return tensors


def _described(
    where: str, tensors: State, metadata: dict[str, str], default: Convention | None
) -> Source:
    """Our own files carry JSON under ``edgeprune.*``; others say mean, std, size, padding in
    words.
    """
    if "edgeprune.input" in metadata:
        try:
            given = Convention.from_json(json.loads(metadata["edgeprune.input"]))
            spec = ModelSpec.from_json(json.loads(metadata.get("edgeprune.model", '{"model": ""}')))
        except (ValueError, TypeError, KeyError) as e:
            raise EdgepruneError(where, f"metadata not readable ({e})") from None
        return Source(where, tensors, given, spec.padding, spec.bn_eps)
    said = metadata.get("input", "")
    base = default or Convention()
    mean, std = _three("mean", said) or base.mean, _three("std", said) or base.std
    side = re.search(r"(\d{2,4})x\1", said)
    size = metadata.get("input_size") or (side[1] if side else "")
    convention = Convention(
        int(size) if size.isdigit() else base.size, mean, std, "BGR" if "BGR" in said else "RGB"
    )
    padding = metadata.get("padding")
    try:
        eps = float(metadata["bn_eps"]) if "bn_eps" in metadata else None
    except ValueError:
        raise EdgepruneError(where, f"bn_eps {metadata['bn_eps']!r} is no number") from None
    kind = None if padding is None else ("same" if "SAME" in padding else "symmetric")
    if eps is not None and not 0 < eps < 1:
        raise EdgepruneError(where, f"bn_eps {eps} is not between 0 and 1")
    return Source(where, tensors, convention, kind, eps)


def _three(word: str, text: str) -> tuple[float, float, float] | None:
    """``mean 0.5`` or ``mean 0.485, 0.456, 0.406`` in prose -> three floats."""
    match = re.search(word + r"\s+((?:\d*\.\d+[ ,]*){1,3})", text)
    if not match:
        return None
    values = [float(v) for v in re.findall(r"\d*\.\d+", match[1])]
    first, *rest = values
    if not rest:
        return (first, first, first)
    return (values[0], values[1], values[2]) if len(values) == 3 else None


def _remote(spec: ModelSpec) -> Remote | None:
    """The public checkpoint of a network: the paper's two by table, others by their library's
    own.
    """
    if spec.model in REMOTES:
        return REMOTES[spec.model]
    if spec.model.startswith("torchvision/"):
        from torchvision import models

        weights = models.get_model_weights(spec.model.removeprefix("torchvision/")).DEFAULT
        name = weights.url.rsplit("/", 1)[-1]
        found = re.search(r"-([0-9a-f]{8,})\.pth$", name)
        size = getattr(weights.transforms(), "crop_size", [224])[0]
        given = Convention(size, IMAGENET_MEAN, IMAGENET_STD)
        return Remote(weights.url, name, given, found[1] if found else None)
    if spec.model.startswith("timm/"):
        import timm

        cfg = timm.get_pretrained_cfg(spec.model.removeprefix("timm/"))
        if cfg is None or not cfg.hf_hub_id:
            return None
        given = Convention(cfg.input_size[-1], tuple(cfg.mean), tuple(cfg.std))
        return Remote(_hub(cfg.hf_hub_id), cfg.hf_hub_id.replace("/", "_") + ".safetensors", given)
    return None


def _hub(repository: str) -> str:
    return f"https://huggingface.co/{repository}/resolve/main/model.safetensors"


def _timm_mobilenetv1(tensors: State) -> State:
    """timm's names -> ours: the stem, then the blocks counted through, depthwise and pointwise."""
    stages = sorted(
        {tuple(map(int, k.split(".")[1:3])) for k in tensors if k.startswith("blocks.")}
    )
    number = {stage: i for i, stage in enumerate(stages, 1)}
    parts = {"conv_dw": "dw.conv", "bn1": "dw.bn", "conv_pw": "pw.conv", "bn2": "pw.bn"}
    renamed: State = {}
    for name, tensor in tensors.items():
        words = name.split(".")
        if words[0] == "blocks" and len(words) == 5 and words[3] in parts:
            block = number[int(words[1]), int(words[2])]
            name = f"features.{block}.{parts[words[3]]}.{words[4]}"
        elif words[0] in ("conv_stem", "bn1"):
            name = f"features.0.{'conv' if words[0] == 'conv_stem' else 'bn'}.{words[1]}"
        renamed[name] = tensor
    return renamed


REMOTES = {
    "vgg16": Remote(
        "https://download.pytorch.org/models/vgg16-397923af.pth",
        "vgg16-397923af.pth",
        Convention(224, IMAGENET_MEAN, IMAGENET_STD),
        "397923af",
    ),
    "mobilenetv1": Remote(
        _hub("timm/mobilenetv1_100.ra4_e3600_r224_in1k"),
        "mobilenetv1_100.ra4_e3600_r224_in1k.safetensors",
        Convention(224, HALF, HALF),
        rename=_timm_mobilenetv1,
    ),
}


def _is_plain(tensor: Tensor) -> bool:
    strided = tensor.layout == torch.strided
    return strided and not (tensor.is_quantized or tensor.is_complex() or tensor.is_meta)


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"


def _some(names: list[str], tensors: State | None = None) -> str:
    """At most five names, with shapes where ``tensors`` are given."""
    shown = [f"{n} ({_shape(tensors[n])})" if tensors else n for n in names[:5]]
    return ", ".join(shown) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
