"""The torch.library operator of the mLSTM: fake kernels, autograd, FLOPs.

A module implements it for each backend but the reference, with functions `chunk_size_for(length, dim, chosen)`,
`forward` and `backward`, see `blocked`.
"""

from collections.abc import Sequence
from functools import partial
from types import ModuleType

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from mmvssm.tracing import is_exporting

from ..backend import no_autocast, run_or_fall_back
from ..derivatives import Transformable, transformed
from ..operators import OPERATORS
from .blocked import chunk_size_for
from .gates import gate_gradients, gate_terms
from .traced import mlstm_traced

NAME = 'mlstm'
_TRACED_CHUNK = 64


def mlstm_plain(q, k, v, igate, fgate, *, reverse: bool, chunk_size: int | None, eps: float) -> Tensor:
    """The cell in plain operations, of any length, for export and for derivatives beyond the first."""
    if not is_exporting() and not q.shape[1]:  # maxima over no token are refused
        return torch.zeros_like(v)
    with no_autocast(q):
        return mlstm_traced(q, k, v, igate, fgate, reverse=reverse, chunk_size=chunk_size or _TRACED_CHUNK, eps=eps)


def mlstm_transformable(reverse: bool, chunk_size: int | None, eps: float, backend: str) -> Transformable:
    """The cell for `derivatives`: what it saves for its gradient is made again."""
    options = (reverse, chunk_size, eps, backend)
    return Transformable(
        forward=lambda *tensors: mlstm_op(*tensors, *options)[0],
        backward=lambda dh, *tensors: mlstm_backward_op(dh, *tensors, *mlstm_op(*tensors, *options), *options),
        plain=partial(mlstm_plain, reverse=reverse, chunk_size=chunk_size, eps=eps),
        in_batch=(True,) * 5,
    )


def _implementation(q: Tensor, chosen: int | None, backend: str) -> tuple[ModuleType, int]:
    """The module whose `forward` and `backward` compute, imported on first use, and its chunk size."""
    module = OPERATORS[NAME].kernels(backend)
    return module, module.chunk_size_for(q.shape[1], q.shape[-1], chosen)


@torch.library.custom_op('mmvssm::mlstm', mutates_args=())
def mlstm_op(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    igate: Tensor,
    fgate: Tensor,
    reverse: bool,
    chunk_size: int | None,
    eps: float,
    backend: str,
) -> tuple[Tensor, Tensor]:
    """Output of q's shape and dtype, and the normaliser s q_t . n_t (b, S, heads) in at least float32."""
    h, normaliser = _empty_outputs(q)
    if q.numel():
        with no_autocast(q):
            gates = gate_terms(igate, fgate, reverse=reverse)
            module, size = _implementation(q, chunk_size, backend)
            result = module.forward(q, k, v, gates, reverse=reverse, chunk_size=size, eps=eps)
            h.copy_(result[0])
            normaliser.copy_(result[1])
    return h, normaliser


@torch.library.custom_op('mmvssm::mlstm_backward', mutates_args=())
def mlstm_backward_op(
    dh: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    igate: Tensor,
    fgate: Tensor,
    h: Tensor,
    normaliser: Tensor,
    reverse: bool,
    chunk_size: int | None,
    eps: float,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of q, k, v, igate and fgate, each of its tensor's shape and dtype."""
    grads = tuple(torch.empty_like(x, memory_format=torch.contiguous_format) for x in (q, k, v, igate, fgate))
    if q.numel():
        with no_autocast(q):
            gates = gate_terms(igate, fgate, reverse=reverse)
            module, size = _implementation(q, chunk_size, backend)
            options = dict(reverse=reverse, chunk_size=size, eps=eps)
            *direct, d_log_f, k_dk, dm = module.backward(dh, q, k, v, h, normaliser, gates, **options)
            through_gates = gate_gradients(d_log_f, k_dk, dm, gates, fgate, reverse=reverse)
            for grad, result in zip(grads, (*direct, *through_gates)):
                grad.copy_(result)
    return grads


@mlstm_op.register_fake
def _(q, k, v, igate, fgate, reverse, chunk_size, eps, backend):
    return _empty_outputs(q)


@mlstm_backward_op.register_fake
def _(dh, q, k, v, igate, fgate, h, normaliser, reverse, chunk_size, eps, backend):
    return tuple(torch.empty_like(x, memory_format=torch.contiguous_format) for x in (q, k, v, igate, fgate))


def _empty_outputs(q: Tensor) -> tuple[Tensor, Tensor]:
    normaliser_dtype = torch.promote_types(q.dtype, torch.float32)
    return q.new_empty(q.shape), q.new_empty(q.shape[:3], dtype=normaliser_dtype)


def _setup_context(ctx, inputs, output) -> None:
    *tensors, reverse, chunk_size, eps, backend = inputs
    ctx.save_for_backward(*tensors, *output)
    ctx.mark_non_differentiable(output[1])
    ctx.options = (reverse, chunk_size, eps, backend)


def _autograd(ctx, dh, _):
    reverse, chunk_size, eps, backend = ctx.options

    def run(name: str):
        if transformed():
            return mlstm_transformable(reverse, chunk_size, eps, name).gradients(dh, *ctx.saved_tensors[:5])
        return mlstm_backward_op(dh, *ctx.saved_tensors, reverse, chunk_size, eps, name)

    return *run_or_fall_back(OPERATORS[NAME], backend, run), None, None, None, None


mlstm_op.register_autograd(_autograd, setup_context=_setup_context)


def _setup_second(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs[:6])
    ctx.options = inputs[8:]


def _second_gradients(ctx, *cotangents):
    """To h and the normaliser nothing: they are functions of the other inputs, which get the whole gradient."""
    return *mlstm_transformable(*ctx.options).second_gradients(cotangents, *ctx.saved_tensors), *[None] * 6


mlstm_backward_op.register_autograd(_second_gradients, setup_context=_setup_second)


def chunkwise_flops(q: Sequence[int]) -> int:
    """What the chunkwise form multiplies for q of shape (b, S, heads, dh), linear in S; one multiply-add is two.

    Scores and their sums within the chunks, the state into each chunk and out of it, the normaliser beside them.
    """
    batch, length, heads, dim = q
    size = chunk_size_for(length, dim, None)
    sizes = [min(size, length - start) for start in range(0, length, size)]
    within = sum(size**2 for size in sizes) * (2 * dim + 1)
    between = (sum(sizes[1:]) + sum(sizes[:-1])) * dim * (dim + 1)
    return 2 * batch * heads * (within + between)


@register_flop_formula(torch.ops.mmvssm.mlstm)
def _flops(q, *args, out_shape=None, **kwargs) -> int:
    """Two products over the causal half of all pairs, as the ViL paper counts; one multiply-add is two."""
    batch, length, heads, dim = q
    return 2 * batch * heads * dim * length**2


@register_flop_formula(torch.ops.mmvssm.mlstm_backward)
def _backward_flops(dh, *args, out_shape=None, **kwargs) -> int:
    """Five such products."""
    return _flops(dh) * 5 // 2
