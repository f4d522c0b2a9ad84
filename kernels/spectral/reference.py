"""The definition of the spectral filter: orthonormal transforms as products with their matrices, in x's own dtype.

Also what is exported, and what runs on small CPU maps: up to a few hundred pixels a side, two matrix products cost less
than a strided FFT.
"""

import math

import torch
from torch import Tensor

from ..precision import table_device


def dct_matrix(n: int, dtype: torch.dtype, device=None) -> Tensor:
    """The orthonormal DCT-II of length n as an (n, n) matrix; its transpose is its inverse, the DCT-III."""
    k = torch.arange(n, dtype=_wide(dtype), device=table_device(device))
    matrix = torch.cos(math.pi / (2 * n) * (k[:, None] * (2 * k + 1)))
    scale = (2 - (k == 0).to(k.dtype)) / n
    return (matrix * scale.sqrt()[:, None]).to(dtype).to(device)


def hartley_matrices(n: int, dtype: torch.dtype, device=None) -> tuple[Tensor, Tensor]:
    """cos(2 pi k m / n) and sin(2 pi k m / n), (n, n) each, over sqrt(n)."""
    k = torch.arange(n, dtype=torch.int64, device=table_device(device))
    angle = (k[:, None] * k % n).to(_wide(dtype)) * (2 * math.pi / n)
    scale = n**-0.5
    return tuple((wave(angle) * scale).to(dtype).to(device) for wave in (torch.cos, torch.sin))


def _wide(dtype: torch.dtype) -> torch.dtype:
    """Tables are made in float64 so that rounding enters once."""
    return torch.promote_types(dtype, torch.float64)


def tables(transform: str, height: int, width: int, dtype: torch.dtype, device=None) -> tuple[Tensor, ...]:
    """What :func:`forward` and :func:`inverse` multiply by."""
    if transform == 'dct':
        return dct_matrix(height, dtype, device), dct_matrix(width, dtype, device)
    return *hartley_matrices(height, dtype, device), *hartley_matrices(width, dtype, device)


def forward(x: Tensor, transform: str, tables: tuple[Tensor, ...]) -> Tensor:
    """Orthonormal 2-D spectrum of x (B, H, W, C) over H and W.

    'dct': DCT-II on each axis. 'hartley': sum of x[m, n] cas(2 pi (k m / H + l n / W)) / sqrt(H W), cas = cos + sin,
    the non-separable transform, with cas(a + b) = cos(a) cas(b) + sin(a) cas(-b).
    """
    if transform == 'dct':
        rows, columns = tables
        return _along_rows(rows, columns @ x)
    cos_h, sin_h, cos_w, sin_w = tables
    return _along_rows(cos_h, (cos_w + sin_w) @ x) + _along_rows(sin_h, (cos_w - sin_w) @ x)


def inverse(spectrum: Tensor, transform: str, tables: tuple[Tensor, ...]) -> Tensor:
    """The map of a spectrum (B, H, W, C): the transpose of :func:`forward`."""
    if transform == 'dct':
        rows, columns = tables
        return _along_rows(rows.T, columns.T @ spectrum)
    return forward(spectrum, transform, tables)  # the Hartley transform is its own transpose and inverse


def _along_rows(matrix: Tensor, x: Tensor) -> Tensor:
    return (matrix @ x.flatten(2)).unflatten(2, x.shape[2:])


def spectral_filter_reference(x: Tensor, weight: Tensor, transform: str) -> Tensor:
    """As :func:`mmvssm.kernels.spectral_filter`, for x (B, H, W, C) and weight (C, H, W) of one floating dtype."""
    matrices = tables(transform, x.shape[1], x.shape[2], x.dtype, x.device)
    return inverse(forward(x, transform, matrices) * weight.permute(1, 2, 0), transform, matrices)
