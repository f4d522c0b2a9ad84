"""The torch.library operator around the compiled selective scans: fake kernels, autograd, FLOPs.

A module implements it for each compiled backend (`numba_launch`, `triton_launch`), with three functions; tensors (see
`Tensors`) are float32, float16, bfloat16 or (numba) float64:

    carries_shape(b, d, K, N, S, straight) -> tuple
        Shape of the chunk carries for S steps; arithmetic on (symbolic) ints alone. `straight` as in `Tensors`.
    forward(tensors, softplus, merge, out_dtype, save) -> (y, carries)
        y: contiguous (b, L, d) or (b, L, K, d) of out_dtype, every element written. carries: contiguous, of the
        dtype computed in, the states that enter each chunk; with save=False (nothing needs a gradient) of shape (0,).
    backward(dy, carries, tensors, softplus, merge) -> (dx, ddt, dA, dB, dC, dD, ddt_bias, ddt_weight)
        Contiguous, each of the shape and dtype of its input (a stride-0 expanded B gets the gradient of the expanded
        tensor; autograd sums it). For an absent D, dt_bias, dt_weight: an empty (0,) tensor of x's dtype.

Saved for the backward pass: the inputs and the carries, nothing per direction.
"""

from typing import Sequence  # noqa: UP035  torch 2.6 knows no other in an operator's signature

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from mmvssm.scans import Orders

from ..backend import no_autocast, run_or_fall_back
from ..derivatives import Transformable, transformed
from ..operators import OPERATORS
from .blocked import selective_scan_blocked
from .tensors import Tensors

NAME = 'selective_scan'


@torch.library.custom_op('mmvssm::selective_scan', mutates_args=())
def selective_scan_op(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    dt_bias: Tensor | None,
    dt_weight: Tensor | None,
    index: Tensor,
    lengths: Tensor,
    straight: Sequence[int],
    softplus: bool,
    merge: bool,
    out_dtype: torch.dtype,
    save: bool,
    backend: str,
) -> tuple[Tensor, Tensor]:
    """Returns y and the chunk carries; see the module's docstring."""
    tensors = Tensors(x, dt, A, B, C, D, dt_bias, dt_weight, index, lengths, straight)
    return OPERATORS[NAME].kernels(backend).forward(tensors, softplus, merge, out_dtype, save)


@selective_scan_op.register_fake
def _(x, dt, A, B, C, D, dt_bias, dt_weight, index, lengths, straight, softplus, merge, out_dtype, save, backend):
    b, L, d = x.shape[0], x.shape[1], x.shape[-1]
    K, _, N = A.shape
    y = x.new_empty((b, L, d) if merge else (b, L, K, d), dtype=out_dtype)
    straight = () if dt_weight is None else straight
    shape = OPERATORS[NAME].kernels(backend).carries_shape(b, d, K, N, index.shape[1], straight) if save else (0,)
    return y, x.new_empty(shape, dtype=torch.promote_types(x.dtype, torch.float32))


