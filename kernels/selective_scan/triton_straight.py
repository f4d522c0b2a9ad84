"""Triton kernels of the selective scan at one state along rows and columns, but for `gradients`.

They compute what `triton_forward.sweep` and `triton_backward.gradient_sweep` do for such orders, at half of the
instructions: tokens are counted instead of read from a table, widths and strides are compiled in, and dt is expanded
by matrix instructions of its own type, with dt_weight as a sum of two numbers of that type. Everything is in units of
powers of two: s = delta log2(e) comes from weights and biases that are scaled once, and states are kept as h log2(e).
"""

from typing import Any, NamedTuple

import triton
import triton.language as tl

from ..triton_groups import own_names
from .triton_common import LN2, LOG2E, Given, kernel


class Line(NamedTuple):
    """A tensor that is read or written by token: its address; constant strides of token and direction."""

    ptr: Any
    l: tl.constexpr  # noqa: E741
    k: tl.constexpr


@own_names
class Width(NamedTuple):
    """What a model has compiled.

    Channels, directions, rank and rank as loaded; terms of the logarithm's polynomial; the type by
    which matrices are multiplied, the one that the multiplication is called with, whether weights are two numbers of
    it, and Triton's precision of it.
    """

    d: tl.constexpr
    K: tl.constexpr
    R: tl.constexpr
    BR: tl.constexpr
    DEGREE: tl.constexpr
    DOT: tl.constexpr
    CALLED: tl.constexpr
    SPLIT: tl.constexpr
    PRECISION: tl.constexpr
    HAS_BIAS: tl.constexpr
    SOFTPLUS: tl.constexpr


@triton.jit
def log2_1p_over(e, DEGREE: tl.constexpr):
    """log2(1 + e) / e for e in [0, 1], fitted for the least relative error: 4e-4, 6e-5 or 3e-8 by DEGREE."""
    if DEGREE == 3:
        p = e * -0.107254373 + 0.366480535
        p = p * e - 0.70174723
        return p * e + 1.44212809
    elif DEGREE == 4:
        p = e * 0.0596515106 - 0.227119373
        p = p * e + 0.44189878
        p = p * e - 0.716987404
        return p * e + 1.44261321
    else:
        p = e * 0.00754918139 - 0.0425670598
        p = p * e + 0.112856192
        p = p * e - 0.197118971
        p = p * e + 0.275641414
        p = p * e - 0.358408473
        p = p * e + 0.480692958
        p = p * e - 0.721340208
        return p * e + 1.442695


@triton.jit
def binary_step(z, SOFTPLUS: tl.constexpr, DEGREE: tl.constexpr):
    """log2(e) delta of the raw step z, which is given times log2(e)."""
    if SOFTPLUS:
        e = tl.exp2(-tl.abs(z))
        return log2_1p_over(e, DEGREE) * e + tl.maximum(z, 0.0)
    else:
        return z


@own_names
class Map(NamedTuple):
    """Sides and directions as in `mmvssm.scans.Orders`; the most steps of a chunk, the most chunks of an order."""

    H: Any
    W: Any
    codes: Any
    most: Any
    num_chunks: Any


@triton.jit
def chunks_of(k, chunks, H, W, codes, most):
    """The first token of each of the `chunks` of direction k, its steps; steps of the longest; from token to token.

    A chunk ends where its row or column does, so that a step is one addition. Each row is cut evenly: chunks have the
    longest one's steps or one less, but for those beyond an order's own number, which have none.
    """
    code = codes >> (2 * k).to(tl.int32)
    down = (code & 1) != 0
    back = (code >> 1) & 1
    length = tl.where(down, H, W)
    cuts = (length + most - 1) // most
    short = length // cuts
    longer = length - cuts * short  # so many chunks have a step more
    run = chunks // cuts
    cut = chunks - run * cuts
    sign = 1 - 2 * back
    step = sign * tl.where(down, W, 1)
    token = back * (H * W - 1) + sign * run * tl.where(down, 1, W) + (cut * short + tl.minimum(cut, longer)) * step
    count = tl.where(run < tl.where(down, W, H), short + (cut < longer).to(tl.int32), 0)
    return token, count, short + (longer > 0).to(tl.int32), step


@triton.jit
def load_scaled_weight(
    weight_ptr, bias_ptr, c, inside, R: tl.constexpr, BR: tl.constexpr, HAS_BIAS: tl.constexpr, ONE: tl.constexpr
):
    """dt_weight (d, R) of the channels c times log2(e), transposed: [BR, BD]; where ONE, the bias is its row R."""
    r = tl.arange(0, BR)
    mask = inside[:, None] & (r < R)[None, :]
    weight = tl.load(weight_ptr + c[:, None] * R + r[None, :], mask=mask, other=0.0)
    if ONE and HAS_BIAS:
        bias = tl.load(bias_ptr + c, mask=inside, other=0.0)
        weight = tl.where((r == R)[None, :], bias[:, None], weight)
    return tl.trans(weight * LOG2E)


