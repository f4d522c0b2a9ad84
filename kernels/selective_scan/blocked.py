"""Selective scan in plain PyTorch, in blocks: where neither numba nor a GPU kernel runs, and for export.

The sequence is cut into chunks of T steps. All chunks run their T steps side by side from a zero state, a scan over
the chunks' end states gives the state that enters each chunk, and its decayed contribution is added. Every exponent
is a sum of `delta * A` <= 0, so nothing overflows and no exponentials are divided.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from mmvssm.scans import Orders
from mmvssm.tracing import is_exporting

from ..derivatives import transformed
from .reference import gather_inputs, scatter_output, wide

# Elements of a (b, K, segment, d, N) array that one segment may have; autograd keeps a few of them at a time.
SEGMENT_ELEMENTS = 1 << 23
# Chunks that a traced, symbolic length may have: 2 ** TRACED_LEVELS.
TRACED_LEVELS = 14
TRACED_CHUNK = 16


def _scan_carries(decay: Tensor, end: Tensor, carry: Tensor) -> tuple[Tensor, Tensor]:
    """States that enter each chunk, and the last state.

    Args:
        decay, end: (b, K, n, d, N), what each chunk multiplies its entering state by, and its end state from zero.
        carry: (b, K, d, N), the state that enters chunk 0.

    Doubling: after the pass with shift s, entry i covers the chunks i - 2s + 1 .. i.
    """
    n = end.shape[2]
    end = torch.cat([carry[:, :, None], end], dim=2)
    decay = F.pad(decay, (0, 0, 0, 0, 1, 0))
    # to Dynamo a symbolic length is an int: exported strictly, the levels of this length would do for all
    symbolic = not isinstance(n, int) or (is_exporting() and torch.compiler.is_dynamo_compiling())
    levels = TRACED_LEVELS + 1 if symbolic else n.bit_length()
    for shift in (1 << i for i in range(levels)):
        before = F.pad(end, (0, 0, 0, 0, shift, 0))[:, :, : n + 1]
        end = torch.addcmul(end, decay, before)
        decay = decay * F.pad(decay, (0, 0, 0, 0, shift, 0))[:, :, : n + 1]
    return end[:, :, :n], end[:, :, n]


def _scan_segment(u, delta, A, B, C, carry, T: int) -> tuple[Tensor, Tensor]:
    """Scan u, delta (b, K, S, d), B, C (b, K, S, N) from the state `carry`.

    Returns y (b, K, S, d) without D u, and the last state.
    """
    S = u.shape[2]
    n = (S + T - 1) // T

    def chunks(z: Tensor) -> Tensor:  # (T, b, K, n, channels)
        z = F.pad(z, (0, 0, 0, n * T - S))
        return z.unflatten(2, (n, T)).permute(3, 0, 1, 2, 4)

    delta, B, C, du = chunks(delta), chunks(B), chunks(C), chunks(delta * u)
    A = A[:, None]  # (K, 1, d, N)
    h = None
    ys = []
    for t in range(T):
        step = du[t][..., None] * B[t][..., None, :]
        h = step if h is None else torch.addcmul(step, torch.exp(delta[t][..., None] * A), h)
        ys.append(_contract(h, C[t]))
    elapsed = delta.cumsum(0)
    entering, last = _scan_carries(torch.exp(elapsed[-1][..., None] * A), h, carry)
    y = torch.stack(
        [ys[t] + _contract(torch.exp(elapsed[t][..., None] * A) * entering, C[t]) for t in range(T)], dim=3
    )  # (b, K, n, T, d)
    return y.flatten(2, 3)[:, :, :S], last


def _contract(h: Tensor, C: Tensor) -> Tensor:
    """<C, h> over the states: h (..., d, N), C (..., N) -> (..., d)."""
    if h.shape[-1] == 1:
        return h[..., 0] * C
    return (h @ C[..., None])[..., 0]


def _plan(S, elements_per_step) -> tuple[int, int]:
    """Chunk length T and segment length for S steps."""
    if is_exporting() or not isinstance(S, int) or not isinstance(elements_per_step, int):
        return TRACED_CHUNK, 0
    segment = min(S, max(64, SEGMENT_ELEMENTS // max(elements_per_step, 1)))
    T = 1 << max(2, min(6, (segment - 1).bit_length() // 2))
    return T, segment


def _recomputed(function, *args):
    """`function(*args)`, run again for its backward pass; torch.func has no way to do that."""
    if transformed():
        return function(*args)
    return checkpoint(function, *args, use_reentrant=False, preserve_rng_state=False)


def selective_scan_blocked(
    x, dt, A, B, C, D, dt_bias, dt_weight, orders: Orders, softplus: bool, merge: bool, out_dtype
) -> Tensor:
    """Arguments and result as :func:`mmvssm.kernels.selective_scan`.

    Under autograd only one segment's intermediate states exist at a time: the backward pass recomputes each segment.
    """
    compute = torch.promote_types(x.dtype, torch.float32)
    x, dt, A, B, C, D, dt_bias, dt_weight = (wide(t, compute) for t in (x, dt, A, B, C, D, dt_bias, dt_weight))
    u, delta, B, C = gather_inputs(x, dt, B, C, dt_bias, dt_weight, orders, softplus)
    b, S = u.shape[0], u.shape[2]
    T, segment = _plan(S, b * A.numel())
    carry = u.new_zeros(b, *A.shape)
    if segment == 0 or segment >= S:
        y, _ = _scan_segment(u, delta, A, B, C, carry, T)
    else:
        ys = []
        for start in range(0, S, segment):
            part = [z[:, :, start : start + segment] for z in (u, delta, B, C)]
            y, carry = _recomputed(_scan_segment, *part[:2], A, *part[2:], carry, T)
            ys.append(y)
        y = torch.cat(ys, dim=2)
    if D is not None:
        y = y + D[:, None] * u
    return scatter_output(y, orders, merge, out_dtype)
