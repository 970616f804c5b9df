"""A network from its name: the paper's two, torchvision's, timm's, or a function in the user's own
file, or an .onnx file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from .. import extras, files
from ..errors import EdgepruneError, closest
from ..records import ModelSpec
from . import code
from .mobilenetv1 import MobileNetV1
from .vgg16 import VGG16

LISTED = "edgeprune models lists them"
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
        raise EdgepruneError(
            f"{spec.classes} classes", "a classifier needs at least two", "--classes 2 or more"
        )
    if spec.model.startswith("torchvision/"):
        network = _torchvision(spec)
    elif spec.model.startswith("timm/") or spec.model == "mobilenetv2":
        network = _timm(spec)
    elif code.is_onnx(spec.model):
        from . import onnx

        network = onnx.read(files.place(spec.model))
    elif code.is_own(spec.model):
        path, function = code.parts(spec.model)
        network = code.build(path, function, spec.classes, f"--model {spec.model!r}")
        network = network.float()  # as images and arrays are given, and as least squares wants them
    else:
        network = _paper(spec)
        initialise(network)
    return network.eval()


def typed(name: str) -> None:
    """A name that was typed now: refused if no source knows it; a file of the user's own may run."""
    check_name(name)
    if name.startswith("timm/"):
        _known_to_timm(name)  # before any data is read: who asks timm waits a second
    brought = code.is_own(name) or code.is_onnx(name)
    if brought and not (path := code.parts(name)[0]).is_file():
        raise EdgepruneError(f"--model {name!r}", f"no such file: {path}", code.FROM_HERE)
    code.typed(name)


def check_name(name: str) -> None:
    """Refuse a name that no source knows, before any work is done."""
    if name.startswith("torchvision/"):
        _known_to_torchvision(name)
        return
    if name.startswith("timm/") or code.is_onnx(name) or ":" in name or name in OWN:
        return
    alpha = ALPHA.fullmatch(name)
    if not alpha:
        raise EdgepruneError(
            f"--model {name!r}",
            closest(name, OWN),
            "see edgeprune models; others: torchvision/NAME, timm/NAME, FILE.py:FUNCTION, FILE.onnx",
        )
    if alpha[1] and not 0.05 <= float(alpha[1]) <= 4:
        raise EdgepruneError(
            f"--model {name!r}", "the width multiplier must lie in 0.05..4", "mobilenetv1-0.5"
        )


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


def layer_said(layer: str, names: Mapping[str, str]) -> str:
    """How people read a layer or a group: ``conv9 (features.19)``, or its qualified name alone."""
    return f"{names[layer]} ({layer})" if layer in names else layer


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


def _known_to_torchvision(model: str) -> str:
    """Its name there; a mistyped one is told whole, as it is to be typed."""
    with extras.needed("torchvision", f"--model {model!r}"):
        from torchvision import models

    known = [f"torchvision/{name}" for name in models.list_models(module=models)]
    if model not in known:
        raise _other_of_torchvision(model) or EdgepruneError(
            f"--model {model!r}", closest(model, known), LISTED
        )
    return model.removeprefix("torchvision/")


def _other_of_torchvision(model: str) -> EdgepruneError | None:
    """What to do with a network of torchvision's that is no classifier of images; None: it has no such."""
    from torchvision import models

    name = model.removeprefix("torchvision/")
    if name not in models.list_models():
        return None
    room = models.get_model_builder(name).__module__.split(".")[2]
    if room == "quantization":
        return EdgepruneError(
            f"--model {model!r}", "is quantised",
            f"prune the float network, torchvision/{name.removeprefix('quantized_')}",
        )  # fmt: skip
    why, part = f"is of torchvision.models.{room}, and classifiers are built by name", ""
    if room == "detection":  # it chooses boxes by their numbers
        why, part = "is a whole detector, of which the backbone can be pruned", ".backbone"
    own = ", weights_backbone=None" if room in ("detection", "segmentation") else ""  # else fetched
    return EdgepruneError(
        f"--model {model!r}", why,
        f"--model FILE.py:net, with def net(): return torchvision.models.get_model({name!r}{own}){part}",
    )  # fmt: skip


def _torchvision(spec: ModelSpec) -> nn.Module:
    from torchvision import models

    name = _known_to_torchvision(spec.model)
    extra: dict[str, Any] = {}
    if name in ("googlenet", "inception_v3"):  # their auxiliary classifiers serve training only
        extra = {"aux_logits": False, "init_weights": True}
    return _made(
        spec, lambda: models.get_model(name, weights=None, num_classes=spec.classes, **extra)
    )


def _known_to_timm(model: str) -> str:
    """timm's own name of the network; an error where timm, or the name, is not there."""
    with extras.needed("timm", f"--model {model!r}"):
        import timm
    name = "mobilenetv2_100" if model == "mobilenetv2" else model.removeprefix("timm/")
    if not timm.is_model(name):
        known = [f"timm/{n}" for n in timm.list_models()]
        raise EdgepruneError(f"--model {model!r}", closest(model, known), LISTED)
    return name


def _timm(spec: ModelSpec) -> nn.Module:
    import timm

    name = _known_to_timm(spec.model)
    extra: dict[str, Any] = {}
    if spec.padding == "same":
        extra["pad_type"] = "same"
    if spec.bn_eps != ModelSpec.bn_eps:
        extra["bn_eps"] = spec.bn_eps
    return _made(spec, lambda: timm.create_model(name, num_classes=spec.classes, **extra))


def _made(spec: ModelSpec, make: Callable[[], nn.Module]) -> nn.Module:
    try:
        return make()
    except TypeError as e:
        raise EdgepruneError(
            f"--model {spec.model!r}", f"cannot be built so ({e})", "build it in a FILE.py:FUNCTION"
        ) from None


def has_paper_head(spec: ModelSpec) -> bool:
    """Whether the network ends as the paper's two do; others keep their own end whatever is asked."""
    return spec.head == "paper" and (spec.model == "vgg16" or bool(ALPHA.fullmatch(spec.model)))


def has_norm(network: nn.Module) -> bool:
    """Whether the network has normalisation layers (VGG16 in the paper's form has none)."""
    return any("norm" in type(m).__name__.lower() for m in network.modules())


def fresh(spec: ModelSpec, seed: int) -> nn.Module:
    """``build`` with its own seed; the caller's generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(spec)