@triton.jit
def load_scaled_bias(bias_ptr, c, inside, BS: tl.constexpr, HAS_BIAS: tl.constexpr, ONE: tl.constexpr):
    """What the expansion of dt starts from: dt_bias times log2(e), unless it is a part of the weight."""
    if HAS_BIAS and not ONE:
        bias = tl.load(bias_ptr + c, mask=inside, other=0.0) * LOG2E
    else:
        bias = tl.zeros(c.shape, tl.float32)
    return tl.broadcast_to(bias[None, :], [BS, c.shape[0]])


@triton.jit
def rounded(tile, DOT: tl.constexpr, CALLED: tl.constexpr):
    """`tile` as matrices are multiplied."""
    return tile.to(DOT).to(CALLED)


@triton.jit
def load_low_rank(ptr, rows, valid, stride: tl.constexpr, R: tl.constexpr, BR: tl.constexpr, ONE: tl.constexpr):
    """dt of the tokens `rows`: [BS, BR]; where ONE, a 1 follows that meets the bias."""
    r = tl.arange(0, BR)
    other = (r == R).to(tl.float32).to(ptr.dtype.element_ty)[None, :] if ONE else 0.0
    return tl.load(ptr + rows[:, None] * stride + r[None, :], mask=valid[:, None] & (r < R)[None, :], other=other)


@triton.jit
def expanded(low, high, rest, bias, SPLIT: tl.constexpr, PRECISION: tl.constexpr):
    """low (high + rest) + bias."""
    z = tl.dot(low, high, bias, input_precision=PRECISION)
    if SPLIT:
        z = tl.dot(low, rest, z, input_precision=PRECISION)
    return z


