"""Triton kernels of the pooled LayerNorm: a program walks through some tokens of one batch element and direction."""

import triton
import triton.language as tl

ANY_VALUE = ['L', 'each']  # sizes of the map, for which there is one binary


@triton.jit
def _normed(x_ptr, rows, row_step, inside, channels, d: tl.constexpr, eps):
    """Normed tokens (BT, BD), zero outside, and their 1 / sigma (BT,)."""
    address = x_ptr + rows[:, None] * row_step + channels[None, :]
    x = tl.load(address, mask=inside, other=0.0).to(tl.float32)
    centred = tl.where(inside, x - tl.sum(x, 1)[:, None] / d, 0.0)
    scale = tl.rsqrt(tl.sum(centred * centred, 1) / d + eps)
    return centred * scale[:, None], scale


@triton.jit(do_not_specialize=ANY_VALUE)
def pool(
    x_ptr, sums_ptr, x_b, x_l, x_k, L, each, eps,
    K: tl.constexpr, d: tl.constexpr, BT: tl.constexpr, BD: tl.constexpr,
):  # fmt: skip
    """Sums of normed tokens, (b, K, parts, d): a program has `each` tokens."""
    program = tl.program_id(0).to(tl.int64)
    parts = (L + each - 1) // each
    part, line = program % parts, program // parts
    x_ptr += (line // K) * x_b + (line % K) * x_k
    channels = tl.arange(0, BD)
    last = tl.minimum((part + 1) * each, L)
    total = tl.zeros([BT, BD], tl.float32)
    for start in range(part * each, last, BT):
        rows = start + tl.arange(0, BT)
        inside = (rows < last)[:, None] & (channels < d)[None, :]
        normed, _ = _normed(x_ptr, rows, x_l, inside, channels, d, eps)
        total += normed
    tl.store(sums_ptr + program * d + channels, tl.sum(total, 0), mask=channels < d)


@triton.jit(do_not_specialize=ANY_VALUE)
def spread(
    x_ptr, grad_ptr, dx_ptr, x_b, x_l, x_k, L, each, eps,
    K: tl.constexpr, d: tl.constexpr, BT: tl.constexpr, BD: tl.constexpr,
):  # fmt: skip
    """dx, contiguous, of the gradient (b, K, d) that every normed token has."""
    program = tl.program_id(0).to(tl.int64)
    parts = (L + each - 1) // each
    part, line = program % parts, program // parts
    x_ptr += (line // K) * x_b + (line % K) * x_k
    dx_ptr += (line // K) * L * (K * d) + (line % K) * d
    channels = tl.arange(0, BD)
    grad = tl.load(grad_ptr + line * d + channels, mask=channels < d, other=0.0)
    mean = tl.sum(grad, 0) / d
    last = tl.minimum((part + 1) * each, L)
    for start in range(part * each, last, BT):
        rows = start + tl.arange(0, BT)
        inside = (rows < last)[:, None] & (channels < d)[None, :]
        normed, scale = _normed(x_ptr, rows, x_l, inside, channels, d, eps)
        along = tl.sum(normed * grad[None, :], 1) / d
        dx = scale[:, None] * (grad[None, :] - mean - normed * along[:, None])
        tl.store(dx_ptr + rows[:, None] * (K * d) + channels[None, :], dx, mask=inside)
