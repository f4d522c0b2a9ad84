"""Sequence operators along scan orders. Imported as `mmvssm.kernels`; see README.md beside this file."""

from .backend import SlowKernelWarning, use_backend
from .mlstm import mlstm
from .selective_scan import selective_scan

__all__ = ['SlowKernelWarning', 'mlstm', 'selective_scan', 'use_backend']
