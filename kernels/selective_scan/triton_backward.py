"""Triton kernels of the selective scan, backward.

With g_t the gradient that reaches h_t,

    g_t = C_t dy_t + a_{t+1} g_{t+1},    a_t = exp(delta_t A),

a_t g_t obeys the same kind of recurrence as h, run from the end. `gradient_sweep` leaves each chunk's share of it,
`triton_forward.carry` (reversed) what enters each chunk from the right; `gradients` then rebuilds h from the forward pass's
carries and g from these, chunk by chunk in registers, and reduces every gradient of the inputs inside the program before it
writes. No decay is ever divided by.
"""

import triton
import triton.language as tl

from .triton_common import (
    LOG2E,
    affine_before,
    chunk_state_offsets,
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


@triton.jit
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
def edge(tile, at, POSITION: tl.constexpr):
    """The slice of `tile` [BT, BS, BD] where `at` [BT] is POSITION: [BS, BD]."""
    return tl.sum(tl.where((at == POSITION)[:, None, None], tile, 0.0), 0)


@triton.jit
def entering(whole, local, carried, starts, REVERSE: tl.constexpr):
    """What enters each sub-chunk [BS, BD]: `carried` where a chunk starts, else what the sub-chunk before it passes on.

    whole, local: a sub-chunk's decay and what it adds.
    """
    p = tl.where(starts[:, None], 0.0, 1.0) + tl.zeros_like(whole)
    q = tl.where(starts[:, None], carried, 0.0)
    _, _, _, state = tl.associative_scan((whole, local, p, q), 0, affine_before, reverse=REVERSE)
    return state


@triton.jit
def add_to(ptr, values, mask, ATOMIC: tl.constexpr):
    """Share one buffer among channel blocks by atomics, or write a partial result of one's own."""
    if ATOMIC:
        tl.atomic_add(ptr, values, mask=mask, sem='relaxed')
    else:
        tl.store(ptr, values, mask=mask)


@triton.jit
def gradients(
    x_ptr, dt_ptr, A_ptr, B_ptr, C_ptr, D_ptr, bias_ptr, weight_ptr, index_ptr, dy_ptr,
    states_ptr, grads_ptr,  # (b, K, num_chunks, N, d) float32: h that enters each chunk, a g that enters it from the right
    dx_ptr, ddt_ptr,  # by token; ddt (blocks_d, b, L, K, R) float32 partials, or (b, L, K, d)
    dB_ptr, dC_ptr,  # (blocks_d, b, L, K, N) float32 partials
    dA_ptr, dD_ptr, dbias_ptr, dweight_ptr,  # (b, parts, K, ...) float32 partials of (N, d), (d), (d), (R, d)
    index_k, x_b, x_l, x_k, dt_b, dt_l, dt_k, B_b, B_l, B_k, C_b, C_l, C_k, y_b, y_l, y_k, dx_b, dx_l, dx_k,
    partial,  # tokens of one channel block's partial: b * L, or 0 where they share one buffer
    L, d, R, K, first, directions, num_steps, num_chunks, parts, blocks,
    N: tl.constexpr, NP: tl.constexpr, T: tl.constexpr, BT: tl.constexpr, BS: tl.constexpr, BD: tl.constexpr,
    BR: tl.constexpr, HAS_D: tl.constexpr, HAS_BIAS: tl.constexpr, SOFTPLUS: tl.constexpr,
    PRECISION: tl.constexpr, ACCUMULATE: tl.constexpr, ATOMIC: tl.constexpr,
):  # fmt: skip
    """One program: `blocks` blocks of BS sub-chunks of BT steps, BD channels, one direction, one batch element.

    A chunk of T steps is T / BT sub-chunks. ACCUMULATE as in `sweep`.
    """
    blocks_d = tl.cdiv(d, BD)
    pid = tl.program_id(0)
    block_d = (pid % blocks_d).to(tl.int64)
    part = pid // blocks_d % parts
    batch = (pid // (blocks_d * parts) // directions).to(tl.int64)
    k = (first + pid // (blocks_d * parts) % directions).to(tl.int64)
    c = (pid % blocks_d) * BD + tl.arange(0, BD)
    inside = c < d
    t, s, n_all = tl.arange(0, BT), tl.arange(0, BS), tl.arange(0, NP)
    M: tl.constexpr = BT * BS
    SUBS: tl.constexpr = T // BT
    m = tl.arange(0, M)

    x_ptr += batch * x_b + k * x_k
    dx_ptr += batch * dx_b + k * dx_k
    dt_ptr += batch * dt_b + k * dt_k
    B_ptr += batch * B_b + k * B_k
    C_ptr += batch * C_b + k * C_k
    dy_ptr += batch * y_b + k * y_k
    index_ptr += k * index_k
    A_ptr += k * d * N
    states_ptr += (batch * K + k) * num_chunks * N * d
    grads_ptr += (batch * K + k) * num_chunks * N * d
    by_token = (block_d * partial + batch * L) * K + k
    by_part = (batch * parts + part) * K + k

    bias = load_vector(bias_ptr + k * d, c, d, HAS_BIAS)
    skip = load_vector(D_ptr + k * d, c, d, HAS_D)
    weight = load_expansion(weight_ptr + k * d * R, c, d, R, BR) if BR > 0 else 0.0
    dA = tl.zeros([NP, BD], tl.float32)
    dD = tl.zeros([BD], tl.float32)
    dbias = tl.zeros([BD], tl.float32)
    dweight = tl.zeros([BR if BR > 0 else 16, BD], tl.float32)

    for block in range(part * blocks, (part + 1) * blocks):
        sub = block * BS + s
        chunk = (sub // SUBS).to(tl.int64)
        here = (chunk < num_chunks)[:, None] & inside[None, :]
        rows = token_rows(index_ptr, (block * BS + m % BS) * BT + m // BS, num_steps)  # [M], step-major as the tiles
        valid = rows >= 0
        u2 = load_rows(x_ptr, rows, x_l, c, inside)
        dy2 = load_rows(dy_ptr, rows, y_l, c, inside)
        z2 = raw_steps(dt_ptr, rows, dt_l, weight, bias, c, d, R, BR, PRECISION)
        u = tl.reshape(u2, [BT, BS, BD])
        dy = tl.reshape(dy2, [BT, BS, BD])
        z = tl.reshape(z2, [BT, BS, BD])
        delta = step_size(z, SOFTPLUS)
        delta_sum = tl.sum(delta, 0)
        gB = tl.zeros([BT, BS, BD], tl.float32)  # sum over the states of g B
        gA = tl.zeros([BT, BS, BD], tl.float32)  # sum over the states of g a h_{t-1} A
        for n in range(N):
            A = tl.load(A_ptr + c * N + n, mask=inside, other=0.0)
            B = tl.reshape(tl.load(B_ptr + rows * B_l + n, mask=valid, other=0.0).to(tl.float32), [BT, BS, 1])
            C = tl.reshape(tl.load(C_ptr + rows * C_l + n, mask=valid, other=0.0).to(tl.float32), [BT, BS, 1])
            at = (chunk[:, None] * N + n) * d + c[None, :]
            h_in = tl.load(states_ptr + at, mask=here, other=0.0)
            g_in = tl.load(grads_ptr + at, mask=here, other=0.0)
            a = tl.exp2(delta * (A * LOG2E)[None, None, :])
            b = delta * u * B
            ones = tl.full([BT, BS, BD], 1.0, tl.float32)
            zeros = tl.full([BT, BS, BD], -0.0, tl.float32)  # -0 + x folds to x, 0 + x does not
            _, _, p, before = tl.associative_scan((a, b, ones, zeros), 0, affine_before)
            _, _, r, g = tl.associative_scan((a, zeros, ones, C * dy), 0, affine_before, reverse=True)
            if SUBS > 1:
                whole = tl.exp2(delta_sum * (A * LOG2E)[None, :])
                h_in = entering(whole, edge(a * before + b, t, BT - 1), h_in, sub % SUBS == 0, False)
                g_in = entering(whole, edge(a * g, t, 0), g_in, sub % SUBS == SUBS - 1, True)
            kept = a * (before + p * h_in[None, :, :])  # a_t h_{t-1}
            g += r * g_in[None, :, :]
            gB += g * B
            gA += g * kept * A[None, None, :]
            dA += tl.where((n_all == n)[:, None], tl.sum(tl.sum(g * kept * delta, 0), 0)[None, :], 0.0)
            out = (by_token + rows * K) * N + n
            add_to(dB_ptr + out, tl.reshape(tl.sum(g * delta * u, 2), [M]), valid, ATOMIC)
            add_to(dC_ptr + out, tl.reshape(tl.sum(dy * (kept + b), 2), [M]), valid, ATOMIC)

        mask = valid[:, None] & inside[None, :]
        dx = tl.reshape(delta * gB + skip[None, None, :] * dy, [M, BD])
        at = dx_ptr + rows[:, None] * dx_l + c[None, :]
        if ACCUMULATE:
            dx += tl.load(at, mask=mask, other=0.0)
        tl.store(at, dx, mask=mask)
        dz = tl.reshape((gA + u * gB) * step_size_slope(z, SOFTPLUS), [M, BD])
        dD += tl.sum(u2 * dy2, 0)
        dbias += tl.sum(dz, 0)
        if BR > 0:
            r = tl.arange(0, BR)
            low = load_rows(dt_ptr, rows, dt_l, r, r < R)
            dweight += tl.dot(tl.trans(low), dz, input_precision=PRECISION)
            ddt = tl.dot(dz, tl.trans(weight), input_precision=PRECISION)
            at = ddt_ptr + (by_token + rows * K)[:, None] * R + r[None, :]
            add_to(at, ddt, valid[:, None] & (r < R)[None, :], ATOMIC)
        else:
            at = ddt_ptr + ((batch * L + rows) * K + k)[:, None] * d + c[None, :]
            tl.store(at, dz, mask=mask)

    states = tl.arange(0, NP)[:, None]
    tl.store(dA_ptr + (by_part * N + states) * d + c[None, :], dA, mask=(states < N) & inside[None, :])
    tl.store(dD_ptr + by_part * d + c, dD, mask=inside)
    tl.store(dbias_ptr + by_part * d + c, dbias, mask=inside)
    if BR > 0:
        r = tl.arange(0, BR)[:, None]
        tl.store(dweight_ptr + (by_part * R + r) * d + c[None, :], dweight, mask=(r < R) & inside[None, :])
