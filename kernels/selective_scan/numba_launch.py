"""The selective scan on CPUs: allocation, layout and threads around the numba kernels."""

import hashlib
import math
import warnings
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numba import config, njit, types
from torch import Tensor

from .. import simd
from ..backend import SlowKernelWarning
from ..self_check import in_words
from ..simd import LANES, LOG2E
from ..threads import run_tasks
from . import numba_backward, numba_forward
from .numba_backward import Gradients
from .numba_forward import CHUNK, Inputs
from .tensors import Tensors

if config.DISABLE_JIT:
    raise ImportError('NUMBA_DISABLE_JIT is set')

CHECKED_STATES = 5  # of the self-check: the loop over four states and the one over the rest


def carries_shape(b, d, K, N, S, straight=()) -> tuple:
    """See `op`."""
    return (b, K, (S + CHUNK - 1) // CHUNK, N, (d + LANES - 1) // LANES * LANES)


def _compiled(kernel, signature):
    """`kernel` for one signature, from numba's cache where that works: not on read-only or full disks, say.

    numba looks for changes in the kernel's own file alone, so the name that it files the result under holds a digest of
    all the sources.
    """
    try:
        sources = [str(module.__file__) for module in (simd, numba_forward, numba_backward)]
        digest = hashlib.sha256(b''.join(Path(source).read_bytes() for source in sources))
        kernel.__qualname__ = f'{kernel.__name__}_{digest.hexdigest()[:12]}'
        compiled = njit(nogil=True, cache=True)(kernel)
        _compile(compiled, signature)
    except Exception as error:  # whatever a file system or a damaged file leads to
        compiled = njit(nogil=True)(kernel)
        _compile(compiled, signature)
        _warn_uncached(error)
    compiled.disable_compile()
    return compiled


def _compile(dispatcher, signature) -> None:
    try:
        dispatcher.compile(signature)
    except Exception as error:
        if not dispatcher.signatures:
            raise
        _warn_uncached(error)  # compiled, but not written


def _warn_uncached(error: Exception) -> None:
    warnings.warn(
        f'numba cannot cache the selective scan, every process compiles it anew ({in_words(error)}). '
        'Set NUMBA_CACHE_DIR to a folder that can be written, or empty the one it uses.',
        SlowKernelWarning,
        stacklevel=2,
    )


def _types(dtype: torch.dtype):
    """numba's types of a kernel's scalar, Inputs, arrays of four and five dimensions and (groups, first, last).

    Every array is of layout 'any', so that there is one compilation for each dtype.
    """
    real = {torch.float32: types.float32, torch.float64: types.float64}[dtype]
    two, three, four, five = (types.Array(real, i, 'A') for i in (2, 3, 4, 5))
    tables = types.Array(types.int32, 2, 'A'), types.Array(types.int32, 1, 'A')
    inputs = types.Tuple((four, four, three, four, four, two, two, three, *tables))
    return real, inputs, three, four, five, (types.int64,) * 3


@lru_cache(None)
def _forward_kernel(dtype: torch.dtype):
    real, inputs, _, four, five, tasks = _types(dtype)
    return _compiled(numba_forward.forward, types.void(real, inputs, four, five, *(types.boolean,) * 3, *tasks))


@lru_cache(None)
def _backward_kernel(dtype: torch.dtype):
    real, inputs, three, four, five, tasks = _types(dtype)
    grads = types.Tuple((four,) * 8)
    return _compiled(numba_backward.backward, types.void(real, inputs, three, four, five, grads, types.boolean, *tasks))


def _row(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """`tensor` in `dtype`, its last dimension contiguous."""
    tensor = tensor.detach().to(dtype)
    return tensor if tensor.stride(-1) == 1 or tensor.shape[-1] == 1 else tensor.contiguous()


def _pad(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Contiguous, in `dtype`, the last dimension filled with zeros to whole vectors."""
    tensor = tensor.detach().to(dtype)
    return F.pad(tensor, (0, -tensor.shape[-1] % LANES)).contiguous()


def _per_direction(x: Tensor, K: int) -> Tensor:
    """(b, L, K, d) from itself or from (b, L, d)."""
    return x if x.dim() == 4 else x.unsqueeze(2).expand(-1, -1, K, -1)


def _groups(b: int, d: int) -> int:
    """Into how many parts the channels are split, so that the threads get equal shares."""
    threads = torch.get_num_threads()
    return max(1, min(threads // math.gcd(b, threads), (d + LANES - 1) // LANES))


def _inputs(given: Tensors, dtype: torch.dtype) -> Inputs:
    x, dt, A, B, C, D, dt_bias, dt_weight, index, lengths, *_ = given
    K, d, _ = A.shape
    zeros = A.new_zeros(K, d)
    tensors = (
        _per_direction(_row(x, dtype), K),
        _row(dt, dtype),
        _pad(A.to(dtype).transpose(1, 2) * LOG2E, dtype),
        _row(B, dtype),
        _row(C, dtype),
        _pad(zeros if D is None else D, dtype),
        _pad(zeros if dt_bias is None else dt_bias, dtype),
        _pad(A.new_zeros(K, 0, d) if dt_weight is None else dt_weight.transpose(1, 2), dtype),
        index,
        lengths,
    )
    return Inputs(*(z.detach().numpy() for z in tensors))


def _proto(dtype: torch.dtype) -> np.floating:
    return torch.empty(0, dtype=dtype).numpy().dtype.type(0)


def forward(tensors: Tensors, softplus: bool, merge: bool, out_dtype: torch.dtype, save: bool) -> tuple[Tensor, Tensor]:
    """See `op`."""
    x = tensors.x
    dtype = torch.promote_types(x.dtype, torch.float32)
    b, L, d, K, N = tensors.sizes
    add = merge or bool(((tensors.index >= 0).sum(1) < L).any())  # tokens that an order leaves out have zeros
    y = (x.new_zeros if add else x.new_empty)((b, L, d) if merge else (b, L, K, d), dtype=dtype)
    carries = x.new_zeros(carries_shape(b, d, K, N, tensors.index.shape[1]) if save else (0,), dtype=dtype)
    inputs = _inputs(tensors, dtype)
    states = (carries if save else carries.view(0, 1, 1, 1, 1)).numpy()
    kernel, proto, groups, target = _forward_kernel(dtype), _proto(dtype), _groups(b, d), _per_direction(y, K).numpy()
    run_tasks(
        lambda first, last: kernel(proto, tuple(inputs), target, states, softplus, save, add, groups, first, last),
        b * groups,
    )
    return y.to(out_dtype), carries


def backward(dy: Tensor, carries: Tensor, tensors: Tensors, softplus: bool, merge: bool) -> tuple[Tensor, ...]:
    """See `op`."""
    x, dt, A, B, C, D, dt_bias, dt_weight, *_ = tensors
    dtype = carries.dtype
    b, L, d, K, N = tensors.sizes
    p, groups = (d + LANES - 1) // LANES * LANES, _groups(b, d)
    inputs = _inputs(tensors, dtype)
    rank = inputs.weight.shape[1]
    dx = x.new_zeros(x.shape, dtype=dtype)
    parts = groups if rank else 1
    shapes = [(parts * b, *dt.shape[1:]), (b, K, N, p), *[(groups * b, L, K, N)] * 2, *[(b, K, 1, p)] * 2]
    ddt, dA, dB, dC, dD, dbias = (x.new_zeros(shape, dtype=dtype) for shape in shapes)
    dweight = x.new_zeros((b, K, (rank + 7) // 8 * 8, p), dtype=dtype)
    rows = A.new_zeros((K, p, (rank + LANES - 1) // LANES * LANES), dtype=dtype)
    if dt_weight is not None:
        rows[:, :d, :rank] = dt_weight.detach()
    grads = Gradients(*(z.numpy() for z in (_per_direction(dx, K), ddt, dA, dB, dC, dD, dbias, dweight)))
    states = carries.detach().numpy()
    kernel, proto, source = _backward_kernel(dtype), _proto(dtype), _per_direction(_row(dy, dtype), K).numpy()
    run_tasks(
        lambda first, last: kernel(
            proto, tuple(inputs), rows.numpy(), source, states, tuple(grads), softplus, groups, first, last
        ),
        b * groups,
    )

    def finish(like: Tensor | None, grad: Tensor) -> Tensor:
        return x.new_empty(0) if like is None else grad.to(like.dtype).contiguous()

    return (
        finish(x, dx),
        finish(dt, ddt.view(parts, *dt.shape).sum(0)),
        finish(A, dA.sum(0)[..., :d].transpose(1, 2)),
        finish(B, dB.view(groups, *B.shape).sum(0)),
        finish(C, dC.view(groups, *C.shape).sum(0)),
        finish(D, dD.sum(0)[:, 0, :d]),
        finish(dt_bias, dbias.sum(0)[:, 0, :d]),
        finish(dt_weight, dweight.sum(0)[:, :rank, :d].transpose(1, 2)),
    )
