"""The public spectral filter and the torch.library operator behind it."""

import functools
from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from ..backend import is_exporting, no_autocast, resolve
from ..derivatives import Operator, transformed
from . import fft, reference
from .resize import TRANSFORMS, check_choice, resize_spectral_weight

# Longest side of a CPU map up to which matrix products beat the FFT (tools/benchmark_spectral.py).
MATMUL_LIMIT = {'dct': 512, 'hartley': 256}


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
    backend = resolve('spectral_filter', x, backend, {'blocked': '', 'reference': ''})
    compute = torch.promote_types(x.dtype, torch.float32)
    with no_autocast(x):
        weight = resize_spectral_weight(weight.to(compute), (x.shape[1], x.shape[2]), transform, mode)
        if backend == 'reference' or is_exporting():
            return reference.spectral_filter_reference(x.to(compute), weight, transform)
        if transformed():
            return _operator(transform)(x, weight)
        return torch.ops.mmvssm.spectral_filter(x, weight, transform)


def _operator(transform: str) -> Operator:
    """The filter for `derivatives`."""
    return Operator(
        forward=lambda x, weight: spectral_filter_op(x, weight, transform),
        backward=lambda grad, x, weight: spectral_filter_backward_op(grad, x, weight, transform),
        plain=lambda x, weight: _filter(x, weight, transform),
        in_batch=(True, False),
    )


def _filter(x: Tensor, weight: Tensor, transform: str) -> Tensor:
    """The fast path, in operations that torch differentiates; arguments as those of the operator."""
    forward, inverse = _transforms(weight, *weight.shape[1:], transform)
    with no_autocast(x):
        return inverse(forward(x.to(weight.dtype)) * weight.permute(1, 2, 0))


def _transforms(like: Tensor, height: int, width: int, transform: str) -> tuple[Callable, Callable]:
    """(forward, inverse) of the fast path for (B, H, W, C) maps of `like`'s dtype and device."""
    small = like.device.type == 'cpu' and max(height, width) <= MATMUL_LIMIT[transform]
    if small and (like.dtype == torch.float64 or _products_are_float32()):
        module = reference
        tables = reference.tables if transformed() else _tables  # a table made inside a transform belongs to it
        arguments = transform, tables(transform, height, width, like.dtype, like.device)
    else:
        module, arguments = fft, (transform,)
    return lambda x: module.forward(x, *arguments), lambda x: module.inverse(x, *arguments)


def _products_are_float32() -> bool:
    """Whether nobody asked for TF32 or bfloat16 inside float32 matrix products."""
    try:
        return torch.get_float32_matmul_precision() == 'highest'
    except RuntimeError:  # the question is refused once the newer switches of one backend were touched
        return False


_tables = functools.lru_cache(maxsize=32)(reference.tables)


@torch.library.custom_op('mmvssm::spectral_filter', mutates_args=())
def spectral_filter_op(x: Tensor, weight: Tensor, transform: str) -> Tensor:
    """x (B, H, W, C), weight (C, H, W) float32 or float64 -> (B, H, W, C) of weight's dtype."""
    if x.numel() == 0:
        return x.new_empty(x.shape, dtype=weight.dtype)
    return _filter(x, weight, transform).contiguous()


@spectral_filter_op.register_fake
def _(x, weight, transform):
    return x.new_empty(x.shape, dtype=weight.dtype)


@torch.library.custom_op('mmvssm::spectral_filter_backward', mutates_args=())
def spectral_filter_backward_op(grad: Tensor, x: Tensor, weight: Tensor, transform: str) -> tuple[Tensor, Tensor]:
    """Gradients of x and weight. With T orthonormal: dx = T' (W * T grad), dW = sum over images of T x * T grad."""
    if x.numel() == 0:
        return torch.zeros_like(x, memory_format=torch.contiguous_format), torch.zeros_like(weight).contiguous()
    forward, inverse = _transforms(weight, *weight.shape[1:], transform)
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
        return *_operator(ctx.transform).gradients(grad, *ctx.saved_tensors), None
    return *spectral_filter_backward_op(grad, *ctx.saved_tensors, ctx.transform), None


spectral_filter_op.register_autograd(_backward, setup_context=_setup_context)


def _setup_second(ctx, inputs, output) -> None:
    *tensors, ctx.transform = inputs
    ctx.save_for_backward(*tensors)


def _second_gradients(ctx, *cotangents):
    return *_operator(ctx.transform).second_gradients(cotangents, *ctx.saved_tensors), None


spectral_filter_backward_op.register_autograd(_second_gradients, setup_context=_setup_second)


@register_flop_formula([torch.ops.mmvssm.spectral_filter, torch.ops.mmvssm.spectral_filter_backward])
def _flops(*args, out_shape=None, **kwargs) -> int:
    """The published counts leave the transforms out."""
    return 0
