"""Networks by name: build one, find its weights, know its input convention."""

from ..records import Convention, ModelSpec
from .fit import fill, whole
from .weights import find, is_file, known_inits, model_of
from .zoo import build, check_name, fresh, has_norm, has_paper_head, layer_names, layer_said, typed

__all__ = [
    "Convention",
    "ModelSpec",
    "build",
    "check_name",
    "fill",
    "find",
    "fresh",
    "has_norm",
    "has_paper_head",
    "is_file",
    "known_inits",
    "layer_names",
    "layer_said",
    "model_of",
    "typed",
    "whole",
]
