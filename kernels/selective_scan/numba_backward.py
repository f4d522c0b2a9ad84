"""numba backward kernel of the selective scan.

Tasks, blocks and chunks are the forward's, the chunks from the last to the first. In each, the states are computed
again from the carry that the forward saved, then the adjoint g_t = C_t dy_t + a_{t+1} g_{t+1} runs down the steps. With
a_t = exp(delta_t A) and q_t = g_t a_t h_{t-1}:

    dx_t = delta_t <g_t, B_t> + D dy_t              dB_t = sum_channels g_t delta_t u_t      dD = sum_t dy_t u_t
    ddelta_t = u_t <g_t, B_t> + <A, q_t>            dC_t = sum_channels dy_t h_t             dA = sum_t delta_t q_t

Sums over channels stay 16 lanes wide within a block and are folded once at its end. What several tasks would add to
(dB, dC and the low-rank ddt of one batch element) has one slice for each group of channels.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from ..simd import LANES, exp2, fill, fma, largest, load, sigmoid, size_of, softplus, splat, store, store_scalar, total
from .numba_forward import (
    CHUNK,
    PITCH,
    VECTORS,
    Inputs,
    address,
    copy_states,
    expand,
    gather_chunk,
    gather_rows,
    matmul,
    prefetch_rows,
    read_tokens,
    scatter_rows,
    tame,
    write_decays,
)

LN2 = float(np.log(2.0))


class Gradients(NamedTuple):
    """The kernels' outputs, zeroed before; G is the number of channel groups."""

    x: np.ndarray  # (b, L, K, d), stride 0 in K where the directions share x
    dt: np.ndarray  # (G * b, L, K, R), or (b, L, K, d)
    A: np.ndarray  # (b, K, N, p)
    B: np.ndarray  # (G * b, L, K, N)
    C: np.ndarray  # (G * b, L, K, N)
    D: np.ndarray  # (b, K, 1, p)
    bias: np.ndarray  # (b, K, 1, p)
    weight: np.ndarray  # (b, K, R rounded up to a multiple of 8, p)


@njit(nogil=True)
def row_of(array, b, k):
    """Address of element (b, k) of an array (b, K, ...)."""
    return array.ctypes.data + b * array.strides[0] + k * array.strides[1]


@njit(nogil=True)
def adjoint_step(proto, step, u, dy, a, b, c, decay, before, h, carry, dA, gB, Aq, dB, dC, add):
    """One state of one step of the adjoint.

    Args:
        decay, before: addresses of a_t and h_{t-1}; h: h_t.
        carry: a_{t+1} g_{t+1}; dA, gB, Aq: sums so far.
        dB, dC: addresses of the sums over channels, set unless add.

    Returns:
        carry, dA, gB, Aq after this step, and h_{t-1}.
    """
    g = fma(splat(proto, c), dy, carry)
    decay, before = load(proto, decay), load(proto, before)
    q = g * (decay * before)
    if add:
        store(dB, fma(g, u, load(proto, dB)))
        store(dC, fma(dy, h, load(proto, dC)))
    else:
        store(dB, g * u)
        store(dC, dy * h)
    return decay * g, fma(step, q, dA), fma(splat(proto, b), g, gB), fma(a, q, Aq), before


@njit(nogil=True)
def backward1(proto, steps, delta, du, dy, gB, Aq, B, C, row, A, h, carry, dA, work, add):
    """States and adjoint of one state of one vector of channels.

    delta, du, dy: [step] vectors; gB, Aq: the sums <g, B> and <A, q>, [step] vectors, added to; A, h, carry, dA: one
    vector each, the last two updated. work: four arrays of [step] vectors: decays, states, sums for dB and dC.
    """
    vector = LANES * size_of(proto)
    states, dBs, dCs = work + CHUNK * vector, work + (2 * CHUNK + 1) * vector, work + (3 * CHUNK + 1) * vector
    a0, h0 = load(proto, A), load(proto, h)
    store(states, h0)
    for t in range(steps):
        at = t * vector
        decay = exp2(load(proto, delta + at) * a0)
        h0 = fma(decay, h0, load(proto, du + at) * splat(proto, B + t * row))
        store(work + at, decay)
        store(states + at + vector, h0)
    g0, d0 = load(proto, carry), load(proto, dA)
    for t in range(steps - 1, -1, -1):
        at = t * vector
        step, u, out = load(proto, delta + at), load(proto, du + at), load(proto, dy + at)
        s, q = load(proto, gB + at), load(proto, Aq + at)
        g0, d0, s, q, h0 = adjoint_step(
            proto,
            step,
            u,
            out,
            a0,
            B + t * row,
            C + t * row,
            work + at,
            states + at,
            h0,
            g0,
            d0,
            s,
            q,
            dBs + at,
            dCs + at,
            add,
        )
        store(gB + at, s)
        store(Aq + at, q)
    store(carry, g0)
    store(dA, d0)


