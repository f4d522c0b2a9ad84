"""The public pooled LayerNorm: checks, choice of the implementation, call."""

from importlib import import_module

import torch
from torch import Tensor

from mmvssm.tracing import is_exporting

from ..backend import choose, no_autocast, no_triton, run_or_fall_back
from ..derivatives import transformed
from ..operators import OPERATORS, Implementation, Operator
from . import check
from .blocked import pooled_norm_blocked
from .op import NAME, pooled_norm_op, transformable
from .reference import pooled_norm_reference

OPERATORS[NAME] = Operator(
    NAME,
    (
        Implementation(
            'triton',
            load=lambda: import_module('.triton_launch', __package__),
            compiled=True,
            fastest_on=('cuda',),
            why_not=no_triton,
        ),
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
    tensors = (x, weight, bias)
    gradients = transformed() or (torch.is_grad_enabled() and any(z is not None and z.requires_grad for z in tensors))
    operator = OPERATORS[NAME]
    out_dtype = x.dtype if out_dtype is None else out_dtype

    def run(name: str) -> Tensor:
        plain = pooled_norm_blocked if is_exporting() else operator[name].function
        if plain is not None:
            with no_autocast(x):
                return plain(*tensors, eps, out_dtype)
        if transformed():
            return transformable(eps, out_dtype, name)(*tensors)
        return pooled_norm_op(*tensors, eps, out_dtype, name)

    return run_or_fall_back(operator, choose(operator, x, backend, gradients), run)
