"""A network from its name: the paper's two, torchvision's, timm's, or a function in the user's own
file.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import EdgepruneError, closest
from ..records import ModelSpec
from .mobilenetv1 import MobileNetV1
from .vgg16 import VGG16

OWN = ("vgg16", "mobilenetv1", "mobilenetv2")
HEADS = ("paper", "original")
PADDINGS = ("symmetric", "same")
ALPHA = re.compile(r"mobilenetv1(?:-(\d*\.?\d+))?")


def build(spec: ModelSpec) -> nn.Module:
    """The network of ``spec`` with fresh weights (He et al. 2015 for the paper's two), in eval
    mode.

    The weights come from torch's global generator: seed it first. Raises :class:`EdgepruneError`
    for a name, head or padding that is not known.
    """
    if spec.head not in HEADS:
        raise EdgepruneError(f"--head {spec.head!r}", closest(spec.head, HEADS))
    if spec.padding not in PADDINGS:
        raise EdgepruneError(f"padding {spec.padding!r}", closest(spec.padding, PADDINGS))
    if spec.classes < 2:
        raise EdgepruneError(f"{spec.classes} classes", "a classifier needs at least two")
    if spec.model.startswith("torchvision/"):
        network = _torchvision(spec)
    elif spec.model.startswith("timm/") or spec.model == "mobilenetv2":
        network = _timm(spec)
    elif ":" in spec.model:
        network = _own_file(spec)
    else:
        network = _paper(spec)
        initialise(network)
    return network.eval()


def check_name(name: str) -> None:
    """Refuse a name that no source knows, before any work is done."""
    if name.startswith(("torchvision/", "timm/")) or ":" in name or name in OWN:
        return
    alpha = ALPHA.fullmatch(name)
    if not alpha:
        raise EdgepruneError(
            f"--model {name!r}",
            closest(name, OWN),
            "see edgeprune models; others: torchvision/NAME, timm/NAME, FILE.py:FUNCTION",
        )
    if alpha[1] and not 0.05 <= float(alpha[1]) <= 4:
        raise EdgepruneError(f"--model {name!r}", "the width multiplier must lie in 0.05..4")


def initialise(network: nn.Module) -> None:
    """He initialisation (fan out, ReLU); batch norm 1 and 0; the last layer small, so logits start
    near 0.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
            nn.init.zeros_(module.bias)
    last = [m for m in network.modules() if isinstance(m, nn.Linear)][-1]
    nn.init.normal_(last.weight, std=0.01)


def layer_names(spec: ModelSpec) -> dict[str, str]:
    """Qualified names of the paper's two networks -> the paper's own (``features.28 -> conv13``);
    else {}.
    """
    if spec.model == "vgg16":
        convs = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
        names = {f"features.{k}": f"conv{i}" for i, k in enumerate(convs, 1)}
    elif ALPHA.fullmatch(spec.model):
        names = {"features.0.conv": "conv1"}
        for k in range(1, 14):
            names |= {
                f"features.{k}.dw.conv": f"dw{k + 1}",
                f"features.{k}.pw.conv": f"conv{k + 1}",
            }
    else:
        return {}
    if spec.head == "paper":
        names |= {"classifier.0": "dense1", "classifier.3": "dense2"}
    return names


def _paper(spec: ModelSpec) -> nn.Module:
    check_name(spec.model)
    if spec.model == "vgg16":
        return VGG16(spec.classes, spec.head)
    match = ALPHA.fullmatch(spec.model)
    assert match
    return MobileNetV1(spec.classes, spec.head, float(match[1] or 1), spec.padding, spec.bn_eps)


def _torchvision(spec: ModelSpec) -> nn.Module:
    from torchvision import models

    name = spec.model.removeprefix("torchvision/")
    known = models.list_models(module=models)
    if name not in known:
        raise EdgepruneError(f"--model {spec.model!r}", closest(name, known[:200]))
    extra: dict[str, Any] = {}
    if name in ("googlenet", "inception_v3"):  # their auxiliary classifiers serve training only
        extra = {"aux_logits": False, "init_weights": True}
    return _made(
        spec, lambda: models.get_model(name, weights=None, num_classes=spec.classes, **extra)
    )


def _timm(spec: ModelSpec) -> nn.Module:
    try:
        import timm
    except ImportError:
        raise EdgepruneError(
            f"--model {spec.model!r}", "timm is not installed", "pip install 'edgeprune[timm]'"
        ) from None
    name = "mobilenetv2_100" if spec.model == "mobilenetv2" else spec.model.removeprefix("timm/")
    if not timm.is_model(name):
        raise EdgepruneError(f"--model {spec.model!r}", closest(name, timm.list_models()[:2000]))
    extra: dict[str, Any] = {}
    if spec.padding == "same":
        extra["pad_type"] = "same"
    if spec.bn_eps != ModelSpec.bn_eps:
        extra["bn_eps"] = spec.bn_eps
    return _made(spec, lambda: timm.create_model(name, num_classes=spec.classes, **extra))


def _own_file(spec: ModelSpec) -> nn.Module:
    """``FILE.py:FUNCTION``: the user's own code, run as such; called with ``classes`` if it takes
    it.
    """
    import inspect

    file, _, function = spec.model.rpartition(":")
    path = Path(file).expanduser()
    if not path.is_file():
        raise EdgepruneError(f"--model {spec.model!r}", f"no such file: {path}")
    module_spec = importlib.util.spec_from_file_location(path.stem, path)
    if module_spec is None or module_spec.loader is None:
        raise EdgepruneError(f"--model {spec.model!r}", "not a Python file")
    module = importlib.util.module_from_spec(module_spec)
    with _beside(path):
        try:
            module_spec.loader.exec_module(module)
            make = getattr(module, function, None)
            if not callable(make):
                known = [
                    n for n, v in vars(module).items() if callable(v) and not n.startswith("_")
                ]
                raise EdgepruneError(
                    f"--model {spec.model!r}", f"no function {function}", closest(function, known)
                )
            takes = inspect.signature(make).parameters
            word = next((w for w in ("classes", "num_classes") if w in takes), None)
            network = make(**({word: spec.classes} if word else {}))
        except EdgepruneError:
            raise
        except (Exception, SystemExit) as e:  # whatever the user's code raises
            raise EdgepruneError(f"--model {spec.model!r}", f"{type(e).__name__}: {e}") from None
    if not isinstance(network, nn.Module):
        raise EdgepruneError(f"--model {spec.model!r}", f"{function} gave no nn.Module")
    return network


def _made(spec: ModelSpec, make: Callable[[], nn.Module]) -> nn.Module:
    try:
        return make()
    except TypeError as e:
        raise EdgepruneError(f"--model {spec.model!r}", f"cannot be built so ({e})") from None


@contextmanager
def _beside(path: Path) -> Iterator[None]:
    """Let the user's file import its neighbours while it is loaded."""
    sys.path.insert(0, str(path.parent.resolve()))
    try:
        yield
    finally:
        sys.path.pop(0)


def has_norm(network: nn.Module) -> bool:
    """Whether the network has normalisation layers (VGG16 in the paper's form has none)."""
    return any("norm" in type(m).__name__.lower() for m in network.modules())


def fresh(spec: ModelSpec, seed: int) -> nn.Module:
    """``build`` with its own seed; the caller's generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(spec)
