"""numba forward kernel of the selective scan.

One task is a batch element and a range of channels. Channels go in blocks of at most 64 (`VECTORS` vectors), and for
each block the directions one after the other, in chunks of `CHUNK` steps:

    gather   rows of x, dt, B, C through the index table into scratch that stays in the L1 cache; padding is zeros
    expand   delta = softplus(dt_low @ weight + bias), a small matrix product for this chunk and block only
    scan     each vector of channels, four states at a time: first the decays of all steps, then the recurrence
    scatter  y is added to its rows in token order

Decays first, since the polynomial's coefficients and four states at once are more than AVX2's 16 registers. Scratch is
vector-major, [vector][step][lanes]. Addresses are bytes.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from ..simd import (
    LANES,
    exp2,
    exp2_product,
    fill,
    fma,
    largest,
    load,
    load_scalar,
    prefetch,
    size_of,
    softplus,
    splat,
    store,
    store_scalar,
    within,
)

CHUNK = 64
VECTORS = 64 // LANES  # vectors of channels in a block
PITCH = CHUNK + 9  # steps from vector to vector: room for the matrix product's last eight, and no power of two
TAME = 125.0  # exponents of 2 up to which a decay needs no limits


@njit(nogil=True)
def read_tokens(index, k, start, length, tokens):
    """Fill `tokens` with a chunk of direction k, `length` steps long; returns how many."""
    steps = max(0, min(CHUNK, length - start))
    for t in range(steps):
        tokens[t] = index[k, start + t]
    return steps


@njit(nogil=True)
def gather_rows(proto, target, step, pitch, source, stride, tokens, steps, count):
    """Copy `count` elements of the row of each token, `stride` apart; its vectors go `pitch` apart, zeros at padding.

    Lanes beyond `count` are left as they are.
    """
    size = size_of(proto)
    full = count // LANES
    for t in range(steps):
        at, row = target + t * step, source + tokens[t] * stride
        for v in range(full):
            if tokens[t] >= 0:
                store(at + v * pitch, load(proto, row + v * LANES * size))
            else:
                store(at + v * pitch, fill(proto))
    if count % LANES:
        for t in range(steps):
            for i in range(count % LANES):
                at = target + t * step + full * pitch + i * size
                if tokens[t] >= 0:
                    store_scalar(at, load_scalar(proto, source + tokens[t] * stride + (full * LANES + i) * size))
                else:
                    store_scalar(at, proto)


@njit(nogil=True)
def scatter_rows(proto, target, stride, tokens, source, step, pitch, steps, count, add):
    """Write what `gather_rows` laid out back to `count` elements of each token's row, or add it."""
    size = size_of(proto)
    full = count // LANES
    for t in range(steps):
        if tokens[t] >= 0:
            row, at = target + tokens[t] * stride, source + t * step
            for v in range(full):
                to = row + v * LANES * size
                value = load(proto, at + v * pitch)
                store(to, value + load(proto, to) if add else value)
            for i in range(count % LANES):
                to = row + (full * LANES + i) * size
                value = load_scalar(proto, at + full * pitch + i * size)
                store_scalar(to, value + load_scalar(proto, to) if add else value)


@njit(nogil=True)
def prefetch_rows(source, stride, tokens, steps, count):
    """Fetch `count` bytes of each token's row into the L2 cache."""
    for t in range(steps):
        if tokens[t] >= 0:
            for i in range(0, count, 64):
                prefetch(source + tokens[t] * stride + i)


@njit(nogil=True)
def copy_states(proto, target, target_row, source, source_row, rows, vectors):
    """Copy `rows` rows of vectors."""
    for n in range(rows):
        for v in range(vectors):
            at = v * LANES * size_of(proto)
            store(target + n * target_row + at, load(proto, source + n * source_row + at))


