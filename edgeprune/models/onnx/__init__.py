"""A network out of an .onnx file: checked, its nodes as steps of an ``nn.Module``."""

from .file import bundle, parsed
from .interface import Interface, Port
from .module import OnnxNetwork, of, read

__all__ = ["Interface", "OnnxNetwork", "Port", "bundle", "of", "parsed", "read"]
