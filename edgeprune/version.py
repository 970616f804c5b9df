"""The version of this package; imports nothing, so every room may read it."""

__version__ = "0.1.0"
