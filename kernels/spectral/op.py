"""The torch.library operator of the spectral filter: fake kernels, autograd, FLOPs."""

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from ..backend import no_autocast
from ..derivatives import Transformable, transformed
from .blocked import spectral_filter_blocked, transforms

NAME = 'spectral_filter'


def spectral_filter_transformable(transform: str) -> Transformable:
    """The filter for `derivatives`."""
    return Transformable(
        forward=lambda x, weight: spectral_filter_op(x, weight, transform),
        backward=lambda grad, x, weight: spectral_filter_backward_op(grad, x, weight, transform),
        plain=lambda x, weight: spectral_filter_blocked(x, weight, transform),
        in_batch=(True, False),
    )


@torch.library.custom_op('mmvssm::spectral_filter', mutates_args=())
def spectral_filter_op(x: Tensor, weight: Tensor, transform: str) -> Tensor:
    """x (B, H, W, C), weight (C, H, W) float32 or float64 -> (B, H, W, C) of weight's dtype."""
    if x.numel() == 0:
        return x.new_empty(x.shape, dtype=weight.dtype)
    return spectral_filter_blocked(x, weight, transform).contiguous()


@spectral_filter_op.register_fake
def _(x, weight, transform):
    return x.new_empty(x.shape, dtype=weight.dtype)


@torch.library.custom_op('mmvssm::spectral_filter_backward', mutates_args=())
def spectral_filter_backward_op(grad: Tensor, x: Tensor, weight: Tensor, transform: str) -> tuple[Tensor, Tensor]:
    """Gradients of x and weight. With T orthonormal: dx = T' (W * T grad), dW = sum over images of T x * T grad."""
    if x.numel() == 0:
        return torch.zeros_like(x, memory_format=torch.contiguous_format), torch.zeros_like(weight).contiguous()
    forward, inverse = transforms(weight, weight.shape[1], weight.shape[2], transform)
    with no_autocast(x):
        spectrum = forward(grad.to(weight.dtype))
        dx = inverse(spectrum * weight.permute(1, 2, 0)).to(x.dtype)
        dweight = (forward(x.to(weight.dtype)) * spectrum).sum(0).permute(2, 0, 1)
    return dx.contiguous(), dweight.contiguous()


@spectral_filter_backward_op.register_fake
def _(grad, x, weight, transform):
    return x.new_empty(x.shape), weight.new_empty(weight.shape)


def _setup_context(ctx, inputs, output) -> None:
    x, weight, ctx.transform = inputs
    ctx.save_for_backward(x, weight)


def _backward(ctx, grad):
    if transformed():
        return *spectral_filter_transformable(ctx.transform).gradients(grad, *ctx.saved_tensors), None
    return *spectral_filter_backward_op(grad, *ctx.saved_tensors, ctx.transform), None


spectral_filter_op.register_autograd(_backward, setup_context=_setup_context)


def _setup_second(ctx, inputs, output) -> None:
    *tensors, ctx.transform = inputs
    ctx.save_for_backward(*tensors)


def _second_gradients(ctx, *cotangents):
    return *spectral_filter_transformable(ctx.transform).second_gradients(cotangents, *ctx.saved_tensors), None


spectral_filter_backward_op.register_autograd(_second_gradients, setup_context=_setup_second)


@register_flop_formula([torch.ops.mmvssm.spectral_filter, torch.ops.mmvssm.spectral_filter_backward])
def _flops(*args, out_shape=None, **kwargs) -> int:
    """The published counts leave the transforms out."""
    return 0
