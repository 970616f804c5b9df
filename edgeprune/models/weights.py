"""Where a network's first weights come from (``--init``); ``fit`` says whether they fit.

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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import files, records, units
from ..errors import EdgepruneError
from ..fetch import fetch, home
from ..records.network import IMAGENET_MEAN, IMAGENET_STD, Convention, ModelSpec

State = dict[str, Tensor]
HALF = (0.5, 0.5, 0.5)
DEEPEST = 8  # dictionaries within dictionaries
READABLE = "name a file that can be read"
ANEW = "save it anew: what stands in its metadata is not true"


# The input of a file that does not say it, as most networks of photos have it.
ASSUMED = Convention(224, IMAGENET_MEAN, IMAGENET_STD)
ASSUMPTIONS = frozenset({"size", "colours"})


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
    places: Mapping[str, State] = field(default_factory=dict)  # dictionaries of a file with several
    assumed: frozenset[str] = frozenset()  # of ASSUMPTIONS: what the file does not say of its input
    narrow: tuple[str, ...] = ()  # types of fewer bits than float32 that the file holds


def find(spec: ModelSpec, init: str) -> Source | None:
    """The weights that ``init`` names for ``spec.model``; None for ``scratch``.

    Raises :class:`EdgepruneError` that says which file to put where when there are none.
    """
    if init == "scratch":
        return None
    path = files.place(init)
    if (path / "spec.json").is_file() or (Path("runs") / init / "spec.json").is_file():
        return _from_run(path if (path / "spec.json").is_file() else Path("runs") / init)
    if is_file(init):
        return read(path)
    if "/" in init or not init:
        raise EdgepruneError(f"--init {init!r}", "no such file or run", "say its path from here")
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
                source = replace(source, tensors=remote.rename(source.tensors), places={})
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
    are silent. Of a file with several dictionaries of tensors ``fit`` takes the one that fits.
    """
    if not path.is_file():
        raise EdgepruneError(f"checkpoint {path}", "no such file", "say its path from here")
    if path.suffix == ".safetensors":
        tensors, metadata = files.read_tensors(path)
        source = _described(str(path), tensors, metadata, default)
        return replace(source, tensors=sound(str(path), source.tensors), narrow=_narrow(tensors))
    places = _unpickled(path)
    narrow = _narrow(*places.values())
    if len(places) == 1:  # else the one that is taken is looked at
        places = {where: sound(str(path), tensors) for where, tensors in places.items()}
    return Source(
        str(path), next(iter(places.values())), default or ASSUMED, places=places,
        assumed=frozenset() if default else ASSUMPTIONS, narrow=narrow,
    )  # fmt: skip


def _narrow(*states: State) -> tuple[str, ...]:
    few = {t.dtype for state in states for t in state.values()} & {torch.float16, torch.bfloat16}
    return tuple(sorted(str(t).removeprefix("torch.") for t in few))


def model_of(init: str) -> str | None:
    """The network that the run or the file ``init`` says it is of; None where it does not say.

    A network of the user's own (FILE.py:FUNCTION) is not told: only a name that is typed runs code.
    """
    path = files.place(init)
    for folder in (path, Path("runs") / init):
        if (folder / "spec.json").is_file():
            return _not_own(files.read_json(folder / "spec.json"), str(folder))
    if path.suffix != ".safetensors" or not path.is_file():
        return None
    _, metadata = files.read_tensors(path)
    try:
        return _not_own({"model": json.loads(metadata["edgeprune.model"])}, str(path))
    except (KeyError, ValueError):
        return None


def _not_own(spec: Any, where: str) -> str | None:
    try:
        model = ModelSpec.from_json(spec["model"]).model
    except (KeyError, TypeError, EdgepruneError):
        return None
    return None if ".py:" in model else model


def is_file(init: str) -> bool:
    """Whether ``init`` names a run or a file, and not weights that belong to a network's name."""
    path = files.place(init)
    return any((f / "spec.json").is_file() for f in (path, Path("runs") / init)) or (
        path.suffix in (".safetensors", ".pth", ".pt", ".ckpt") or path.is_file()
    )


