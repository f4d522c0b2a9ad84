"""The Triton kernel of the selective scan's gradients at one state along rows and columns; see `triton_straight`."""

import triton
import triton.language as tl

from .triton_backward import Gradients, Part, add_to
from .triton_common import LN2, LOG2E, Given, kernel
from .triton_straight import (
    Line,
    Map,
    Width,
    binary_step,
    chunks_of,
    expanded,
    load_low_rank,
    load_scaled_bias,
    load_scaled_weight,
    rounded,
)


@triton.jit
def logistic(z, s, SOFTPLUS: tl.constexpr):
    """d delta / d z: softplus' slope e^z / (1 + e^z) is e^(z - delta)."""
    if SOFTPLUS:
        return tl.exp2(z - s)
    else:
        return tl.full(z.shape, 1.0, tl.float32)


@kernel
def straight_gradients(
    x: Line,
    dt: Line,
    B: Line,
    C: Line,
    dy: Line,
    dx: Line,
    given: Given,
    states_ptr,  # (b, K, num_chunks, d) float32: h that enters each chunk
    grads_ptr,  # likewise: a g from the chunk after it
    history_ptr,  # (programs, most, BS, BD) float32 scratch
    slopes_ptr,  # likewise, of type GRAD_DOT
    to: Gradients,
    partial,  # tokens of one share of dt, B and C: b * L, or 0 where there is one
    L,
    this: Part,
    map: Map,
    width: Width,
    BS: tl.constexpr,
    BD: tl.constexpr,
    GRAD_DOT: tl.constexpr,
    GRAD_CALLED: tl.constexpr,
    GRAD_PRECISION: tl.constexpr,
    HAS_D: tl.constexpr,
    ACCUMULATE: tl.constexpr,
    ATOMIC: tl.constexpr,
):
    """As `triton_backward.gradients`. Its q is kept times log2(e)."""
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
    num_chunks = map.num_chunks
    # by atomics a launch has all blocks of channels: known so, they take fewer registers
    blocks_d = tl.cdiv(d, BD) if ATOMIC else this.blocks_d
    parts = this.parts
    pid = this.start + tl.program_id(0)
    share = (pid % blocks_d).to(tl.int64)
    part = pid // blocks_d % parts
    batch = (pid // (blocks_d * parts) // this.directions).to(tl.int64)
    k = (this.first + pid // (blocks_d * parts) % this.directions).to(tl.int64)
    c = (pid % blocks_d + (0 if ATOMIC else this.first_d)) * BD + tl.arange(0, BD)
    inside = c < d
    lines = tl.arange(0, BS)
    r = tl.arange(0, BR)

    x.ptr += batch * L * x.l + k * x.k
    dx.ptr += batch * L * dx.l + k * dx.k
    dt.ptr += batch * L * dt.l + k * dt.k
    B.ptr += batch * L * B.l + k * B.k
    C.ptr += batch * L * C.l + k * C.k
    dy.ptr += batch * L * dy.l + k * dy.k
    by_token = (share * partial + batch * L) * K + k
    by_part = (batch * parts + part) * K + k
    inner = tl.program_id(0).to(tl.int64) * map.most * (BS * BD) + lines[:, None] * BD + tl.arange(0, BD)[None, :]
    history = history_ptr + inner
    slopes = slopes_ptr + inner

    decay = tl.load(given.A + k * d + c, mask=inside, other=0.0)[None, :]
    bias = load_scaled_bias(given.bias + k * d, c, inside, BS, width.HAS_BIAS, ONE)
    weight = load_scaled_weight(given.weight + k * d * R, given.bias + k * d, c, inside, R, BR, width.HAS_BIAS, ONE)
    high = rounded(weight, DOT, CALLED)
    rest = rounded(weight - high.to(tl.float32), DOT, CALLED) if SPLIT else 0.0
    back = tl.trans(rounded(weight, GRAD_DOT, GRAD_CALLED))
    if HAS_D:
        skip = tl.load(given.D + k * d + c, mask=inside, other=0.0)[None, :]
    dA = tl.zeros([BS, BD], tl.float32)
    dD = tl.zeros([BS, BD], tl.float32)
    dbias = tl.zeros([BS, BD], tl.float32)
    dweight = tl.zeros([BR, BD], tl.float32)

    for block in range(part * this.blocks, (part + 1) * this.blocks):
        chunks = block * BS + lines
        state_at = ((batch * K + k) * num_chunks + chunks)[:, None] * d + c[None, :]
        state_in = (chunks < num_chunks)[:, None] & inside[None, :]
        h = tl.load(states_ptr + state_at, mask=state_in, other=0.0) * LOG2E
        token, count, steps, step = chunks_of(k, chunks, map.H, map.W, map.codes, map.most)
        tl.debug_barrier()  # the scratch is read by now
        for t in range(steps):
            tl.store(history + t * (BS * BD), h)
            rows = token.to(tl.int64)
            valid = t < count
            tile = valid[:, None] & inside[None, :]
            u = tl.load(x.ptr + rows[:, None] * x.l + c[None, :], mask=tile, other=0.0).to(tl.float32)
            low = rounded(load_low_rank(dt.ptr, rows, valid, dt.l, R, BR, ONE), DOT, CALLED)
            s = binary_step(expanded(low, high, rest, bias, SPLIT, PRECISION), SOFTPLUS, DEGREE)
            b = tl.load(B.ptr + rows * B.l, mask=valid, other=0.0).to(tl.float32)
            h = tl.exp2(s * decay) * h + s * u * b[:, None]
            token += step
        tl.debug_barrier()  # the scratch is written by now

        grad = tl.load(grads_ptr + state_at, mask=state_in, other=0.0)  # a_{t+1} g_{t+1}
        late = steps - count
        token -= late * step  # shorter chunks end early above, and begin late here, after the last use of their `grad`
        kept_ptr = history - late[:, None] * (BS * BD)
        for i in range(steps):
            t = steps - 1 - i
            token -= step
            rows = token.to(tl.int64)
            valid = t >= late
            tile = valid[:, None] & inside[None, :]
            u = tl.load(x.ptr + rows[:, None] * x.l + c[None, :], mask=tile, other=0.0).to(tl.float32)
            arriving = tl.load(dy.ptr + rows[:, None] * dy.l + c[None, :], mask=tile, other=0.0).to(tl.float32)
            low = rounded(load_low_rank(dt.ptr, rows, valid, dt.l, R, BR, ONE), DOT, CALLED)
            z = expanded(low, high, rest, bias, SPLIT, PRECISION)
            s = binary_step(z, SOFTPLUS, DEGREE)
            a = tl.exp2(s * decay)
            kept = a * tl.load(kept_ptr + t * (BS * BD), mask=valid[:, None], other=0.0)  # a_t h_{t-1} log2(e)
            b = tl.load(B.ptr + rows * B.l, mask=valid, other=0.0).to(tl.float32)
            weighted = tl.load(C.ptr + rows * C.l, mask=valid, other=0.0).to(tl.float32)[:, None] * arriving
            driven = s * u
            at = by_token + rows * K
            g = weighted + grad
            grad = a * g
            add_to(to.B + at, tl.sum(g * driven, 1) * LN2, valid, ATOMIC)
            add_to(to.C + at, tl.sum((kept + driven * b[:, None]) * arriving, 1) * LN2, valid, ATOMIC)
            kept *= g
            dA += kept * s
            from_b = g * (b * LN2)[:, None]
            dz = (kept * (decay * (LN2 * LN2)) + u * from_b) * logistic(z, s, SOFTPLUS)  # times ln(2)
            if not ONE:
                dbias += dz
            own = s * from_b
            if HAS_D:
                own += skip * arriving
            dD += u * arriving
            there = dx.ptr + rows[:, None] * dx.l + c[None, :]
            if ACCUMULATE:
                own += tl.load(there, mask=tile, other=0.0)
            tl.store(there, own, mask=tile)
            tl.store(slopes + t * (BS * BD), dz.to(GRAD_DOT))
        tl.debug_barrier()  # the slopes are written by now

        for t in range(steps):
            rows = token.to(tl.int64)
            valid = t >= late
            loaded = rounded(load_low_rank(dt.ptr, rows, valid, dt.l, R, BR, ONE), GRAD_DOT, GRAD_CALLED)
            dz = tl.load(slopes + t * (BS * BD)).to(GRAD_CALLED)
            dweight = tl.dot(tl.trans(loaded), dz, dweight, input_precision=GRAD_PRECISION)
            ddt = tl.dot(dz, back, input_precision=GRAD_PRECISION)
            at = (by_token + rows * K)[:, None] * R + r[None, :]
            add_to(to.dt + at, ddt, valid[:, None] & (r < R)[None, :], ATOMIC)
            token += step

    tl.store(to.A + by_part * d + c, tl.sum(dA, 0) * (LN2 * LN2), mask=inside)
    tl.store(to.D + by_part * d + c, tl.sum(dD, 0), mask=inside)
    at = to.weight + (by_part * R + r[:, None]) * d + c[None, :]
    dweight *= LOG2E
    tl.store(at, dweight, mask=(r < R)[:, None] & inside[None, :])
    if ONE:
        at = to.bias + by_part * d + r[:, None] * 0 + c[None, :]
        tl.store(at, dweight, mask=(r == R)[:, None] & inside[None, :])
    else:
        tl.store(to.bias + by_part * d + c, tl.sum(dbias, 0) * LOG2E, mask=inside)
