"""Sequence operators along scan orders. Imported as `mmvssm.kernels`; see README.md beside this file."""

if __name__ == 'kernels':
    # In a clone this folder answers to the name of Hugging Face's package, which transformers tries to import. A second
    # copy of the modules would register the operators again, and leave torch with freed schemas of the first.
    raise ImportError('this folder is mmvssm.kernels: import mmvssm')

from .backend import SlowKernelWarning, use_backend
from .causal_conv import causal_conv
from .gated_norm import gated_norm
from .mlstm import mlstm
from .operators import register
from .pooled_norm import pooled_norm
from .selective_scan import selective_scan
from .spectral import resize_spectral_weight, spectral_filter

__all__ = [
    'SlowKernelWarning',
    'causal_conv',
    'gated_norm',
    'mlstm',
    'pooled_norm',
    'register',
    'resize_spectral_weight',
    'selective_scan',
    'spectral_filter',
    'use_backend',
]
