"""The fast spectral filter in PyTorch: by FFT, or by matrix products for small maps on CPUs."""

import functools
from collections.abc import Callable
from types import ModuleType

import torch
from torch import Tensor

from ..backend import no_autocast
from ..derivatives import transformed
from . import fft, reference

# Longest side of a CPU map up to which matrix products beat the FFT (benchmarks/spectral.py).
MATMUL_LIMIT = {'dct': 512, 'hartley': 256}


def spectral_filter_blocked(x: Tensor, weight: Tensor, transform: str) -> Tensor:
    """Arguments as those of :func:`.reference.spectral_filter_reference`; in operations that torch differentiates."""
    forward, inverse = transforms(weight, weight.shape[1], weight.shape[2], transform)
    with no_autocast(x):
        return inverse(forward(x.to(weight.dtype)) * weight.permute(1, 2, 0))


def transforms(like: Tensor, height: int, width: int, transform: str) -> tuple[Callable, Callable]:
    """(forward, inverse) of the fast path for (B, H, W, C) maps of `like`'s dtype and device."""
    small = like.device.type == 'cpu' and max(height, width) <= MATMUL_LIMIT[transform]
    if small and (like.dtype == torch.float64 or _products_are_float32()):
        module: ModuleType = reference
        tables = reference.tables if transformed() else _tables  # a table made inside a transform belongs to it
        arguments: tuple = transform, tables(transform, height, width, like.dtype, like.device)
    else:
        module, arguments = fft, (transform,)
    return lambda x: module.forward(x, *arguments), lambda x: module.inverse(x, *arguments)


def _products_are_float32() -> bool:
    """Whether nobody asked for TF32 or bfloat16 inside float32 matrix products."""
    try:
        return torch.get_float32_matmul_precision() == 'highest'
    except RuntimeError:  # the question is refused once the newer switches of one backend were touched
        return False


_tables = functools.lru_cache(maxsize=32)(reference.tables)
