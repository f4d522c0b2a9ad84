"""The spectral filter's transforms by FFT, any size: on GPUs, and on large maps everywhere.

`e` is exp(-i pi k / 2n). See kernels/README.md for the derivation of the DCT from a real FFT.
"""

import math

import torch
from torch import Tensor

from ..precision import table_device

HEIGHT, WIDTH = 1, 2  # axes of (B, H, W, C)


def forward(x: Tensor, transform: str) -> Tensor:
    """Orthonormal 2-D spectrum of x (B, H, W, C), float32 or float64; see :func:`.reference.forward`."""
    if transform == 'dct':
        return _dct(_dct(x, WIDTH), HEIGHT)
    spectrum = torch.fft.fft2(x, dim=(HEIGHT, WIDTH), norm='ortho')
    return spectrum.real - spectrum.imag


def inverse(spectrum: Tensor, transform: str) -> Tensor:
    """The map of a spectrum (B, H, W, C)."""
    if transform == 'dct':
        return _idct(_idct(spectrum, HEIGHT), WIDTH)
    return forward(spectrum, transform)


def _along(vector: Tensor, dim: int) -> Tensor:
    return vector.view(-1, *[1] * (3 - dim))


def _twiddle(n: int, x: Tensor, dim: int) -> Tensor:
    """e[k] for k = 0 ... n // 2, times the orthonormal scale of X[k]."""
    k = torch.arange(n // 2 + 1, dtype=torch.float64, device=table_device(x.device))
    scale = ((2 - (k == 0).double()) / n).sqrt()
    twiddle = torch.polar(scale, k * (-math.pi / (2 * n))).to(torch.promote_types(x.dtype, torch.complex64))
    return _along(twiddle.to(x.device), dim)


def _dct(x: Tensor, dim: int) -> Tensor:
    """DCT-II: with v the even samples, then the odd ones reversed, X[k] = Re(V[k] e[k]) and X[n-k] = -Im(V[k] e[k])."""
    n = x.shape[dim]
    index = torch.arange(n, device=x.device)
    v = x.index_select(dim, torch.cat([index[::2], index[1::2].flip(0)]))
    spectrum = torch.fft.rfft(v, dim=dim) * _twiddle(n, x, dim)
    upper = spectrum.imag.narrow(dim, 1, (n - 1) // 2).flip(dim)
    return torch.cat([spectrum.real, -upper], dim)


def _idct(x: Tensor, dim: int) -> Tensor:
    """DCT-III, the inverse: V[k] = (X[k] - i X[n-k]) / e[k] with X[n] = 0; v by a real inverse FFT."""
    n = x.shape[dim]
    half = n // 2
    mirrored = x.narrow(dim, n - half, half).flip(dim)
    imag = torch.cat([torch.zeros_like(x.narrow(dim, 0, 1)), -mirrored], dim)
    spectrum = torch.complex(x.narrow(dim, 0, half + 1), imag) / _twiddle(n, x, dim)
    v = torch.fft.irfft(spectrum, n=n, dim=dim)
    index = torch.arange(n, device=x.device)
    return v.index_select(dim, torch.where(index % 2 == 0, index // 2, n - 1 - index // 2))
