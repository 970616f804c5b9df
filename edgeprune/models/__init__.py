"""Networks by name: build one, find its weights, know its input convention."""

from ..records import Convention, ModelSpec
from .weights import fill, find, known_inits, whole
from .zoo import build, check_name, fresh, has_norm, layer_names

__all__ = [
    "Convention",
    "ModelSpec",
    "build",
    "check_name",
    "fill",
    "find",
    "fresh",
    "has_norm",
    "known_inits",
    "layer_names",
    "whole",
]
