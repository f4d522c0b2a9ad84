"""Triton kernels of the selective scan, forward: chunk summaries, carries, outputs.

An order's steps are cut into chunks of T. A program holds BS chunks side by side and walks through their T steps
together, so the recurrence itself needs no communication between threads. `sweep` runs twice: from zero states, to
leave each chunk's final state and its sum of delta; and, after `carry` turned these into the state that enters each
chunk, from those states, to give the outputs.
"""

import triton.language as tl

from ..triton_groups import Rows
from .triton_common import (
    LOG2E,
    Form,
    Given,
    Sizes,
    Table,
    affine_before,
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
    sum_states,
    token_rows,
)


@kernel
def sweep(
    x: Rows,
    dt: Rows,
    B: Rows,
    C: Rows,
    y: Rows,  # outputs (else)
    given: Given,
    index: Table,
    states_ptr,  # (b, K, num_chunks, N, d) float32: final states out (SUMMARY), entering states in (else)
    deltas_ptr,  # (b, K, num_chunks, d) float32: sum of delta out (SUMMARY)
    first,
    directions,
    sizes: Sizes,
    form: Form,
    BS: tl.constexpr,
    BD: tl.constexpr,
    HAS_D: tl.constexpr,
    SUMMARY: tl.constexpr,
    ACCUMULATE: tl.constexpr,
):
    """One program: BS chunks, BD channels, one batch element, one of `directions` directions from `first` on.

    ACCUMULATE: add to y (float32) instead of writing it; nobody else may be
    adding to the same tokens, that is, one direction a launch.
    """
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
    batch = (pid // (blocks_d * blocks_s) // directions).to(tl.int64)
    k = (first + pid // (blocks_d * blocks_s) % directions).to(tl.int64)

    x.ptr += batch * x.b + k * x.k
    dt.ptr += batch * dt.b + k * dt.k
    B.ptr += batch * B.b + k * B.k
    C.ptr += batch * C.b + k * C.k
    y.ptr += batch * y.b + k * y.k
    index.ptr += k * index.k
    states_ptr += (batch * K + k) * num_chunks * N * d
    inside = c < d

    decay = load_decay(given.A + k * d * N, c, d, N, NP)
    bias = load_vector(given.bias + k * d, c, d, form.HAS_BIAS)
    skip = load_vector(given.D + k * d, c, d, HAS_D)
    weight = load_expansion(given.weight + k * d * R, c, d, R, BR) if BR > 0 else 0.0
    state_at, state_in = chunk_state_offsets(chunks, c, num_chunks, d, N, NP)
    if SUMMARY:
        h = tl.zeros(state_at.shape, tl.float32)
    else:
        h = tl.load(states_ptr + state_at, mask=state_in, other=0.0)
    delta_sum = tl.zeros([BS, BD], tl.float32)

    for t in range(T):
        rows = token_rows(index.ptr, chunks * T + t, num_steps)
        u = load_rows(x.ptr, rows, x.l, c, inside)
        delta = step_size(raw_steps(dt.ptr, rows, dt.l, weight, bias, c, d, R, BR, PRECISION), SOFTPLUS)
        b = load_states(B.ptr, rows, B.l, N, NP)
        h = tl.exp2(lift(delta, N) * decay) * h + lift(delta * u, N) * b
        if SUMMARY:
            delta_sum += delta
        else:
            out = sum_states(h * load_states(C.ptr, rows, C.l, N, NP), N) + skip[None, :] * u
            at = y.ptr + rows[:, None] * y.l + c[None, :]
            valid = (rows >= 0)[:, None] & inside[None, :]
            if ACCUMULATE:
                out += tl.load(at, mask=valid, other=0.0)
            tl.store(at, out, mask=valid)

    if SUMMARY:
        tl.store(states_ptr + state_at, h, mask=state_in)
        deltas_ptr += (batch * K + k) * num_chunks * d
        at = deltas_ptr + chunks.to(tl.int64)[:, None] * d + c[None, :]
        tl.store(at, delta_sum, mask=(chunks < num_chunks)[:, None] & inside[None, :])


@kernel
def carry(
    states_ptr,  # (b, K, num_chunks, N, d) float32, in place: what a chunk adds -> what enters it
    deltas_ptr,  # (b, K, num_chunks, d) float32
    A_ptr,
    d, K, num_chunks, blocks,
    N: tl.constexpr, BC: tl.constexpr, BD: tl.constexpr, REVERSE: tl.constexpr,
):  # fmt: skip
    """One program: all chunks of BD channels, one state, one direction, one batch element; BC chunks at a time.

    REVERSE runs from the last chunk to the first (gradients).
    """
    blocks_d = tl.cdiv(d, BD)
    pid = tl.program_id(0)
    c = (pid % blocks_d) * BD + tl.arange(0, BD)
    n = pid // blocks_d % N
    lane = (pid // (blocks_d * N)).to(tl.int64)  # batch * K + k
    inside = c < d
    decay = tl.load(A_ptr + (lane % K * d + c) * N + n, mask=inside, other=0.0)[None, :] * LOG2E
    states_ptr += lane * num_chunks * N * d + n * d
    deltas_ptr += lane * num_chunks * d
    i = tl.arange(0, BC)
    ones = tl.full([BC, BD], 1.0, tl.float32)
    zeros = tl.zeros([BC, BD], tl.float32)
    state = tl.zeros([BD], tl.float32)
    for block in range(blocks):
        order = block * BC + i
        chunk = (num_chunks - 1 - order if REVERSE else order).to(tl.int64)
        mask = (order < num_chunks)[:, None] & inside[None, :]
        at = states_ptr + chunk[:, None] * (N * d) + c[None, :]
        a = tl.exp2(tl.load(deltas_ptr + chunk[:, None] * d + c[None, :], mask=mask, other=0.0) * decay)
        b = tl.load(at, mask=mask, other=0.0)
        _, _, p, q = tl.associative_scan((a, b, ones, zeros), 0, affine_before)
        entering = p * state[None, :] + q
        tl.store(at, entering, mask=mask)
        leaving = a * entering + b
        state = tl.sum(tl.where((i == BC - 1)[:, None], leaving, 0.0), 0)
