"""The public spectral filter: checks, choice of the implementation, call."""

import torch
from torch import Tensor

from mmvssm.tracing import is_exporting

from ..backend import choose, no_autocast
from ..derivatives import transformed
from ..operators import OPERATORS, Implementation, Operator
from . import blocked, reference
from .op import NAME, spectral_filter_op, spectral_filter_transformable
from .resize import TRANSFORMS, check_choice, resize_spectral_weight

OPERATORS[NAME] = Operator(
    NAME,
    (
        Implementation('blocked', load=lambda: blocked),
        Implementation('reference', function=reference.spectral_filter_reference),
    ),
)


def spectral_filter(
    x: Tensor,
    weight: Tensor,
    *,
    transform: str = 'dct',
    mode: str = 'linear',
    backend: str | None = None,
) -> Tensor:
    """Multiply the 2-D spectrum of every channel by a gain: transform, scale, transform back.

    Computed in float32 (float64 where x is), under autocast too. The transform's normalisation does not matter; it is
    orthonormal.

    Args:
        x: (B, H, W, C) of any floating dtype, any strides.
        weight: (C, h, w) gains, real; resized by frequency where (h, w) is not (H, W).
        transform: 'dct' (DCT-II and its inverse) or 'hartley' (the non-separable 2-D Hartley transform).
        mode: how to resize, see :func:`resize_spectral_weight`.
        backend: 'reference' is the plain differentiable definition; 'blocked' or 'auto' take the one fast path there
            is: FFT, or matrix products for small maps on CPUs. None is what `use_backend` or MMVSSM_BACKEND say.

    Returns:
        (B, H, W, C), float32 or float64.

    Raises:
        ValueError: shapes that do not fit together, an unknown transform, mode or backend.
    """
    check_choice('transform', transform, TRANSFORMS)
    if x.dim() != 4 or weight.dim() != 3 or weight.shape[0] != x.shape[3]:
        raise ValueError(f'x must be (B, H, W, C) and weight (C, h, w); got {tuple(x.shape)} and {tuple(weight.shape)}')
    chosen = OPERATORS[NAME][choose(OPERATORS[NAME], x, backend)]
    compute = torch.promote_types(x.dtype, torch.float32)
    with no_autocast(x):
        weight = resize_spectral_weight(weight.to(compute), (x.shape[1], x.shape[2]), transform, mode)
        plain = reference.spectral_filter_reference if is_exporting() else chosen.function
        if plain is not None:
            return plain(x.to(compute), weight, transform)
        if transformed():
            return spectral_filter_transformable(transform)(x, weight)
        return spectral_filter_op(x, weight, transform)
