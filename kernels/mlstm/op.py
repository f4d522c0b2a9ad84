"""The public mLSTM: checks, choice of the implementation, and the torch.library operator."""

from collections.abc import Sequence
from functools import partial
from importlib import import_module

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from ..backend import is_exporting, no_autocast, no_triton, resolve, run_or_fall_back
from ..derivatives import Operator, transformed
from ..self_check import KERNELS, Kernels
from . import blocked, check
from .gates import gate_gradients, gate_terms
from .reference import mlstm_recurrent
from .traced import mlstm_traced

_TRACED_CHUNK = 64


def mlstm(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    igate: Tensor,
    fgate: Tensor,
    *,
    reverse: bool = False,
    chunk_size: int | None = None,
    eps: float = 1e-6,
    backend: str | None = None,
) -> Tensor:
    """Matrix LSTM with exponential input gate and sigmoid forget gate (xLSTM, arXiv 2405.04517, section 2.3).

        C_t = sigmoid(f_t) C_{t-1} + exp(i_t) k_t v_t^T        n_t = sigmoid(f_t) n_{t-1} + exp(i_t) k_t
        h_t = s q_t^T C_t / (max(|s q_t . n_t|, 1) + eps'),    s = dh**-0.5

    computed in units of exp(m_t), the largest exponent so far; `eps` is added in those units. Inside, at least float32;
    gates and stabilisers float64. Memory is linear in the length.

    Args:
        q, k, v: (b, S, heads, dh), one dtype, any strides.
        igate, fgate: (b, S, heads) pre-activations, any floating dtype.
        reverse: run from the last token to the first.
        chunk_size: tokens handled at once; None chooses by size. It changes speed and rounding only (`reference` has
            none).
        eps: added to the denominator.
        backend: 'reference', 'blocked', 'triton' or 'auto'; None is what `use_backend` or the environment variable
            MMVSSM_BACKEND say.

    Returns:
        (b, S, heads, dh) of q's dtype.

    Raises:
        ValueError: shapes or dtypes that do not fit together, an unknown backend, or one that cannot run here.
    """
    _check(q, k, v, igate, fgate, chunk_size)
    gradients = transformed() or (torch.is_grad_enabled() and any(z.requires_grad for z in (q, k, v, igate, fgate)))
    name = resolve('mlstm', q, backend, {'triton': no_triton(q), 'blocked': '', 'reference': ''}, gradients)
    if name == 'reference':
        with no_autocast(q):
            return mlstm_recurrent(q, k, v, igate, fgate, reverse=reverse, eps=eps)
    if is_exporting():
        return _plain(q, k, v, igate, fgate, reverse=reverse, chunk_size=chunk_size, eps=eps)
    tensors, options = (q, k, v, igate, fgate), (reverse, chunk_size, eps)

    def run(name: str) -> Tensor:
        if transformed():
            return _operator(*options, name)(*tensors)
        return _mlstm(*tensors, *options, name)[0]

    return run_or_fall_back('mlstm', name, run)


def _plain(q, k, v, igate, fgate, *, reverse: bool, chunk_size: int | None, eps: float) -> Tensor:
    if not is_exporting() and not q.shape[1]:  # maxima over no token are refused
        return torch.zeros_like(v)
    with no_autocast(q):
        return mlstm_traced(q, k, v, igate, fgate, reverse=reverse, chunk_size=chunk_size or _TRACED_CHUNK, eps=eps)


def _operator(reverse: bool, chunk_size: int | None, eps: float, backend: str) -> Operator:
    """The cell for `derivatives`: what it saves for its gradient is made again."""
    options = (reverse, chunk_size, eps, backend)
    return Operator(
        forward=lambda *tensors: _mlstm(*tensors, *options)[0],
        backward=lambda dh, *tensors: _mlstm_backward(dh, *tensors, *_mlstm(*tensors, *options), *options),
        plain=partial(_plain, reverse=reverse, chunk_size=chunk_size, eps=eps),
        in_batch=(True,) * 5,
    )


def _check(q, k, v, igate, fgate, chunk_size) -> None:
    if q.dim() != 4:
        raise ValueError(f'q must be (b, S, heads, dh); got {tuple(q.shape)}')
    for field, tensor, shape in (
        ('k', k, q.shape),
        ('v', v, q.shape),
        ('igate', igate, q.shape[:3]),
        ('fgate', fgate, q.shape[:3]),
    ):
        if tensor.shape != shape:
            raise ValueError(f'{field} must have shape {tuple(shape)} beside q; got {tuple(tensor.shape)}')
    if not q.dtype == k.dtype == v.dtype or not q.is_floating_point():
        raise ValueError(f'q, k and v must have one floating dtype; got {q.dtype}, {k.dtype} and {v.dtype}')
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f'chunk_size={chunk_size} must be at least 1')


KERNELS['mlstm'] = Kernels(lambda backend: import_module('.triton_launch', __package__), check.errors)


def _implementation(q: Tensor, chosen: int | None, backend: str):
    """The module whose `forward` and `backward` compute, and the chunk size; triton is imported on first use."""
    if backend == 'triton':
        module = import_module('.triton_launch', __package__)
        return module, module.chunk_size_for(q.shape[-1], chosen)
    return blocked, _chunk_size(q.shape[1], chosen)


def _chunk_size(length: int, chosen: int | None) -> int:
    """A chunk size that cuts the length into equal parts, at most `chosen` or the default."""
    limit = chosen or (256 if length <= 256 else 128)
    chunks = -(-length // limit)
    return -(-length // chunks)


@torch.library.custom_op('mmvssm::mlstm', mutates_args=())
def _mlstm(
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
def _mlstm_backward(
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


@_mlstm.register_fake
def _(q, k, v, igate, fgate, reverse, chunk_size, eps, backend):
    return _empty_outputs(q)


@_mlstm_backward.register_fake
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
    *options, backend = ctx.options

    def run(name: str):
        if transformed():
            return _operator(*options, name).gradients(dh, *ctx.saved_tensors[:5])
        return _mlstm_backward(dh, *ctx.saved_tensors, *options, name)

    return *run_or_fall_back('mlstm', backend, run), None, None, None, None


_mlstm.register_autograd(_autograd, setup_context=_setup_context)


def _setup_second(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs[:6])
    ctx.options = inputs[8:]


def _second_gradients(ctx, *cotangents):
    """To h and the normaliser nothing: they are functions of the other inputs, which get the whole gradient."""
    return *_operator(*ctx.options).second_gradients(cotangents, *ctx.saved_tensors), *[None] * 6


_mlstm_backward.register_autograd(_second_gradients, setup_context=_setup_second)


def chunkwise_flops(q: Sequence[int]) -> int:
    """What the chunkwise form multiplies for q of shape (b, S, heads, dh): scores and their sums within the chunks, the
    state into each chunk and out of it, the normaliser beside them. Linear in S; one multiply-add is two.
    """
    batch, length, heads, dim = q
    size = _chunk_size(length, None)
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
