"""The torch.library operator of the pooled LayerNorm: fake kernels, autograd, FLOPs.

A module implements it for a compiled backend (`triton_launch`) with two functions, for x that is not empty:

    forward(x, weight, bias, eps) -> (b, K, d) of at least float32
    backward(dy, x, weight, bias, eps) -> (dx, dweight, dbias), contiguous; dbias whether there is a bias or not

Saved for the backward pass: the inputs.
"""

from types import ModuleType

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from ..backend import no_autocast, run_or_fall_back
from ..derivatives import Transformable, transformed
from ..operators import OPERATORS
from .blocked import pooled_norm_blocked

NAME = 'pooled_norm'


def _implementation(backend: str) -> ModuleType:
    load = OPERATORS[NAME][backend].load
    assert load is not None, f'{NAME} has no kernels of {backend}'
    return load()


@torch.library.custom_op('mmvssm::pooled_norm', mutates_args=())
def pooled_norm_op(
    x: Tensor, weight: Tensor, bias: Tensor | None, eps: float, out_dtype: torch.dtype, backend: str
) -> Tensor:
    """(b, K, d) of out_dtype."""
    if not x.numel():
        return pooled_norm_blocked(x, weight, bias, eps, out_dtype)
    return _implementation(backend).forward(x, weight, bias, eps).to(out_dtype)


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
        dx, dweight, dbias = _implementation(backend).backward(dy, x, weight, bias, eps)
    dbias = weight.new_empty(0) if bias is None else dbias.to(bias.dtype)
    return dx.to(x.dtype).contiguous(), dweight.to(weight.dtype), dbias


@pooled_norm_backward_op.register_fake
def _(dy, x, weight, bias, eps, backend):
    return (
        x.new_empty(x.shape),
        weight.new_empty(weight.shape),
        weight.new_empty(0) if bias is None else bias.new_empty(bias.shape),
    )


def _gradients(dy, tensors, eps: float, backend: str) -> list[Tensor | None]:
    grads = pooled_norm_backward_op(dy, *tensors, eps, backend)
    return [None if z is None else grad for z, grad in zip(tensors, grads)]


def transformable(eps: float, out_dtype: torch.dtype, backend: str) -> Transformable:
    """The operator of x, weight and bias for `derivatives`."""

    def plain(x, weight, bias):
        with no_autocast(x):
            return pooled_norm_blocked(x, weight, bias, eps, out_dtype)

    return Transformable(
        forward=lambda *tensors: pooled_norm_op(*tensors, eps, out_dtype, backend),
        backward=lambda dy, *tensors: _gradients(dy, tensors, eps, backend),
        plain=plain,
        in_batch=(True, False, False),
    )


def _setup_context(ctx, inputs, output) -> None:
    *tensors, eps, out_dtype, backend = inputs
    ctx.save_for_backward(*tensors)
    ctx.options = (eps, out_dtype, backend)


def _backward(ctx, dy):
    eps, out_dtype, backend = ctx.options

    def run(name: str):
        whole = transformable(eps, out_dtype, name)
        if OPERATORS[NAME][name].load is None:
            return whole.plain_gradients(dy, *ctx.saved_tensors)
        if transformed():
            return whole.gradients(dy, *ctx.saved_tensors)
        return _gradients(dy, ctx.saved_tensors, eps, name)

    return *run_or_fall_back(OPERATORS[NAME], backend, run), None, None, None


pooled_norm_op.register_autograd(_backward, setup_context=_setup_context)


def _setup_second(ctx, inputs, output) -> None:
    *tensors, ctx.eps, ctx.backend = inputs
    ctx.save_for_backward(*tensors)


def _second_gradients(ctx, *cotangents):
    dy, *tensors = ctx.saved_tensors
    whole = transformable(ctx.eps, dy.dtype, ctx.backend)
    return *whole.second_gradients(cotangents, dy, *tensors), None, None


pooled_norm_backward_op.register_autograd(_second_gradients, setup_context=_setup_second)


@register_flop_formula([torch.ops.mmvssm.pooled_norm, torch.ops.mmvssm.pooled_norm_backward])
def _flops(*args, out_shape=None, **kwargs) -> int:
    """No product of matrices; `mmvssm.flops` counts norms where they are called."""
    return 0