@torch.library.custom_op('mmvssm::selective_scan_backward', mutates_args=())
def selective_scan_backward_op(
    dy: Tensor,
    carries: Tensor,
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    dt_bias: Tensor | None,
    dt_weight: Tensor | None,
    index: Tensor,
    lengths: Tensor,
    straight: Sequence[int],
    softplus: bool,
    merge: bool,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Returns the gradients of x, dt, A, B, C, D, dt_bias, dt_weight; see the module's docstring."""
    tensors = Tensors(x, dt, A, B, C, D, dt_bias, dt_weight, index, lengths, straight)
    return OPERATORS[NAME].kernels(backend).backward(dy, carries, tensors, softplus, merge)


@selective_scan_backward_op.register_fake
def _(dy, carries, x, dt, A, B, C, D, dt_bias, dt_weight, index, lengths, straight, softplus, merge, backend):
    return tuple(
        x.new_empty((0,)) if z is None else z.new_empty(z.shape) for z in (x, dt, A, B, C, D, dt_bias, dt_weight)
    )


def _setup_context(ctx, inputs, output) -> None:
    *tensors, index, lengths, straight, softplus, merge, out_dtype, _, backend = inputs
    ctx.save_for_backward(output[1], *tensors, index, lengths)
    ctx.options = (softplus, merge, out_dtype, backend)
    ctx.straight = straight
    ctx.set_materialize_grads(False)  # nothing ever uses the carries' gradient


def _orders(ctx, index, lengths, dy) -> Orders:
    return Orders(index, lengths, dy.shape[1], tuple(ctx.straight))


def _backward(ctx, dy, _):
    if dy is None:
        return (None,) * 16
    carries, *tensors, index, lengths = ctx.saved_tensors
    softplus, merge, _, backend = ctx.options

    def run(name: str):
        whole = scan_transformable(_orders(ctx, index, lengths, dy), *ctx.options)
        if OPERATORS[NAME][name].load is None:
            return whole.plain_gradients(dy, *tensors)
        if transformed():
            return whole.gradients(dy, *tensors)
        return _gradients(dy, carries, tensors, index, lengths, ctx.straight, softplus, merge, name)

    return *run_or_fall_back(OPERATORS[NAME], backend, run), *[None] * 8


def _gradients(dy, carries, tensors, *options) -> list[Tensor | None]:
    grads = selective_scan_backward_op(dy, carries, *tensors, *options)
    return [None if z is None else grad for z, grad in zip(tensors, grads)]


selective_scan_op.register_autograd(_backward, setup_context=_setup_context)


def _setup_second(ctx, inputs, output) -> None:
    dy, _, *tensors, index, lengths, straight, softplus, merge, backend = inputs
    ctx.save_for_backward(dy, *tensors, index, lengths)
    ctx.options = (softplus, merge, dy.dtype, backend)
    ctx.straight = straight


def _second_gradients(ctx, *cotangents):
    """To the carries nothing: they are a function of the other inputs, which get the whole gradient."""
    dy, *tensors, index, lengths = ctx.saved_tensors
    whole = scan_transformable(_orders(ctx, index, lengths, dy), *ctx.options)
    d_dy, *grads = whole.second_gradients(cotangents, dy, *tensors)
    return d_dy, None, *grads, *[None] * 6


selective_scan_backward_op.register_autograd(_second_gradients, setup_context=_setup_second)


def scan_transformable(
    orders: Orders, softplus: bool, merge: bool, out_dtype: torch.dtype, backend: str
) -> Transformable:
    """The scan of x to dt_weight for `derivatives`; the carries are made again."""
    index, lengths, _, straight = orders

    def forward(*tensors):
        return selective_scan_op(*tensors, index, lengths, straight, softplus, merge, out_dtype, False, backend)[0]

    def backward(dy, *tensors):
        _, carries = selective_scan_op(*tensors, index, lengths, straight, softplus, merge, out_dtype, True, backend)
        return _gradients(dy, carries, tensors, index, lengths, straight, softplus, merge, backend)

    def plain(x, dt, A, B, C, D, dt_bias, dt_weight):
        with no_autocast(x):
            return selective_scan_blocked(x, dt, A, B, C, D, dt_bias, dt_weight, orders, softplus, merge, out_dtype)

    in_batch = (True, True, False, True, True, False, False, False)  # A, D, dt_bias and dt_weight are parameters
    return Transformable(forward, backward, plain, in_batch)


def flops(b: int, steps: int, K: int, d: int, N: int) -> int:
    """Twice the published count (multiply-adds once): 9 L K d N + L K d, L being the steps of one order."""
    return 2 * b * steps * K * d * (9 * N + 1)


@register_flop_formula(torch.ops.mmvssm.selective_scan)
def _forward_flops(x, dt, A, B, C, D, dt_bias, dt_weight, index, *args, out_shape=None, **kwargs) -> int:
    K, d, N = A
    projection = 0 if dt_weight is None else 2 * x[0] * index[1] * K * d * dt_weight[2]  # dt to d channels, in the op
    return flops(x[0], index[1], K, d, N) + projection


@register_flop_formula(torch.ops.mmvssm.selective_scan_backward)
def _backward_flops(dy, carries, *args, out_shape=None, **kwargs) -> int:
    return 2 * _forward_flops(*args)