@njit(nogil=True)
def multiply_two(proto, out, out_row, out_vector, a, a_row, a_col, b, b_row, b_vector, inner, keep):
    """Four rows and two vectors of `matmul`."""
    s0 = s1 = s2 = s3 = t0 = t1 = t2 = t3 = fill(proto)
    for i in range(inner):
        x, y, w = load(proto, b + i * b_row), load(proto, b + i * b_row + b_vector), a + i * a_col
        w0, w1 = splat(proto, w), splat(proto, w + a_row)
        s0, t0, s1, t1 = fma(w0, x, s0), fma(w0, y, t0), fma(w1, x, s1), fma(w1, y, t1)
        w2, w3 = splat(proto, w + 2 * a_row), splat(proto, w + 3 * a_row)
        s2, t2, s3, t3 = fma(w2, x, s2), fma(w2, y, t2), fma(w3, x, s3), fma(w3, y, t3)
    for x, y in ((s0, t0), (s1, t1), (s2, t2), (s3, t3)):
        if keep:
            store(out, x + load(proto, out))
            store(out + out_vector, y + load(proto, out + out_vector))
        else:
            store(out, x)
            store(out + out_vector, y)
        out += out_row


@njit(nogil=True)
def multiply_one(proto, out, out_row, a, a_row, a_col, b, b_row, inner, keep):
    """Eight rows and one vector of `matmul`."""
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = fill(proto)
    for i in range(inner):
        x, w = load(proto, b + i * b_row), a + i * a_col
        s0, s1 = fma(splat(proto, w), x, s0), fma(splat(proto, w + a_row), x, s1)
        s2, s3 = fma(splat(proto, w + 2 * a_row), x, s2), fma(splat(proto, w + 3 * a_row), x, s3)
        s4, s5 = fma(splat(proto, w + 4 * a_row), x, s4), fma(splat(proto, w + 5 * a_row), x, s5)
        s6, s7 = fma(splat(proto, w + 6 * a_row), x, s6), fma(splat(proto, w + 7 * a_row), x, s7)
    for row in (s0, s1, s2, s3, s4, s5, s6, s7):
        if keep:
            store(out, row + load(proto, out))
        else:
            store(out, row)
        out += out_row


@njit(nogil=True)
def matmul(proto, out, out_row, out_vector, a, a_row, a_col, b, b_row, b_vector, rows, inner, vectors, keep):
    """out[m, v] = sum_i a[m, i] b[i, v] (+ out[m, v] if keep): vectors of b and out, scalars of a; rows in eights.

    The suffixes name the bytes from one row, column or vector to the next.
    """
    for m in range(0, rows, 8):
        for v in range(0, vectors - 1, 2):
            for row in (m, m + 4):
                multiply_two(
                    proto, out + row * out_row + v * out_vector, out_row, out_vector, a + row * a_row, a_row, a_col,
                    b + v * b_vector, b_row, b_vector, inner, keep,
                )  # fmt: skip
        if vectors % 2:
            v = vectors - 1
            multiply_one(
                proto, out + m * out_row + v * out_vector, out_row, a + m * a_row, a_row, a_col,
                b + v * b_vector, b_row, inner, keep,
            )  # fmt: skip


@njit(nogil=True)
def scan1(proto, steps, delta, du, y, B, C, row, A, h):
    """Advance one state of one vector of channels by `steps`, adding C h to y; `row` is the bytes between B's rows."""
    vector = LANES * size_of(proto)
    a0, h0 = load(proto, A), load(proto, h)
    for t in range(steps):
        step, u, at = load(proto, delta + t * vector), load(proto, du + t * vector), t * row
        h0 = fma(exp2(step * a0), h0, u * splat(proto, B + at))
        store(y + t * vector, fma(splat(proto, C + at), h0, load(proto, y + t * vector)))
    store(h, h0)


@njit(nogil=True)
def tame(proto, most, A, A_state, states):
    """Whether `most`, the largest |delta| of a chunk, keeps the exponents of some states below `TAME`."""
    a = fill(proto)
    for n in range(states):
        a = largest(load(proto, A + n * A_state), a)
    return within(load(proto, most) * a, proto + type(proto)(TAME))


@njit(nogil=True)
def write_decays(proto, steps, delta, A, A_state, states, work):
    """work[step, n] = 2^(delta A) of `tame` states."""
    vector = LANES * size_of(proto)
    for n in range(states):
        a = load(proto, A + n * A_state)
        for t in range(steps):
            store(work + (states * t + n) * vector, exp2_product(load(proto, delta + t * vector), a))


