"""Networks by name: build one, find its weights, know its input convention."""

from .spec import Convention, ModelSpec

__all__ = ["Convention", "ModelSpec"]
