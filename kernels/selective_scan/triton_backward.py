"""Triton kernels of the selective scan, backward.

With g_t the gradient that reaches h_t,

    g_t = C_t dy_t + a_{t+1} g_{t+1},    a_t = exp(delta_t A),

a_t g_t obeys the same kind of recurrence as h, run from the end. `gradient_sweep` leaves each chunk's share of it,
`triton_forward.carry` (reversed) what enters each chunk from the right; `gradients` then rebuilds h from the forward
pass's carries and g from these, chunk by chunk, and reduces every gradient of the inputs inside the program before it
writes. No decay is ever divided by.
"""

import triton
import triton.language as tl

from .triton_common import (
    LN2,
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
    sum_states,
    token_rows,
)


@kernel
def gradient_sweep(
    dt_ptr, A_ptr, C_ptr, bias_ptr, weight_ptr, index_ptr, dy_ptr,
    grads_ptr,  # (b, K, num_chunks, N, d) float32, out: a g of each chunk's first step, had nothing entered
    deltas_ptr,  # (b, K, num_chunks, d) float32, out: sum of delta
    index_k, dt_b, dt_l, dt_k, C_b, C_l, C_k, y_b, y_l, y_k,
    d, R, K, num_steps, num_chunks,
    N: tl.constexpr, NP: tl.constexpr, T: tl.constexpr, BS: tl.constexpr, BD: tl.constexpr, BR: tl.constexpr,
    HAS_BIAS: tl.constexpr, SOFTPLUS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """One program: BS chunks, BD channels, one direction, one batch element; the mirror image of `sweep`."""
    blocks_d = tl.cdiv(d, BD)
    blocks_s = tl.cdiv(num_chunks, BS)
    pid = tl.program_id(0)
    c = (pid % blocks_d) * BD + tl.arange(0, BD)
    chunks = (pid // blocks_d % blocks_s) * BS + tl.arange(0, BS)
    lane = (pid // (blocks_d * blocks_s)).to(tl.int64)
    batch, k = lane // K, lane % K

    dt_ptr += batch * dt_b + k * dt_k
    C_ptr += batch * C_b + k * C_k
    dy_ptr += batch * y_b + k * y_k
    index_ptr += k * index_k
    inside = c < d
    decay = load_decay(A_ptr + k * d * N, c, d, N, NP)
    bias = load_vector(bias_ptr + k * d, c, d, HAS_BIAS)
    weight = load_expansion(weight_ptr + k * d * R, c, d, R, BR) if BR > 0 else 0.0
    at, mask = chunk_state_offsets(chunks, c, num_chunks, d, N, NP)
    grad = tl.zeros(at.shape, tl.float32)
    delta_sum = tl.zeros([BS, BD], tl.float32)
    for i in range(T):
        rows = token_rows(index_ptr, chunks * T + (T - 1 - i), num_steps)
        dy = load_rows(dy_ptr, rows, y_l, c, inside)
        delta = step_size(raw_steps(dt_ptr, rows, dt_l, weight, bias, c, d, R, BR, PRECISION), SOFTPLUS)
        grad += load_states(C_ptr, rows, C_l, N, NP) * lift(dy, N)
        grad *= tl.exp2(lift(delta, N) * decay)
        delta_sum += delta
    tl.store(grads_ptr + lane * num_chunks * N * d + at, grad, mask=mask)
    at = lane * num_chunks * d + chunks.to(tl.int64)[:, None] * d + c[None, :]
    tl.store(deltas_ptr + at, delta_sum, mask=(chunks < num_chunks)[:, None] & inside[None, :])


@triton.jit
def add_to(ptr, values, mask, ATOMIC: tl.constexpr):
    """Share one buffer among channel blocks by atomics, or write a partial result of one's own."""
    if ATOMIC:
        tl.atomic_add(ptr, values, mask=mask, sem='relaxed')
    else:
        tl.store(ptr, values, mask=mask)


@triton.jit
def store_by_state(ptr, tile, by_token, rows, K, N: tl.constexpr, NP: tl.constexpr, ATOMIC: tl.constexpr):
    """Sum over the channels of [BS, BD] (N = 1) or [NP, BS, BD], into (token, direction, state)."""
    if N == 1:
        add_to(ptr + by_token + rows * K, tl.sum(tile, 1), rows >= 0, ATOMIC)
    else:
        n = tl.arange(0, NP)[:, None]
        mask = (rows >= 0)[None, :] & (n < N)
        add_to(ptr + (by_token + rows * K)[None, :] * N + n, tl.sum(tile, 2), mask, ATOMIC)


@kernel
def gradients(
    x_ptr, dt_ptr, A_ptr, B_ptr, C_ptr, D_ptr, bias_ptr, weight_ptr, index_ptr, dy_ptr,
    states_ptr, grads_ptr,  # (b, K, num_chunks, N, d) float32: h that enters each chunk, a g from the chunk after it
    history_ptr,  # (programs, T, NP, BS, BD) float32 scratch
    dx_ptr, ddt_ptr,  # by token; ddt (blocks_d, b, L, K, R) float32 partials, or (b, L, K, d)
    dB_ptr, dC_ptr,  # (blocks_d, b, L, K, N) float32 partials
    dA_ptr, dD_ptr, dbias_ptr, dweight_ptr,  # (b, parts, K, ...) float32 partials of (N, d), (d), (d), (R, d)
    index_k, x_b, x_l, x_k, dt_b, dt_l, dt_k, B_b, B_l, B_k, C_b, C_l, C_k, y_b, y_l, y_k, dx_b, dx_l, dx_k,
    partial,  # tokens of one channel block's partial: b * L, or 0 where they share one buffer
    L, d, R, K, first, directions, num_steps, num_chunks, parts, blocks,
    N: tl.constexpr, NP: tl.constexpr, T: tl.constexpr, BS: tl.constexpr, BD: tl.constexpr, BR: tl.constexpr,
    HAS_D: tl.constexpr, HAS_BIAS: tl.constexpr, SOFTPLUS: tl.constexpr, PRECISION: tl.constexpr,
    ACCUMULATE: tl.constexpr, ATOMIC: tl.constexpr,
):  # fmt: skip
    """One program: `blocks` times BS chunks, BD channels, one direction, one batch element.

    Walks through the chunks' steps once forward, to leave h_{t-1} of each step in a scratch of its own, and once
    backward. ACCUMULATE as in `sweep`.
    """
    blocks_d = tl.cdiv(d, BD)
    pid = tl.program_id(0)
    block_d = (pid % blocks_d).to(tl.int64)
    part = pid // blocks_d % parts
    batch = (pid // (blocks_d * parts) // directions).to(tl.int64)
    k = (first + pid // (blocks_d * parts) % directions).to(tl.int64)
    c = (pid % blocks_d) * BD + tl.arange(0, BD)
    inside = c < d
    s = tl.arange(0, BS)

    x_ptr += batch * x_b + k * x_k
    dx_ptr += batch * dx_b + k * dx_k
    dt_ptr += batch * dt_b + k * dt_k
    B_ptr += batch * B_b + k * B_k
    C_ptr += batch * C_b + k * C_k
    dy_ptr += batch * y_b + k * y_k
    index_ptr += k * index_k
    states_ptr += (batch * K + k) * num_chunks * N * d
    grads_ptr += (batch * K + k) * num_chunks * N * d
    history_ptr += pid.to(tl.int64) * (T * NP * BS * BD)
    by_token = (block_d * partial + batch * L) * K + k
    by_part = (batch * parts + part) * K + k

    decay = load_decay(A_ptr + k * d * N, c, d, N, NP)
    bias = load_vector(bias_ptr + k * d, c, d, HAS_BIAS)
    skip = load_vector(D_ptr + k * d, c, d, HAS_D)
    weight = load_expansion(weight_ptr + k * d * R, c, d, R, BR) if BR > 0 else 0.0
    r = tl.arange(0, BR if BR > 0 else 16)
    inner = s[:, None] * BD + tl.arange(0, BD)[None, :]
    if N > 1:
        inner = tl.arange(0, NP)[:, None, None] * (BS * BD) + inner[None, :, :]
    dA = tl.zeros(inner.shape, tl.float32)
    dD = tl.zeros([BS, BD], tl.float32)
    dbias = tl.zeros([BS, BD], tl.float32)
    dweight = tl.zeros([BR if BR > 0 else 16, BD], tl.float32)

    for block in range(part * blocks, (part + 1) * blocks):
        chunks = block * BS + s
        state_at, state_in = chunk_state_offsets(chunks, c, num_chunks, d, N, NP)
        h = tl.load(states_ptr + state_at, mask=state_in, other=0.0)
        tl.debug_barrier()  # the scratch is read by now
        for t in range(T):
            tl.store(history_ptr + t * (NP * BS * BD) + inner, h)
            rows = token_rows(index_ptr, chunks * T + t, num_steps)
            u = load_rows(x_ptr, rows, x_l, c, inside)
            delta = step_size(raw_steps(dt_ptr, rows, dt_l, weight, bias, c, d, R, BR, PRECISION), SOFTPLUS)
            b = load_states(B_ptr, rows, B_l, N, NP)
            h = tl.exp2(lift(delta, N) * decay) * h + lift(delta * u, N) * b
        tl.debug_barrier()  # the scratch is written by now

        grad = tl.load(grads_ptr + state_at, mask=state_in, other=0.0)  # a_{t+1} g_{t+1}
        for i in range(T):
            t = T - 1 - i
            rows = token_rows(index_ptr, chunks * T + t, num_steps)
            u = load_rows(x_ptr, rows, x_l, c, inside)
            dy = load_rows(dy_ptr, rows, y_l, c, inside)
            z = raw_steps(dt_ptr, rows, dt_l, weight, bias, c, d, R, BR, PRECISION)
            delta = step_size(z, SOFTPLUS)
            a = tl.exp2(lift(delta, N) * decay)
            kept = a * tl.load(history_ptr + t * (NP * BS * BD) + inner)  # a_t h_{t-1}
            b = load_states(B_ptr, rows, B_l, N, NP)
            store_by_state(dC_ptr, (kept + lift(delta * u, N) * b) * lift(dy, N), by_token, rows, K, N, NP, ATOMIC)
            g = load_states(C_ptr, rows, C_l, N, NP) * lift(dy, N) + grad
            store_by_state(dB_ptr, g * lift(delta * u, N), by_token, rows, K, N, NP, ATOMIC)
            from_b = sum_states(g * b, N)
            kept *= g
            grad = a * g
            dA += kept * lift(delta, N)
            from_a = sum_states(kept * (decay * LN2), N)

            dx = delta * from_b + skip[None, :] * dy
            dz = (from_a + u * from_b) * step_size_slope(z, SOFTPLUS)
            dD += u * dy
            dbias += dz
            valid = (rows >= 0)[:, None]
            at = dx_ptr + rows[:, None] * dx_l + c[None, :]
            if ACCUMULATE:
                dx += tl.load(at, mask=valid & inside[None, :], other=0.0)
            tl.store(at, dx, mask=valid & inside[None, :])
            if BR > 0:
                low = load_rows(dt_ptr, rows, dt_l, r, r < R)
                dweight += tl.dot(tl.trans(low), dz, input_precision=PRECISION)
                ddt = tl.dot(dz, tl.trans(weight), input_precision=PRECISION)
                add_to(ddt_ptr + (by_token + rows * K)[:, None] * R + r[None, :], ddt, valid & (r < R)[None, :], ATOMIC)
            else:
                at = ddt_ptr + ((batch * L + rows) * K + k)[:, None] * d + c[None, :]
                tl.store(at, dz, mask=valid & inside[None, :])

    if N == 1:
        tl.store(dA_ptr + by_part * d + c, tl.sum(dA, 0), mask=inside)
    else:
        n = tl.arange(0, NP)[:, None]
        tl.store(dA_ptr + (by_part * N + n) * d + c[None, :], tl.sum(dA, 1), mask=(n < N) & inside[None, :])
    tl.store(dD_ptr + by_part * d + c, tl.sum(dD, 0), mask=inside)
    tl.store(dbias_ptr + by_part * d + c, tl.sum(dbias, 0), mask=inside)
    if BR > 0:
        at = dweight_ptr + (by_part * R + r[:, None]) * d + c[None, :]
        tl.store(at, dweight, mask=(r < R)[:, None] & inside[None, :])
