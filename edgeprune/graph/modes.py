"""Eval mode for a while, silence about what is handled, no garbage collector."""

from __future__ import annotations

import gc
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from io import StringIO

from torch import nn


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
