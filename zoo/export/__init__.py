"""`tokenzoo export`: an encoder or a decoder as a file for ONNX Runtime or PyTorch that runs without this library."""

from .errors import NotExportable
from .run import Exported, export

__all__ = ["Exported", "NotExportable", "export"]
