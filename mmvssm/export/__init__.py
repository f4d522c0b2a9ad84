"""Files for other runtimes: ONNX, with the scan in two forms, and PyTorch's own; each is checked before it is kept."""

from .write import FORMATS, Exported, ExportError, export

__all__ = ['FORMATS', 'ExportError', 'Exported', 'export']
