"""The public gated, normed sum: checks, choice of the implementation, call."""

import torch
from torch import Tensor

from ..backend import triton_kernels
from ..operators import OPERATORS, Implementation, Operator
from . import check
from .blocked import gated_norm_blocked
from .op import GATED_NORM, NAME
from .reference import gated_norm_reference

OPERATORS[NAME] = Operator(
    NAME,
    (
        triton_kernels(str(__package__)),
        Implementation('blocked', function=gated_norm_blocked),
        Implementation('reference', function=gated_norm_reference),
    ),
    check.errors,
)


def gated_norm(
    y: Tensor,
    gate: Tensor,
    weight: Tensor,
    bias: Tensor,
    z: Tensor,
    eps: float = 1e-5,
    *,
    out_dtype: torch.dtype | None = None,
    backend: str | None = None,
) -> Tensor:
    """LayerNorm(sum over k of gate_k y_k) * silu(z), in one pass over y.

    Computed in float32 (float64 where y is), under autocast too.

    Args:
        y: (b, L, K, d), the outputs of K branches, any strides.
        gate: (b, K, d).
        weight, bias: (d,), of the LayerNorm over channels.
        z: (b, L, d), any strides.
        eps: added to the variance.
        out_dtype: of the result, z's by default.
        backend: 'reference', 'blocked', 'triton' or 'auto'; None is what `use_backend` or MMVSSM_BACKEND say.

    Returns:
        (b, L, d).

    Raises:
        ValueError: shapes that do not fit together, an unknown backend, or one that cannot run here.
    """
    _check(y, gate, weight, bias, z)
    return GATED_NORM((y, gate, weight, bias, z), eps, z.dtype if out_dtype is None else out_dtype, backend)


def _check(y, gate, weight, bias, z) -> None:
    if y.dim() != 4:
        raise ValueError(f'y must be (b, L, K, d); got {tuple(y.shape)}')
    b, L, K, d = y.shape
    for field, tensor, shape in (
        ('gate', gate, (b, K, d)),
        ('weight', weight, (d,)),
        ('bias', bias, (d,)),
        ('z', z, (b, L, d)),
    ):
        if tensor.shape != shape:
            raise ValueError(f'{field} must have shape {shape} beside y {tuple(y.shape)}; got {tuple(tensor.shape)}')