@njit(nogil=True)
def backward2(proto, steps, delta, du, dy, gB, Aq, B, C, row, A, A_state, h, carry, dA, state, work, add):
    """`backward1` for two `tame` states, `A_state` bytes apart in A, `state` in h, carry and dA.

    work: [step][2] vectors.
    """
    size = size_of(proto)
    vector = LANES * size
    two = 2 * vector
    states, dBs, dCs = work + CHUNK * two, work + (2 * CHUNK + 1) * two, work + (3 * CHUNK + 1) * two
    write_decays(proto, steps, delta, A, A_state, 2, work)
    a0, a1, h0, h1 = load(proto, A), load(proto, A + A_state), load(proto, h), load(proto, h + state)
    store(states, h0)
    store(states + vector, h1)
    for t in range(steps):
        u, b, decay, new = load(proto, du + t * vector), B + t * row, work + t * two, states + (t + 1) * two
        h0 = fma(load(proto, decay), h0, u * splat(proto, b))
        h1 = fma(load(proto, decay + vector), h1, u * splat(proto, b + size))
        store(new, h0)
        store(new + vector, h1)
    g0, g1, d0, d1 = load(proto, carry), load(proto, carry + state), load(proto, dA), load(proto, dA + state)
    for t in range(steps - 1, -1, -1):
        step, u, out = load(proto, delta + t * vector), load(proto, du + t * vector), load(proto, dy + t * vector)
        s, q = load(proto, gB + t * vector), load(proto, Aq + t * vector)
        b, c, at = B + t * row, C + t * row, t * two
        w, p, m, n = work + at, states + at, dBs + at, dCs + at
        g0, d0, s, q, h0 = adjoint_step(proto, step, u, out, a0, b, c, w, p, h0, g0, d0, s, q, m, n, add)
        b, c, w, p, m, n = b + size, c + size, w + vector, p + vector, m + vector, n + vector
        g1, d1, s, q, h1 = adjoint_step(proto, step, u, out, a1, b, c, w, p, h1, g1, d1, s, q, m, n, add)
        store(gB + t * vector, s)
        store(Aq + t * vector, q)
    store(carry, g0)
    store(carry + state, g1)
    store(dA, d0)
    store(dA + state, d1)


@njit(nogil=True)
def fold(proto, target, row, source, steps, states):
    """Sum the lanes of [step][state] vectors at `source` into rows of scalars, `row` bytes apart."""
    size = size_of(proto)
    for t in range(steps):
        for i in range(states):
            store_scalar(target + t * row + i * size, total(load(proto, source + (t * states + i) * LANES * size)))


@njit(nogil=True)
def adjoint_chunk(proto, steps, N, width, delta, du, dy, gB, Aq, B, C, A, A_state, h, carry, dA, state, work, dBs, dCs):
    """States and adjoint of one chunk of one block; gB, Aq, dBs and dCs are written, carry and dA updated."""
    size = size_of(proto)
    vector = LANES * size
    most = work + 2 * (4 * CHUNK + 1) * vector
    for v in range(width):
        longest = fill(proto)
        for t in range(steps):
            at = (v * PITCH + t) * vector
            store(gB + at, fill(proto))
            store(Aq + at, fill(proto))
            longest = largest(load(proto, delta + at), longest)
        store(most + v * vector, longest)
    n = 0
    while n < N:
        states = 2 if n + 2 <= N else 1
        for v in range(width):
            if states == 2 and not tame(proto, most + v * vector, A + n * A_state + v * vector, A_state, 2):
                states = 1
        for v in range(width):
            at, lane = v * PITCH * vector, n * state + v * vector
            b, c, a = B + n * size, C + n * size, A + n * A_state + v * vector
            if states == 2:
                backward2(
                    proto, steps, delta + at, du + at, dy + at, gB + at, Aq + at, b, c, N * size,
                    a, A_state, h + lane, carry + lane, dA + lane, state, work, v > 0,
                )  # fmt: skip
            else:
                backward1(
                    proto, steps, delta + at, du + at, dy + at, gB + at, Aq + at, b, c, N * size,
                    a, h + lane, carry + lane, dA + lane, work, v > 0,
                )  # fmt: skip
        fold(proto, dBs + n * size, N * size, work + states * (2 * CHUNK + 1) * vector, steps, states)
        fold(proto, dCs + n * size, N * size, work + states * (3 * CHUNK + 1) * vector, steps, states)
        n += states


