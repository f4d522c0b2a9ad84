"""The torch.library operator of the gated, normed sum: fake kernels, autograd, FLOPs.

A module implements it for a compiled backend (`triton_launch`) with two functions, for y that is not empty:

    forward(y, gate, weight, bias, z, eps, out_dtype) -> (b, L, d), contiguous
    backward(dout, y, gate, weight, bias, z, eps) -> (dy, dgate, dweight, dbias, dz)

Saved for the backward pass: the inputs.
"""

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from ..norms import Norm
from ..operators import OPERATORS
from .blocked import gated_norm_blocked

NAME = 'gated_norm'


@torch.library.custom_op('mmvssm::gated_norm', mutates_args=())
def gated_norm_op(
    y: Tensor,
    gate: Tensor,
    weight: Tensor,
    bias: Tensor,
    z: Tensor,
    eps: float,
    out_dtype: torch.dtype,
    backend: str,
) -> Tensor:
    """(b, L, d) of out_dtype."""
    if not y.numel():
        return z.new_zeros(z.shape, dtype=out_dtype)
    return OPERATORS[NAME].kernels(backend).forward(y, gate, weight, bias, z, eps, out_dtype)


@gated_norm_op.register_fake
def _(y, gate, weight, bias, z, eps, out_dtype, backend):
    return z.new_empty(z.shape, dtype=out_dtype)


@torch.library.custom_op('mmvssm::gated_norm_backward', mutates_args=())
def gated_norm_backward_op(
    dout: Tensor, y: Tensor, gate: Tensor, weight: Tensor, bias: Tensor, z: Tensor, eps: float, backend: str
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of y, gate, weight, bias and z, each of its tensor's shape and dtype, contiguous."""
    tensors = (y, gate, weight, bias, z)
    if not y.numel():
        return tuple(tensor.new_zeros(tensor.shape) for tensor in tensors)
    grads = OPERATORS[NAME].kernels(backend).backward(dout, *tensors, eps)
    return tuple(grad.to(tensor.dtype).contiguous() for tensor, grad in zip(tensors, grads))


@gated_norm_backward_op.register_fake
def _(dout, y, gate, weight, bias, z, eps, backend):
    return tuple(tensor.new_empty(tensor.shape) for tensor in (y, gate, weight, bias, z))


IN_BATCH = (True, True, False, False, True)  # weight and bias are parameters
GATED_NORM = Norm(NAME, gated_norm_op, gated_norm_backward_op, gated_norm_blocked, IN_BATCH)
GATED_NORM.register_autograd()


@register_flop_formula([torch.ops.mmvssm.gated_norm, torch.ops.mmvssm.gated_norm_backward])
def _flops(*args, out_shape=None, **kwargs) -> int:
    """No product of matrices; `mmvssm.flops` counts norms where they are called."""
    return 0
