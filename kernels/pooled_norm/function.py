"""The public pooled LayerNorm: checks, choice of the implementation, call."""

import torch
from torch import Tensor

from ..backend import triton_kernels
from ..operators import OPERATORS, Implementation, Operator
from . import check
from .blocked import pooled_norm_blocked
from .op import NAME, POOLED_NORM
from .reference import pooled_norm_reference

OPERATORS[NAME] = Operator(
    NAME,
    (
        triton_kernels(str(__package__)),
        Implementation('blocked', function=pooled_norm_blocked),
        Implementation('reference', function=pooled_norm_reference),
    ),
    check.errors,
)


def pooled_norm(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *,
    out_dtype: torch.dtype | None = None,
    backend: str | None = None,
) -> Tensor:
    """Mean over tokens of the LayerNorm over channels, in one pass over x.

    Computed in float32 (float64 where x is), under autocast too.

    Args:
        x: (b, L, K, d), any strides.
        weight: (d,).
        bias: (d,) or None.
        eps: added to the variance.
        out_dtype: of the result, x's by default.
        backend: 'reference', 'blocked', 'triton' or 'auto'; None is what `use_backend` or MMVSSM_BACKEND say.

    Returns:
        (b, K, d).

    Raises:
        ValueError: shapes that do not fit together, an unknown backend, or one that cannot run here.
    """
    if x.dim() != 4 or weight.shape != x.shape[3:] or (bias is not None and bias.shape != weight.shape):
        bias_shape = None if bias is None else tuple(bias.shape)
        raise ValueError(
            f'x must be (b, L, K, d), weight and bias (d,); got {tuple(x.shape)}, {tuple(weight.shape)}, {bias_shape}'
        )
    return POOLED_NORM((x, weight, bias), eps, x.dtype if out_dtype is None else out_dtype, backend)