def sound(where: str, tensors: State) -> State:
    """Plain finite tensors, floating-point ones as float32, without batch norm's counters."""
    odd = [k for k, v in tensors.items() if not _is_plain(v)]
    if odd:
        raise EdgepruneError(
            f"checkpoint {where}",
            f"quantised, sparse, complex or empty tensors: {some(odd)}",
            "save plain floating-point tensors",
        )
    clean = {
        k: v.float() if v.is_floating_point() else v
        for k, v in tensors.items()
        if not k.endswith("num_batches_tracked")
    }
    bad = [k for k, v in clean.items() if not torch.isfinite(v).all()]
    if bad:
        raise EdgepruneError(
            f"checkpoint {where}", f"NaN or infinite values in {some(bad)}",
            "its training went astray: take an earlier checkpoint",
        )  # fmt: skip
    return clean


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

    run = Run(path).check()
    value = records.read(run.spec_path, records.Spec)
    spec, given = value.model, value.input
    tensors, _ = files.read_tensors(run.weights_path("dense"))
    source = Source(str(path), tensors, given, spec.padding, spec.bn_eps)
    clean = {k: v for k, v in tensors.items() if not k.endswith("num_batches_tracked")}
    return replace(source, tensors=clean)


def _unpickled(path: Path) -> dict[str, State]:
    """A ``.pth``, tensors only (``weights_only=True``): its dictionaries that hold tensors, by where
    they stand in it (``""``, ``state_dict``, ``model.ema``).
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about formats that are refused below anyway
            value: Any = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as e:
        raise EdgepruneError(f"checkpoint {path}", e.strerror or str(e), READABLE) from None
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
    if not isinstance(value, dict):
        raise EdgepruneError(
            f"checkpoint {path}",
            f"holds a {type(value).__name__}, not a state_dict",
            "save the network's state_dict",
        )
    places: dict[str, State] = {}
    _collect(value, (), places, set())
    if not places:
        held = ", ".join(f"{k} ({type(v).__name__})" for k, v in list(value.items())[:8])
        raise EdgepruneError(
            f"checkpoint {path}",
            f"holds no tensors, but: {held}" if held else "an empty dictionary",
            "save the network's state_dict",
        )
    return places


def _collect(
    value: Mapping[Any, Any], at: tuple[str, ...], places: dict[str, State], seen: set[int]
) -> None:
    """The dictionaries within ``value`` that hold tensors; each once, a pickle may go in circles."""
    if id(value) in seen or len(at) > DEEPEST:
        return
    seen.add(id(value))
    tensors = {str(k): v for k, v in value.items() if isinstance(v, Tensor)}
    if tensors:
        places[".".join(at)] = tensors
    for key, inner in value.items():
        if isinstance(inner, dict):
            _collect(inner, (*at, str(key)), places, seen)


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
            raise EdgepruneError(where, f"metadata not readable ({e})", ANEW) from None
        return Source(where, tensors, given, spec.padding, spec.bn_eps)
    said = metadata.get("input", "")
    base = default or ASSUMED
    mean, std = _three("mean", said), _three("std", said)
    side = re.search(r"(\d{2,4})x\1", said)
    size = metadata.get("input_size") or (side[1] if side else "")
    convention = Convention(
        int(size) if size.isdigit() else base.size, mean or base.mean, std or base.std,
        "BGR" if "BGR" in said else "RGB",
    )  # fmt: skip
    silent = {"size": not size.isdigit(), "colours": not (mean and std)}
    assumed = frozenset() if default else frozenset(k for k, v in silent.items() if v)
    padding = metadata.get("padding")
    try:
        eps = float(metadata["bn_eps"]) if "bn_eps" in metadata else None
    except ValueError:
        raise EdgepruneError(where, f"bn_eps {metadata['bn_eps']!r} is no number", ANEW) from None
    kind = None if padding is None else ("same" if "SAME" in padding else "symmetric")
    if eps is not None and not 0 < eps < 1:
        raise EdgepruneError(where, f"bn_eps {eps} is not between 0 and 1", ANEW)
    return Source(where, tensors, convention, kind, eps, assumed=assumed)


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


def shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"


def some(names: Sequence[str], tensors: Mapping[str, Tensor] | None = None) -> str:
    """At most five names, with shapes where ``tensors`` are given."""
    return units.some([f"{n} ({shape(tensors[n])})" if tensors else n for n in names], 5)
