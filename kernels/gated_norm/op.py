"""The torch.library operator of the gated, normed sum: fake kernels, autograd, FLOPs.

A module implements it for a compiled backend (`triton_launch`) with two functions, for y that is not empty:

    forward(y, gate, weight, bias, z, eps, out_dtype) -> (b, L, d), contiguous
    backward(dout, y, gate, weight, bias, z, eps) -> (dy, dgate, dweight, dbias, dz)

Saved for the backward pass: the inputs.
"""

from types import ModuleType

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from ..backend import no_autocast, run_or_fall_back
from ..derivatives import Transformable, transformed
from ..operators import OPERATORS
from .blocked import gated_norm_blocked

NAME = 'gated_norm'


def _implementation(backend: str) -> ModuleType:
    load = OPERATORS[NAME][backend].load
    assert load is not None, f'{NAME} has no kernels of {backend}'
    return load()


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
    return _implementation(backend).forward(y, gate, weight, bias, z, eps, out_dtype)


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
    grads = _implementation(backend).backward(dout, *tensors, eps)
    return tuple(grad.to(tensor.dtype).contiguous() for tensor, grad in zip(tensors, grads))


@gated_norm_backward_op.register_fake
def _(dout, y, gate, weight, bias, z, eps, backend):
    return tuple(tensor.new_empty(tensor.shape) for tensor in (y, gate, weight, bias, z))


def transformable(eps: float, out_dtype: torch.dtype, backend: str) -> Transformable:
    """The operator of its five tensors for `derivatives`."""

    def plain(y, gate, weight, bias, z):
        with no_autocast(y):
            return gated_norm_blocked(y, gate, weight, bias, z, eps, out_dtype)

    return Transformable(
        forward=lambda *tensors: gated_norm_op(*tensors, eps, out_dtype, backend),
        backward=lambda dout, *tensors: gated_norm_backward_op(dout, *tensors, eps, backend),
        plain=plain,
        in_batch=(True, True, False, False, True),
    )


def _setup_context(ctx, inputs, output) -> None:
    *tensors, eps, out_dtype, backend = inputs
    ctx.save_for_backward(*tensors)
    ctx.options = (eps, out_dtype, backend)


def _backward(ctx, dout):
    eps, out_dtype, backend = ctx.options

    def run(name: str):
        whole = transformable(eps, out_dtype, name)
        if OPERATORS[NAME][name].load is None:
            return whole.plain_gradients(dout, *ctx.saved_tensors)
        if transformed():
            return whole.gradients(dout, *ctx.saved_tensors)
        return gated_norm_backward_op(dout, *ctx.saved_tensors, eps, name)

    return *run_or_fall_back(OPERATORS[NAME], backend, run), None, None, None


gated_norm_op.register_autograd(_backward, setup_context=_setup_context)


def _setup_second(ctx, inputs, output) -> None:
    *tensors, ctx.eps, ctx.backend = inputs
    ctx.save_for_backward(*tensors)


def _second_gradients(ctx, *cotangents):
    dout, *tensors = ctx.saved_tensors
    whole = transformable(ctx.eps, dout.dtype, ctx.backend)
    return *whole.second_gradients(cotangents, dout, *tensors), None, None


gated_norm_backward_op.register_autograd(_second_gradients, setup_context=_setup_second)


@register_flop_formula([torch.ops.mmvssm.gated_norm, torch.ops.mmvssm.gated_norm_backward])
def _flops(*args, out_shape=None, **kwargs) -> int:
    """No product of matrices; `mmvssm.flops` counts norms where they are called."""
    return 0
