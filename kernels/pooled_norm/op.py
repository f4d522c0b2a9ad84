"""The torch.library operator of the pooled LayerNorm: fake kernels, autograd, FLOPs.

A module implements it for a compiled backend (`triton_launch`) with two functions, for x that is not empty:

    forward(x, weight, bias, eps) -> (b, K, d) of at least float32
    backward(dy, x, weight, bias, eps) -> (dx, dweight, dbias), contiguous; dbias whether there is a bias or not

Saved for the backward pass: the inputs.
"""

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from ..norms import Norm
from ..operators import OPERATORS
from .blocked import pooled_norm_blocked

NAME = 'pooled_norm'


@torch.library.custom_op('mmvssm::pooled_norm', mutates_args=())
def pooled_norm_op(
    x: Tensor, weight: Tensor, bias: Tensor | None, eps: float, out_dtype: torch.dtype, backend: str
) -> Tensor:
    """(b, K, d) of out_dtype."""
    if not x.numel():
        return pooled_norm_blocked(x, weight, bias, eps, out_dtype)
    return OPERATORS[NAME].kernels(backend).forward(x, weight, bias, eps).to(out_dtype)


@pooled_norm_op.register_fake
def _(x, weight, bias, eps, out_dtype, backend):
    return x.new_empty((x.shape[0], *x.shape[2:]), dtype=out_dtype)


@torch.library.custom_op('mmvssm::pooled_norm_backward', mutates_args=())
def pooled_norm_backward_op(
    dy: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, eps: float, backend: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, weight and bias, each of its tensor's shape and dtype; of no bias an empty one."""
    if not x.numel():
        dx, dweight, dbias = torch.zeros_like(x), torch.zeros_like(weight), torch.zeros_like(weight)
    else:
        dx, dweight, dbias = OPERATORS[NAME].kernels(backend).backward(dy, x, weight, bias, eps)
    dbias = weight.new_empty(0) if bias is None else dbias.to(bias.dtype)
    return dx.to(x.dtype).contiguous(), dweight.to(weight.dtype), dbias


@pooled_norm_backward_op.register_fake
def _(dy, x, weight, bias, eps, backend):
    return (
        x.new_empty(x.shape),
        weight.new_empty(weight.shape),
        weight.new_empty(0) if bias is None else bias.new_empty(bias.shape),
    )


IN_BATCH = (True, False, False)  # weight and bias are parameters
POOLED_NORM = Norm(NAME, pooled_norm_op, pooled_norm_backward_op, pooled_norm_blocked, IN_BATCH)
POOLED_NORM.register_autograd()


@register_flop_formula([torch.ops.mmvssm.pooled_norm, torch.ops.mmvssm.pooled_norm_backward])
def _flops(*args, out_shape=None, **kwargs) -> int:
    """No product of matrices; `mmvssm.flops` counts norms where they are called."""
    return 0
