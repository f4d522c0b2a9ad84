"""The public gated, normed sum: checks, choice of the implementation, call."""

from importlib import import_module

import torch
from torch import Tensor

from mmvssm.tracing import is_exporting

from ..backend import choose, no_autocast, no_triton, run_or_fall_back
from ..derivatives import transformed
from ..operators import OPERATORS, Implementation, Operator
from . import check
from .blocked import gated_norm_blocked
from .op import NAME, gated_norm_op, transformable
from .reference import gated_norm_reference

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
    tensors = (y, gate, weight, bias, z)
    gradients = transformed() or (torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors))
    operator = OPERATORS[NAME]
    out_dtype = z.dtype if out_dtype is None else out_dtype

    def run(name: str) -> Tensor:
        plain = gated_norm_blocked if is_exporting() else operator[name].function
        if plain is not None:
            with no_autocast(y):
                return plain(*tensors, eps, out_dtype)
        if transformed():
            return transformable(eps, out_dtype, name)(*tensors)
        return gated_norm_op(*tensors, eps, out_dtype, name)

    return run_or_fall_back(operator, choose(operator, y, backend, gradients), run)


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