@kernel
def straight_sweep(
    x: Line,
    dt: Line,
    B: Line,
    C: Line,
    y: Line,
    given: Given,
    states_ptr,  # (b, K, num_chunks, d) float32: final states out (SUMMARY), entering states in (else)
    deltas_ptr,  # (b, K, num_chunks, d) float32: sum of delta out (SUMMARY)
    L,
    first,
    directions,
    map: Map,
    width: Width,
    BS: tl.constexpr,
    BD: tl.constexpr,
    HAS_D: tl.constexpr,
    SUMMARY: tl.constexpr,
    ACCUMULATE: tl.constexpr,
):
    """As `triton_forward.sweep`."""
    d: tl.constexpr = width.d
    K: tl.constexpr = width.K
    R: tl.constexpr = width.R
    BR: tl.constexpr = width.BR
    ONE: tl.constexpr = R < BR
    DEGREE: tl.constexpr = width.DEGREE
    DOT: tl.constexpr = width.DOT
    CALLED: tl.constexpr = width.CALLED
    SPLIT: tl.constexpr = width.SPLIT
    PRECISION: tl.constexpr = width.PRECISION
    SOFTPLUS: tl.constexpr = width.SOFTPLUS
    blocks_d: tl.constexpr = (d + BD - 1) // BD
    num_chunks = map.num_chunks
    blocks_s = tl.cdiv(num_chunks, BS)
    pid = tl.program_id(0)
    c = (pid % blocks_d) * BD + tl.arange(0, BD)
    chunks = (pid // blocks_d % blocks_s) * BS + tl.arange(0, BS)
    batch = (pid // (blocks_d * blocks_s) // directions).to(tl.int64)
    k = (first + pid // (blocks_d * blocks_s) % directions).to(tl.int64)

    x.ptr += batch * L * x.l + k * x.k
    dt.ptr += batch * L * dt.l + k * dt.k
    B.ptr += batch * L * B.l + k * B.k
    C.ptr += batch * L * C.l + k * C.k
    y.ptr += batch * L * y.l + k * y.k
    inside = c < d
    decay = tl.load(given.A + k * d + c, mask=inside, other=0.0)[None, :]
    bias = load_scaled_bias(given.bias + k * d, c, inside, BS, width.HAS_BIAS, ONE)
    weight = load_scaled_weight(given.weight + k * d * R, given.bias + k * d, c, inside, R, BR, width.HAS_BIAS, ONE)
    high = rounded(weight, DOT, CALLED)
    rest = rounded(weight - high.to(tl.float32), DOT, CALLED) if SPLIT else 0.0
    if HAS_D:
        skip = tl.load(given.D + k * d + c, mask=inside, other=0.0)[None, :]
    state_at = ((batch * K + k) * num_chunks + chunks)[:, None] * d + c[None, :]
    state_in = (chunks < num_chunks)[:, None] & inside[None, :]
    if SUMMARY:
        h = tl.zeros([BS, BD], tl.float32)
    else:
        h = tl.load(states_ptr + state_at, mask=state_in, other=0.0) * LOG2E
    total = tl.zeros([BS, BD], tl.float32)
    token, count, steps, step = chunks_of(k, chunks, map.H, map.W, map.codes, map.most)
    late = steps - count
    if SUMMARY:  # shorter chunks begin late, while h is 0; else they end early, whose last h nobody reads
        token -= late * step

    for t in range(steps):
        rows = token.to(tl.int64)
        valid = t >= late if SUMMARY else t < count
        tile = valid[:, None] & inside[None, :]
        u = tl.load(x.ptr + rows[:, None] * x.l + c[None, :], mask=tile, other=0.0).to(tl.float32)
        low = rounded(load_low_rank(dt.ptr, rows, valid, dt.l, R, BR, ONE), DOT, CALLED)
        s = binary_step(expanded(low, high, rest, bias, SPLIT, PRECISION), SOFTPLUS, DEGREE)
        b = tl.load(B.ptr + rows * B.l, mask=valid, other=0.0).to(tl.float32)
        h = tl.exp2(s * decay) * h + s * u * b[:, None]
        if SUMMARY:
            total += s * valid.to(tl.float32)[:, None]
        else:
            weighted = h * (tl.load(C.ptr + rows * C.l, mask=valid).to(tl.float32) * LN2)[:, None]
            at = y.ptr + rows[:, None] * y.l + c[None, :]
            if ACCUMULATE:
                weighted += tl.load(at, mask=tile)
            if HAS_D:
                weighted += skip * u
            tl.store(at, weighted, mask=tile)
        token += step

    if SUMMARY:
        tl.store(states_ptr + state_at, h * LN2, mask=state_in)
        tl.store(deltas_ptr + state_at, total * LN2, mask=state_in)


@kernel
def straight_gradient_sweep(
    dt: Line,
    C: Line,
    dy: Line,
    given: Given,
    grads_ptr,  # (b, K, num_chunks, d) float32, out: a g of each chunk's first step, had nothing entered
    deltas_ptr,  # (b, K, num_chunks, d) float32, out: sum of delta
    L,
    map: Map,
    width: Width,
    BS: tl.constexpr,
    BD: tl.constexpr,
):
    """As `triton_backward.gradient_sweep`: the mirror image of `straight_sweep`."""
    d: tl.constexpr = width.d
    K: tl.constexpr = width.K
    R: tl.constexpr = width.R
    BR: tl.constexpr = width.BR
    ONE: tl.constexpr = R < BR
    DEGREE: tl.constexpr = width.DEGREE
    DOT: tl.constexpr = width.DOT
    CALLED: tl.constexpr = width.CALLED
    SPLIT: tl.constexpr = width.SPLIT
    PRECISION: tl.constexpr = width.PRECISION
    SOFTPLUS: tl.constexpr = width.SOFTPLUS
    blocks_d: tl.constexpr = (d + BD - 1) // BD
    num_chunks = map.num_chunks
    blocks_s = tl.cdiv(num_chunks, BS)
    pid = tl.program_id(0)
    c = (pid % blocks_d) * BD + tl.arange(0, BD)
    chunks = (pid // blocks_d % blocks_s) * BS + tl.arange(0, BS)
    lane = (pid // (blocks_d * blocks_s)).to(tl.int64)
    batch, k = lane // K, lane % K

    dt.ptr += batch * L * dt.l + k * dt.k
    C.ptr += batch * L * C.l + k * C.k
    dy.ptr += batch * L * dy.l + k * dy.k
    inside = c < d
    decay = tl.load(given.A + k * d + c, mask=inside, other=0.0)[None, :]
    bias = load_scaled_bias(given.bias + k * d, c, inside, BS, width.HAS_BIAS, ONE)
    weight = load_scaled_weight(given.weight + k * d * R, given.bias + k * d, c, inside, R, BR, width.HAS_BIAS, ONE)
    high = rounded(weight, DOT, CALLED)
    rest = rounded(weight - high.to(tl.float32), DOT, CALLED) if SPLIT else 0.0
    grad = tl.zeros([BS, BD], tl.float32)
    total = tl.zeros([BS, BD], tl.float32)
    token, count, steps, step = chunks_of(k, chunks, map.H, map.W, map.codes, map.most)
    token += steps * step

    for i in range(steps):
        token -= step
        rows = token.to(tl.int64)
        valid = steps - 1 - i < count
        tile = valid[:, None] & inside[None, :]
        arriving = tl.load(dy.ptr + rows[:, None] * dy.l + c[None, :], mask=tile, other=0.0).to(tl.float32)
        low = rounded(load_low_rank(dt.ptr, rows, valid, dt.l, R, BR, ONE), DOT, CALLED)
        s = binary_step(expanded(low, high, rest, bias, SPLIT, PRECISION), SOFTPLUS, DEGREE)
        weighted = tl.load(C.ptr + rows * C.l, mask=valid, other=0.0).to(tl.float32)[:, None] * arriving
        grad = (grad + weighted) * tl.exp2(s * decay)
        total += s * valid.to(tl.float32)[:, None]

    at = (lane * num_chunks + chunks)[:, None] * d + c[None, :]
    mask = (chunks < num_chunks)[:, None] & inside[None, :]
    tl.store(grads_ptr + at, grad, mask=mask)
    tl.store(deltas_ptr + at, total * LN2, mask=mask)