@njit(nogil=True)
def finish_chunk(proto, steps, width, u, delta, raw, dy, gB, Aq, D, dD, dbias, positive):
    """Turn gB into dx and Aq into the gradient before the softplus; add to dD and dbias."""
    vector = LANES * size_of(proto)
    ln2 = fill(proto + type(proto)(LN2))
    for v in range(width):
        skip = load(proto, D + v * vector)
        d_skip, d_bias = load(proto, dD + v * vector), load(proto, dbias + v * vector)
        for t in range(steps):
            at = (v * PITCH + t) * vector
            s, value, out = load(proto, gB + at), load(proto, u + at), load(proto, dy + at)
            slope = fma(s, value, load(proto, Aq + at) * ln2)
            if positive:
                slope = slope * sigmoid(load(proto, raw + at))
            store(gB + at, fma(load(proto, delta + at), s, skip * out))
            store(Aq + at, slope)
            d_bias = d_bias + slope
            d_skip = fma(out, value, d_skip)
        store(dD + v * vector, d_skip)
        store(dbias + v * vector, d_bias)


@njit(nogil=True)
def activate(proto, steps, width, u, raw, delta, du, positive):
    """delta = softplus(raw) (or raw), du = delta u."""
    vector = LANES * size_of(proto)
    for v in range(width):
        for t in range(steps):
            at = (v * PITCH + t) * vector
            step = load(proto, raw + at)
            if positive:
                step = softplus(step)
            store(delta + at, step)
            store(du + at, step * load(proto, u + at))


