"""Spectral weights at other map sizes (Heracles): gains indexed by frequency, so no amplitude factor enters.

Every rule is linear and separable: one interpolation matrix an axis.
"""

import functools
import math

import torch
from torch import Tensor

from mmvssm.tracing import is_compiling, is_tracing

from ..derivatives import transformed
from ..precision import table_device

TRANSFORMS = ('dct', 'hartley')
MODES = ('linear', 'trig', 'index')


def check_choice(field: str, value, allowed: tuple[str, ...]) -> None:
    """Raise a ValueError that names the field and what is allowed, unless `value` is one of `allowed`."""
    if value not in allowed:
        raise ValueError(f'{field}={value!r} is not supported; allowed: {", ".join(allowed)}')


def resize_spectral_weight(
    weight: Tensor, size: tuple[int, int], transform: str = 'dct', mode: str = 'linear'
) -> Tensor:
    """Gains of an (h, w) map for an (H, W) map; differentiable. The same size is the same tensor.

    Args:
        weight: (..., h, w), row k and column l holding the gain of frequency (k, l), in FFT order for 'hartley'.
        size: (H, W).
        transform: 'dct' (index k is k half-periods a map) or 'hartley' (signed periods a map, periodic).
        mode: 'linear' keeps the filter in pixels: gains stay at their frequency per sample, interpolated linearly.
            'trig' keeps the spatial kernel exactly (folding it where the map is smaller). 'index' keeps the filter
            relative to the image: low indices are copied, new high frequencies get 0.

    Returns:
        (..., H, W), of weight's dtype.

    Raises:
        ValueError: an unknown transform or mode.
    """
    check_choice('transform', transform, TRANSFORMS)
    check_choice('mode', mode, MODES)
    for dim, new in zip((-2, -1), size):
        old = weight.shape[dim]
        if not isinstance(new, int) or new != old:  # a symbolic size in torch.export must not be tied to this one
            matrix = _axis_matrix(old, new, transform, mode, weight)
            weight = matrix @ weight if dim == -2 else weight @ matrix.T
    return weight


def _axis_matrix(old: int, new: int, transform: str, mode: str, like: Tensor) -> Tensor:
    build = {'linear': _linear, 'trig': _trig, 'index': _index}[mode]
    traced = is_compiling() or is_tracing() or transformed()
    if not traced and type(like) in (Tensor, torch.nn.Parameter):
        return _cached(build, old, new, transform, like.dtype, like.device)
    return _made(build, old, new, transform, like.dtype, like.device)


@functools.lru_cache(maxsize=64)
def _cached(build, old: int, new: int, transform: str, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # a table made in inference mode is no use in training
        return _made(build, old, new, transform, dtype, device)


def _made(build, old: int, new: int, transform: str, dtype: torch.dtype, device: torch.device) -> Tensor:
    return build(old, new, transform, table_device(device)).to(dtype).to(device)


def _linear(old: int, new: int, transform: str, device) -> Tensor:
    """Row k reads source coordinate k * old / new, split into integers so that the remainder is exact."""
    target = torch.arange(new, device=device)[:, None] * old
    low, share = target // new, (target % new).double() / new
    if transform == 'dct':
        high = (low + 1).clamp(max=old - 1)
    else:
        high = (low + 1) % old
    source = torch.arange(old, device=device)
    return (source == low) * (1 - share) + (source == high) * share


def _trig(old: int, new: int, transform: str, device) -> Tensor:
    """Evaluate the trigonometric series through the old gains at the new frequencies."""
    k = torch.arange(new, dtype=torch.float64, device=device)[:, None]
    if transform == 'hartley':
        source = torch.arange(old, dtype=torch.float64, device=device)
        apart = 2 * math.pi * (k / new - source / old)
        taps = torch.arange(1, (old + 1) // 2, device=device)
        kernel = 1 + 2 * torch.cos(apart[..., None] * taps).sum(-1)
        if old % 2 == 0:
            kernel = kernel + torch.cos(apart * (old // 2))
        return kernel / old
    taps = torch.arange(old + 1, dtype=torch.float64, device=device)
    ends = torch.where((taps == 0) | (taps == old), 1.0, 2.0)
    inverse = torch.cos(math.pi / old * taps[:, None] * taps) * ends / (2 * old)  # DCT-I: old + 1 gains -> taps
    matrix = torch.cos(math.pi / new * k * taps) * ends @ inverse
    matrix[:, old - 1] += matrix[:, old]  # the gain at pi, which a DCT-II does not have, is that of the last index
    return matrix[:, :old]


def _index(old: int, new: int, transform: str, device) -> Tensor:
    """Copy the gains of the indices that both sizes have."""
    target, source = torch.arange(new, device=device)[:, None], torch.arange(old, device=device)
    if transform == 'dct':
        return (target == source).double()
    signed_target = torch.where(2 * target > new, target - new, target)
    signed_source = torch.where(2 * source > old, source - old, source)
    same = signed_target == signed_source
    # the Nyquist index of an even size stands for both signs
    same = same | ((2 * signed_target.abs() == new) & (signed_target.abs() == signed_source.abs()))
    same = same | ((2 * signed_source.abs() == old) & (signed_target.abs() == signed_source.abs()))
    return same.double() / same.sum(-1, keepdim=True).clamp(min=1)
