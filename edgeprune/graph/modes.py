"""Eval mode for a while, attributes put back, silence about what is handled, no garbage collector."""

from __future__ import annotations

import gc
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from io import StringIO

import torch
from torch import nn

ATOMS = frozenset(
    {int, float, bool, str, type(None), torch.dtype}
)  # hold no tensor and never change
CONTAINERS = (dict, list, set)  # what a forward may keep a table in


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode for a while; afterwards every submodule has its own mode back."""
    modes = {m: m.training for m in model.modules()}
    try:
        model.eval()
    except NotImplementedError:  # a graph of torch.export, which has its mode written in it
        set_modes(dict.fromkeys(modes, False))
    try:
        yield
    finally:
        set_modes(modes)


def set_modes(modes: Mapping[nn.Module, bool]) -> None:
    """Each module (parents before children) in its own mode, through its own ``train`` where it has one."""
    for m, training in modes.items():
        if type(m).train is not nn.Module.train and m.training != training:
            m.train(training)
    for m, training in modes.items():
        m.training = training


@contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """Whatever a forward keeps (tables in a cache), afterwards every module's attributes are as before."""
    before = [(m, dict(m.__dict__)) for m in model.modules()]
    containers = [
        (v, v.copy() if v else None)  # most are empty
        for _, attributes in before
        for v in attributes.values()
        if type(v) not in ATOMS and isinstance(v, CONTAINERS)
    ]
    try:
        yield
    finally:
        for m, attributes in before:
            m.__dict__.clear()
            m.__dict__.update(attributes)
        for container, content in containers:
            if container or content:
                container.clear()
            if content:
                fill = container.extend if isinstance(container, list) else container.update
                fill(content)


@contextmanager
def uncollected() -> Iterator[None]:
    """Without the garbage collector, which looks at all of timm again and again while graphs are made."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


@contextmanager
def quiet() -> Iterator[None]:
    """PyTorch warns, logs and prints about things that we handle."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