def backward(proto, inputs, rows, dy, carries, grads, positive, groups, first, last):
    """Tasks first .. last - 1, as in the forward.

    rows: the dt weight again as (K, p, R rounded up to whole vectors). dy (b, L, K, d).
    """
    inputs, grads = Inputs(*inputs), Gradients(*grads)
    size = size_of(proto)
    vector = LANES * size
    x, A, D, bias, weight, index = inputs.x, inputs.A, inputs.D, inputs.bias, inputs.weight, inputs.index
    K, N, channels, rank = A.shape[0], A.shape[1], x.shape[3], weight.shape[1]
    tile, state = PITCH * VECTORS * vector, VECTORS * vector
    rank_vectors = (rank + LANES - 1) // LANES
    low_bytes = rank_vectors * vector
    work_bytes = (2 * (4 * CHUNK + 1) + VECTORS) * vector
    memory = np.zeros(
        7 * tile + 3 * N * state + work_bytes + 2 * (CHUNK + 8) * low_bytes + 4 * N * CHUNK * size + 64, np.uint8
    )
    u = (memory.ctypes.data + 63) // 64 * 64
    raw, delta, du, dys, gB, Aq = u + tile, u + 2 * tile, u + 3 * tile, u + 4 * tile, u + 5 * tile, u + 6 * tile
    h = u + 7 * tile
    carry, dA, work = h + N * state, h + 2 * N * state, h + 3 * N * state
    low = work + work_bytes
    dlow = low + (CHUNK + 8) * low_bytes
    Bs = dlow + (CHUNK + 8) * low_bytes
    Cs, dBs, dCs = Bs + N * CHUNK * size, Bs + 2 * N * CHUNK * size, Bs + 3 * N * CHUNK * size
    tokens, coming = np.empty(CHUNK, np.int64), np.empty(CHUNK, np.int64)
    vectors = (channels + LANES - 1) // LANES
    for task in range(first, last):
        b, group = task // groups, task % groups
        begin, end = vectors * group // groups, vectors * (group + 1) // groups
        part = group * x.shape[0] + b
        for block in range(begin, end, VECTORS):
            width, channel = min(VECTORS, end - block), block * LANES
            count = min(width * LANES, channels - channel)
            if count < width * LANES:
                memory[:] = 0  # the last vector's idle lanes
            shift, span = channel * size, width * vector
            for k in range(K):
                for i in range(N * VECTORS):
                    store(carry + i * vector, fill(proto))
                    store(dA + i * vector, fill(proto))
                length = inputs.lengths[k]
                chunks = (length + CHUNK - 1) // CHUNK
                x_at, dx_at, dy_at = address(x, b, k) + shift, address(grads.x, b, k) + shift, address(dy, b, k) + shift
                dD, dbias = row_of(grads.D, b, k) + shift, row_of(grads.bias, b, k) + shift
                steps = read_tokens(index, k, (chunks - 1) * CHUNK, length, tokens)
                for chunk in range(chunks - 1, -1, -1):
                    following = read_tokens(index, k, (chunk - 1) * CHUNK, length, coming) if chunk else 0
                    prefetch_rows(x_at, x.strides[1], coming, following, span)
                    prefetch_rows(dy_at, dy.strides[1], coming, following, span)
                    prefetch_rows(dx_at, grads.x.strides[1], coming, following, span)
                    at = row_of(carries, b, k) + chunk * carries.strides[2] + shift
                    copy_states(proto, h, state, at, carries.strides[3], N, width)
                    gather_chunk(proto, inputs, b, k, shift, count, tokens, steps, u, raw, low, low_bytes, Bs, Cs)
                    gather_rows(proto, dys, vector, PITCH * vector, dy_at, dy.strides[1], tokens, steps, count)
                    expand(
                        proto, steps, width, low, low_bytes, rank, address(weight, k, 0) + shift, weight.strides[1],
                        address(bias, k, 0) + shift, raw, False,
                    )  # fmt: skip
                    activate(proto, steps, width, u, raw, delta, du, positive)
                    adjoint_chunk(
                        proto, steps, N, width, delta, du, dys, gB, Aq, Bs, Cs, address(A, k, 0) + shift, A.strides[1],
                        h, carry, dA, state, work, dBs, dCs,
                    )  # fmt: skip
                    finish_chunk(
                        proto, steps, width, u, delta, raw, dys, gB, Aq, address(D, k, 0) + shift, dD, dbias, positive
                    )
                    scatter_rows(
                        proto, dx_at, grads.x.strides[1], tokens, gB, vector, PITCH * vector, steps, count, True
                    )
                    at = address(grads.B, part, k)
                    scatter_rows(proto, at, grads.B.strides[1], tokens, dBs, N * size, vector, steps, N, True)
                    at = address(grads.C, part, k)
                    scatter_rows(proto, at, grads.C.strides[1], tokens, dCs, N * size, vector, steps, N, True)
                    if rank:
                        for v in range(width):
                            at = row_of(rows, k, channel + v * LANES)
                            matmul(
                                proto, dlow, low_bytes, vector, Aq + v * PITCH * vector, vector, size,
                                at, rows.strides[1], vector, steps, LANES, rank_vectors, v > 0,
                            )  # fmt: skip
                        at = address(grads.dt, part, k)
                        scatter_rows(proto, at, grads.dt.strides[1], tokens, dlow, low_bytes, vector, steps, rank, True)
                        matmul(
                            proto, row_of(grads.weight, b, k) + shift, grads.weight.strides[2], vector, low, size,
                            low_bytes, Aq, vector, PITCH * vector, rank, steps, width, True,
                        )  # fmt: skip
                    else:
                        at = address(grads.dt, b, k) + shift
                        scatter_rows(
                            proto, at, grads.dt.strides[1], tokens, Aq, vector, PITCH * vector, steps, count, True
                        )
                    steps = following
                    tokens, coming = coming, tokens
                copy_states(proto, row_of(grads.A, b, k) + shift, grads.A.strides[2], dA, state, N, width)
