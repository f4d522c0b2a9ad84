"""Triton kernels of the selective scan, backward.

With g_t the gradient that reaches h_t,

    g_t = C_t dy_t + a_{t+1} g_{t+1},    a_t = exp(delta_t A),

a_t g_t obeys the same kind of recurrence as h, run from the end. `gradient_sweep` leaves each chunk's share of it,
`triton_forward.carry` (reversed) what enters each chunk from the right; `gradients` then rebuilds h from the forward
pass's carries and g from these, chunk by chunk, and reduces every gradient of the inputs inside the program before it
writes. No decay is ever divided by.
"""

from typing import Any, NamedTuple

import triton
import triton.language as tl

from ..triton_groups import Rows, own_names
from .triton_common import (
    LN2,
    Form,
    Given,
    Sizes,
    Table,
    chunk_state_offsets,
    kernel,
    lift,
    load_decay,
    load_expansion,
    load_rows,
    load_states,
    load_vector,
    raw_steps,
    step_size,
    step_size_slope,
    token_rows,
)


@kernel
def gradient_sweep(
    dt: Rows,
    C: Rows,
    dy: Rows,
    given: Given,
    index: Table,
    grads_ptr,  # (b, K, num_chunks, N, d) float32, out: a g of each chunk's first step, had nothing entered
    deltas_ptr,  # (b, K, num_chunks, d) float32, out: sum of delta
    sizes: Sizes,
    form: Form,
    BS: tl.constexpr,
    BD: tl.constexpr,
):
    """One program: BS chunks, BD channels, one direction, one batch element; the mirror image of `sweep`."""
    d, R, K = sizes.d, sizes.R, sizes.K
    T, num_steps, num_chunks = sizes.T, sizes.num_steps, sizes.num_chunks
    N: tl.constexpr = form.N
    NP: tl.constexpr = form.NP
    BR: tl.constexpr = form.BR
    SOFTPLUS: tl.constexpr = form.SOFTPLUS
    PRECISION: tl.constexpr = form.PRECISION
    blocks_d = tl.cdiv(d, BD)
    blocks_s = tl.cdiv(num_chunks, BS)
    pid = tl.program_id(0)
    c = (pid % blocks_d) * BD + tl.arange(0, BD)
    chunks = (pid // blocks_d % blocks_s) * BS + tl.arange(0, BS)
    lane = (pid // (blocks_d * blocks_s)).to(tl.int64)
    batch, k = lane // K, lane % K

    dt.ptr += batch * dt.b + k * dt.k
    C.ptr += batch * C.b + k * C.k
    dy.ptr += batch * dy.b + k * dy.k
    index.ptr += k * index.k
    inside = c < d
    decay = load_decay(given.A + k * d * N, c, d, N, NP)
    bias = load_vector(given.bias + k * d, c, d, form.HAS_BIAS)
    weight = load_expansion(given.weight + k * d * R, c, d, R, BR) if BR > 0 else 0.0
    at, mask = chunk_state_offsets(chunks, c, num_chunks, d, N, NP)
    grad = tl.zeros(at.shape, tl.float32)
    delta_sum = tl.zeros([BS, BD], tl.float32)
    for i in range(T):
        rows = token_rows(index.ptr, chunks * T + (T - 1 - i), num_steps)
        arriving = load_rows(dy.ptr, rows, dy.l, c, inside)
        delta = step_size(raw_steps(dt.ptr, rows, dt.l, weight, bias, c, d, R, BR, PRECISION), SOFTPLUS)
        grad += load_states(C.ptr, rows, C.l, N, NP) * lift(arriving, N)
        grad *= tl.exp2(lift(delta, N) * decay)
        delta_sum += delta
    tl.store(grads_ptr + lane * num_chunks * N * d + at, grad, mask=mask)
    at = lane * num_chunks * d + chunks.to(tl.int64)[:, None] * d + c[None, :]
    tl.store(deltas_ptr + at, delta_sum, mask=(chunks < num_chunks)[:, None] & inside[None, :])


@triton.jit
def add_to(ptr, values, mask, ATOMIC: tl.constexpr):
    """Add by atomics what blocks of channels share, or to a share that no other block has in this launch."""
    if ATOMIC:
        tl.atomic_add(ptr, values, mask=mask, sem='relaxed')
    else:
        tl.store(ptr, tl.load(ptr, mask=mask, other=0.0) + values, mask=mask)


class Gradients(NamedTuple):
    """Where the gradients go, but for that of x: float32 partials, by block of channels or by part.

    dt (shares, b, L, K, R), or (b, L, K, d) where it comes expanded; B and C (shares, b, L, K, N); the others
    (b, parts, K, ...) of (N, d), (d), (d), (R, d). Zeros; but all of A, D and bias is written.
    """

    dt: Any
    B: Any
    C: Any
    A: Any
    D: Any
    bias: Any
    weight: Any


@own_names
class Part(NamedTuple):
    """What a launch does: directions from the first one on, blocks of channels likewise, programs likewise.

    A program has `blocks` tiles of chunks, one of `parts` that there are of them.
    """

    first: Any
    directions: Any
    parts: Any
    blocks: Any
    first_d: Any
    blocks_d: Any
    start: Any


@kernel
def gradients(
    x: Rows,
    dt: Rows,
    B: Rows,
    C: Rows,
    dy: Rows,
    dx: Rows,
    given: Given,
    index: Table,
    states_ptr,  # (b, K, num_chunks, N, d) float32: h that enters each chunk
    grads_ptr,  # likewise: a g from the chunk after it
    history_ptr,  # (programs, T, BS, BD) float32 scratch
    to: Gradients,
    partial,  # tokens of one share of dt, B and C: b * L, or 0 where there is one
    L,
    this: Part,
    sizes: Sizes,
    form: Form,
    BS: tl.constexpr,
    BD: tl.constexpr,
    HAS_D: tl.constexpr,
    ACCUMULATE: tl.constexpr,
    ATOMIC: tl.constexpr,
):
    """At one state. One program: `blocks` times BS chunks, BD channels, one direction, one batch element.

    Walks through the chunks' steps once forward, to leave h_{t-1} of each step in a scratch of its own, and once
    backward. ACCUMULATE as in `sweep`.
    """
    d, R, K = sizes.d, sizes.R, sizes.K
    T, num_steps, num_chunks = sizes.T, sizes.num_steps, sizes.num_chunks
    BR: tl.constexpr = form.BR
    SOFTPLUS: tl.constexpr = form.SOFTPLUS
    PRECISION: tl.constexpr = form.PRECISION
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
    s = tl.arange(0, BS)

    x.ptr += batch * x.b + k * x.k
    dx.ptr += batch * dx.b + k * dx.k
    dt.ptr += batch * dt.b + k * dt.k
    B.ptr += batch * B.b + k * B.k
    C.ptr += batch * C.b + k * C.k
    dy.ptr += batch * dy.b + k * dy.k
    index.ptr += k * index.k
    states_ptr += (batch * K + k) * num_chunks * d
    grads_ptr += (batch * K + k) * num_chunks * d
    history_ptr += tl.program_id(0).to(tl.int64) * (T * BS * BD)
    by_token = (share * partial + batch * L) * K + k
    by_part = (batch * parts + part) * K + k

    decay = load_decay(given.A + k * d, c, d, 1, 1)
    bias = load_vector(given.bias + k * d, c, d, form.HAS_BIAS)
    skip = load_vector(given.D + k * d, c, d, HAS_D)
    weight = load_expansion(given.weight + k * d * R, c, d, R, BR) if BR > 0 else 0.0
    r = tl.arange(0, BR if BR > 0 else 16)
    inner = s[:, None] * BD + tl.arange(0, BD)[None, :]
    dA = tl.zeros([BS, BD], tl.float32)
    dD = tl.zeros([BS, BD], tl.float32)
    dbias = tl.zeros([BS, BD], tl.float32)
    dweight = tl.zeros([BR if BR > 0 else 16, BD], tl.float32)

    for block in range(part * this.blocks, (part + 1) * this.blocks):
        chunks = block * BS + s
        state_at, state_in = chunk_state_offsets(chunks, c, num_chunks, d, 1, 1)
        h = tl.load(states_ptr + state_at, mask=state_in, other=0.0)
        tl.debug_barrier()  # the scratch is read by now
        for t in range(T):
            tl.store(history_ptr + t * (BS * BD) + inner, h)
            rows = token_rows(index.ptr, chunks * T + t, num_steps)
            u = load_rows(x.ptr, rows, x.l, c, inside)
            delta = step_size(raw_steps(dt.ptr, rows, dt.l, weight, bias, c, d, R, BR, PRECISION), SOFTPLUS)
            b = load_states(B.ptr, rows, B.l, 1, 1)
            h = tl.exp2(delta * decay) * h + delta * u * b
        tl.debug_barrier()  # the scratch is written by now

        grad = tl.load(grads_ptr + state_at, mask=state_in, other=0.0)  # a_{t+1} g_{t+1}
        for i in range(T):
            t = T - 1 - i
            rows = token_rows(index.ptr, chunks * T + t, num_steps)
            u = load_rows(x.ptr, rows, x.l, c, inside)
            arriving = load_rows(dy.ptr, rows, dy.l, c, inside)
            z = raw_steps(dt.ptr, rows, dt.l, weight, bias, c, d, R, BR, PRECISION)
            delta = step_size(z, SOFTPLUS)
            a = tl.exp2(delta * decay)
            kept = a * tl.load(history_ptr + t * (BS * BD) + inner)  # a_t h_{t-1}
            b = load_states(B.ptr, rows, B.l, 1, 1)
            at = by_token + rows * K
            add_to(to.C + at, tl.sum((kept + delta * u * b) * arriving, 1), rows >= 0, ATOMIC)
            g = load_states(C.ptr, rows, C.l, 1, 1) * arriving + grad
            add_to(to.B + at, tl.sum(g * delta * u, 1), rows >= 0, ATOMIC)
            from_b = g * b
            kept *= g
            grad = a * g
            dA += kept * delta
            from_a = kept * (decay * LN2)

            own = delta * from_b + skip[None, :] * arriving
            dz = (from_a + u * from_b) * step_size_slope(z, SOFTPLUS)
            dD += u * arriving
            dbias += dz
            valid = (rows >= 0)[:, None]
            at = dx.ptr + rows[:, None] * dx.l + c[None, :]
            if ACCUMULATE:
                own += tl.load(at, mask=valid & inside[None, :], other=0.0)
            tl.store(at, own, mask=valid & inside[None, :])
            if BR > 0:
                low = load_rows(dt.ptr, rows, dt.l, r, r < R)
                dweight += tl.dot(tl.trans(low), dz, input_precision=PRECISION)
                ddt = tl.dot(dz, tl.trans(weight), input_precision=PRECISION)
                add_to(to.dt + (by_token + rows * K)[:, None] * R + r[None, :], ddt, valid & (r < R)[None, :], ATOMIC)
            else:
                at = to.dt + ((batch * L + rows) * K + k)[:, None] * d + c[None, :]
                tl.store(at, dz, mask=valid & inside[None, :])

    tl.store(to.A + by_part * d + c, tl.sum(dA, 0), mask=inside)
    tl.store(to.D + by_part * d + c, tl.sum(dD, 0), mask=inside)
    tl.store(to.bias + by_part * d + c, tl.sum(dbias, 0), mask=inside)
    if BR > 0:
        at = to.weight + (by_part * R + r[:, None]) * d + c[None, :]
        tl.store(at, dweight, mask=(r < R)[:, None] & inside[None, :])