@njit(nogil=True)
def scan4(proto, steps, delta, du, y, B, C, row, A, A_state, h, state, work):
    """`scan1` for four tame states, `A_state` bytes apart in A, `state` in h; work: [step][4] vectors."""
    size = size_of(proto)
    vector = LANES * size
    write_decays(proto, steps, delta, A, A_state, 4, work)
    h0, h1 = load(proto, h), load(proto, h + state)
    h2, h3 = load(proto, h + 2 * state), load(proto, h + 3 * state)
    for t in range(steps):
        u, w = load(proto, du + t * vector), work + 4 * t * vector
        b, c = B + t * row, C + t * row
        h0 = fma(load(proto, w), h0, u * splat(proto, b))
        h1 = fma(load(proto, w + vector), h1, u * splat(proto, b + size))
        h2 = fma(load(proto, w + 2 * vector), h2, u * splat(proto, b + 2 * size))
        h3 = fma(load(proto, w + 3 * vector), h3, u * splat(proto, b + 3 * size))
        even = fma(splat(proto, c + 2 * size), h2, splat(proto, c) * h0)
        odd = fma(splat(proto, c + 3 * size), h3, splat(proto, c + size) * h1)
        store(y + t * vector, load(proto, y + t * vector) + (even + odd))
    store(h, h0)
    store(h + state, h1)
    store(h + 2 * state, h2)
    store(h + 3 * state, h3)


@njit(nogil=True)
def expand(proto, steps, width, low, low_bytes, rank, weight, weight_row, bias, delta, positive):
    """delta = softplus(low @ weight + bias); rank 0: delta holds the product already."""
    size = size_of(proto)
    vector = LANES * size
    if rank:
        matmul(
            proto,
            delta,
            vector,
            PITCH * vector,
            low,
            low_bytes,
            size,
            weight,
            weight_row,
            vector,
            steps,
            rank,
            width,
            False,
        )
    for v in range(width):
        shift = load(proto, bias + v * vector)
        for t in range(steps):
            at = delta + (v * PITCH + t) * vector
            step = load(proto, at) + shift
            if positive:
                step = softplus(step)
            store(at, step)


@njit(nogil=True)
def scan_chunk(proto, steps, N, width, u, delta, du, y, B, C, D, A, A_state, h, h_state, work):
    """Scan one chunk of one block from the states h, which are advanced; y is written."""
    size = size_of(proto)
    vector = LANES * size
    most = work + 4 * CHUNK * vector
    for v in range(width):
        at = v * PITCH * vector
        skip, longest = load(proto, D + v * vector), fill(proto)
        for t in range(steps):
            value, step = load(proto, u + at + t * vector), load(proto, delta + at + t * vector)
            store(du + at + t * vector, step * value)
            store(y + at + t * vector, skip * value)
            longest = largest(step, longest)
        store(most, longest)
        n = 0
        while n < N:
            b, c, a, state = B + n * size, C + n * size, A + n * A_state + v * vector, h + n * h_state + v * vector
            if n + 4 <= N and tame(proto, most, a, A_state, 4):
                scan4(
                    proto, steps, delta + at, du + at, y + at, b, c, N * size, a, A_state, state, h_state, work
                )  # fmt: skip
                n += 4
            else:
                scan1(proto, steps, delta + at, du + at, y + at, b, c, N * size, a, state)
                n += 1


class Inputs(NamedTuple):
    """The kernels' inputs. p is d rounded up to whole vectors; a tensor shared by directions has stride 0 in K."""

    x: np.ndarray  # (b, L, K, d)
    dt: np.ndarray  # (b, L, K, R), or (b, L, K, d) where weight is (K, 0, p)
    A: np.ndarray  # (K, N, p), times log2(e)
    B: np.ndarray  # (b, L, K, N)
    C: np.ndarray  # (b, L, K, N)
    D: np.ndarray  # (K, p)
    bias: np.ndarray  # (K, p)
    weight: np.ndarray  # (K, R, p)
    index: np.ndarray  # (K, S)
    lengths: np.ndarray  # (K,)


@njit(nogil=True)
def address(array, i, k):
    """Address of element (i, ..., k, ...) of an array (b, L, K, ...), or (i, k) of one (b, K, ...)."""
    return array.ctypes.data + i * array.strides[0] + k * array.strides[array.ndim - 2]


@njit(nogil=True)
def gather_chunk(proto, inputs, b, k, shift, count, tokens, steps, u, delta, low, low_bytes, Bs, Cs):
    """Read one chunk's x, dt, B and C into scratch; `shift` is the block's offset into a row of channels."""
    size = size_of(proto)
    vector = LANES * size
    x, dt, B, C, rank = inputs.x, inputs.dt, inputs.B, inputs.C, inputs.weight.shape[1]
    N = B.shape[3]
    gather_rows(proto, u, vector, PITCH * vector, address(x, b, k) + shift, x.strides[1], tokens, steps, count)
    if rank:
        gather_rows(proto, low, low_bytes, vector, address(dt, b, k), dt.strides[1], tokens, steps, rank)
    else:
        gather_rows(
            proto, delta, vector, PITCH * vector, address(dt, b, k) + shift, dt.strides[1], tokens, steps, count
        )
    gather_rows(proto, Bs, N * size, vector, address(B, b, k), B.strides[1], tokens, steps, N)
    gather_rows(proto, Cs, N * size, vector, address(C, b, k), C.strides[1], tokens, steps, N)


def forward(proto, inputs, y, carries, positive, save, add, groups, first, last):
    """Tasks first .. last - 1, task = batch element * groups + group of channels.

    y (b, L, K, d), stride 0 in K where directions merge. carries (b, K, chunks, N, p), written if save.
    add: to y, which is zeroed, instead of writing it.
    positive: apply the softplus.
    """
    inputs = Inputs(*inputs)
    size = size_of(proto)
    vector = LANES * size
    x, A, D, bias, weight, index = inputs.x, inputs.A, inputs.D, inputs.bias, inputs.weight, inputs.index
    K, N, channels, rank = A.shape[0], A.shape[1], x.shape[3], weight.shape[1]
    tile, state = PITCH * VECTORS * vector, VECTORS * vector
    low_bytes = (rank + LANES - 1) // LANES * vector
    memory = np.zeros(
        4 * tile + N * (state + 2 * CHUNK * size) + (CHUNK + 8) * low_bytes + (4 * CHUNK + 1) * vector + 64, np.uint8
    )
    u = (memory.ctypes.data + 63) // 64 * 64
    delta, du, out, h = u + tile, u + 2 * tile, u + 3 * tile, u + 4 * tile
    work = h + N * state
    low = work + (4 * CHUNK + 1) * vector
    Bs = low + (CHUNK + 8) * low_bytes
    Cs = Bs + N * CHUNK * size
    tokens, coming = np.empty(CHUNK, np.int64), np.empty(CHUNK, np.int64)
    vectors = (channels + LANES - 1) // LANES
    for task in range(first, last):
        b, group = task // groups, task % groups
        begin, end = vectors * group // groups, vectors * (group + 1) // groups
        for block in range(begin, end, VECTORS):
            width, channel = min(VECTORS, end - block), block * LANES
            count = min(width * LANES, channels - channel)
            if count < width * LANES:
                memory[:] = 0  # the last vector's idle lanes
            shift = channel * size
            for k in range(K):
                for i in range(N * VECTORS):
                    store(h + i * vector, fill(proto))
                length = inputs.lengths[k]
                y_at = address(y, b, k) + shift
                steps = read_tokens(index, k, 0, length, tokens)
                for start in range(0, length, CHUNK):
                    following = read_tokens(index, k, start + CHUNK, length, coming)
                    prefetch_rows(address(x, b, k) + shift, x.strides[1], coming, following, width * vector)
                    prefetch_rows(y_at, y.strides[1], coming, following, width * vector)
                    if not rank:
                        dt_at = address(inputs.dt, b, k) + shift
                        prefetch_rows(dt_at, inputs.dt.strides[1], coming, following, width * vector)
                    if save:
                        at = carries.ctypes.data + b * carries.strides[0] + k * carries.strides[1] + shift
                        at += start // CHUNK * carries.strides[2]
                        copy_states(proto, at, carries.strides[3], h, state, N, width)
                    gather_chunk(proto, inputs, b, k, shift, count, tokens, steps, u, delta, low, low_bytes, Bs, Cs)
                    expand(
                        proto, steps, width, low, low_bytes, rank, address(weight, k, 0) + shift, weight.strides[1],
                        address(bias, k, 0) + shift, delta, positive,
                    )  # fmt: skip
                    scan_chunk(
                        proto, steps, N, width, u, delta, du, out, Bs, Cs, address(D, k, 0) + shift,
                        address(A, k, 0) + shift, A.strides[1], h, state, work,
                    )  # fmt: skip
                    scatter_rows(proto, y_at, y.strides[1], tokens, out, vector, PITCH * vector, steps, count, add)
                    steps = following
                    tokens, coming = coming, tokens
