"""The Triton kernel of the selective scan's gradients at more than one state.

A chunk's states do not fit the registers, and a memory of all of them would be most of the kernel's traffic. So the
states before every fourth step are left in a scratch, and each four steps are walked again, in registers, before they
are walked backwards. What has no states is computed for all of them at once: [BS * 4, BD], rows in the order of
(chunk, step).
"""

from typing import NamedTuple

import triton
import triton.language as tl

from ..triton_groups import Rows, own_names
from .triton_backward import Gradients, Part, add_to
from .triton_common import (
    LN2,
    LOG2E,
    Form,
    Given,
    Sizes,
    Table,
    chunk_state_offsets,
    kernel,
    load_rows,
    load_vector,
    token_rows,
)
from .triton_straight import binary_step, rounded
from .triton_straight_backward import logistic

GROUP = tl.constexpr(4)  # steps whose states are in registers
BLOCK = tl.constexpr(8)  # steps whose low ranks are multiplied at once; a chunk has a multiple of it


@own_names
class Digits(NamedTuple):
    """Terms of the logarithm's polynomial and types of matrices as in `triton_straight.Width`; those of gradients."""

    DEGREE: tl.constexpr
    DOT: tl.constexpr
    CALLED: tl.constexpr
    SPLIT: tl.constexpr
    GRAD_DOT: tl.constexpr
    GRAD_CALLED: tl.constexpr
    GRAD_PRECISION: tl.constexpr


@triton.jit
def four_steps(tile, BS: tl.constexpr, WIDE: tl.constexpr):
    """[BS * 4, WIDE] of four steps as one [BS, WIDE] for each."""
    by_step = tl.permute(tl.reshape(tile, [BS, GROUP, WIDE]), (0, 2, 1))
    even, odd = tl.split(tl.reshape(by_step, [BS, WIDE, 2, 2]))
    first, third = tl.split(even)
    second, fourth = tl.split(odd)
    return first, second, third, fourth


@triton.jit
def one_tile(first, second, third, fourth, BS: tl.constexpr, WIDE: tl.constexpr):
    """[BS * 4, WIDE] of [BS, WIDE] for each of four steps."""
    by_step = tl.reshape(tl.join(tl.join(first, third), tl.join(second, fourth)), [BS, WIDE, GROUP])
    return tl.reshape(tl.permute(by_step, (0, 2, 1)), [BS * GROUP, WIDE])


@triton.jit
def by_state(tile):
    """[BS, NP] beside the states: [NP, BS, 1]."""
    return tl.trans(tile)[:, :, None]


@triton.jit
def step_on(h, s, driven, b, decay):
    """The state after a step."""
    return tl.exp2(s[None] * decay) * h + driven[None] * b


@triton.jit
def step_back(before, after, s, driven, arriving, b, c, grad, dA, decay):
    """`grad` and `dA` before the step; sums over channels for B and C, over states for the input and the decay."""
    a = tl.exp2(s[None] * decay)
    g = c * arriving[None] + grad
    kept = a * before * g
    to_B = tl.sum(g * driven[None], 2)
    to_C = tl.sum(after * arriving[None], 2)
    return a * g, dA + kept * s[None], tl.trans(to_B), tl.trans(to_C), tl.sum(g * b, 0), tl.sum(kept * decay, 0)


@kernel
def state_gradients(
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
    scratch_ptr,  # float32, for each program (T / 4, NP, BS, BD) states and (BS, T, BD) raw steps, then their gradients
    to: Gradients,
    partial,  # tokens of one share of dt, B and C: b * L, or 0 where there is one
    L,
    this: Part,
    sizes: Sizes,
    form: Form,
    digits: Digits,
    BS: tl.constexpr,
    BD: tl.constexpr,
    HAS_D: tl.constexpr,
    ACCUMULATE: tl.constexpr,
    ATOMIC: tl.constexpr,
):
    """As `triton_backward.gradients`."""
    d, R, K = sizes.d, sizes.R, sizes.K
    T, num_steps, num_chunks = sizes.T, sizes.num_steps, sizes.num_chunks
    N: tl.constexpr = form.N
    NP: tl.constexpr = form.NP
    BR: tl.constexpr = form.BR
    SOFTPLUS: tl.constexpr = form.SOFTPLUS
    DEGREE: tl.constexpr = digits.DEGREE
    DOT: tl.constexpr = digits.DOT
    CALLED: tl.constexpr = digits.CALLED
    SPLIT: tl.constexpr = digits.SPLIT
    GRAD_DOT: tl.constexpr = digits.GRAD_DOT
    GRAD_CALLED: tl.constexpr = digits.GRAD_CALLED
    GRAD_PRECISION: tl.constexpr = digits.GRAD_PRECISION
    blocks_d, parts = this.blocks_d, this.parts
    pid = this.start + tl.program_id(0)
    share = (pid % blocks_d).to(tl.int64)
    part = pid // blocks_d % parts
    batch = (pid // (blocks_d * parts) // this.directions).to(tl.int64)
    k = (this.first + pid // (blocks_d * parts) % this.directions).to(tl.int64)
    c = (this.first_d + pid % blocks_d) * BD + tl.arange(0, BD)
    inside = c < d
    s = tl.arange(0, BS)
    n = tl.arange(0, NP)
    r = tl.arange(0, BR if BR > 0 else 16)
    four = tl.arange(0, BS * GROUP)
    eight = tl.arange(0, BS * BLOCK)

    x.ptr += batch * x.b + k * x.k
    dx.ptr += batch * dx.b + k * dx.k
    dt.ptr += batch * dt.b + k * dt.k
    B.ptr += batch * B.b + k * B.k
    C.ptr += batch * C.b + k * C.k
    dy.ptr += batch * dy.b + k * dy.k
    index.ptr += k * index.k
    states_ptr += (batch * K + k) * num_chunks * N * d
    grads_ptr += (batch * K + k) * num_chunks * N * d
    by_token = (share * partial + batch * L) * K + k
    by_part = (batch * parts + part) * K + k

    held = T // GROUP * (NP * BS * BD)
    scratch_ptr += tl.program_id(0).to(tl.int64) * (held + T * BS * BD)
    raw_ptr = scratch_ptr + held + tl.arange(0, BD)[None, :]
    held_ptr = scratch_ptr + (n[:, None, None] * BS + s[None, :, None]) * BD + tl.arange(0, BD)[None, None, :]

    mask = (n < N)[:, None] & inside[None, :]
    decay = tl.load(given.A + k * d * N + c[None, :] * N + n[:, None], mask=mask, other=0.0)[:, None, :]
    bias = load_vector(given.bias + k * d, c, d, form.HAS_BIAS) * LOG2E
    skip = load_vector(given.D + k * d, c, d, HAS_D)
    mask = (r < R)[:, None] & inside[None, :]
    dA = tl.zeros([NP, BS, BD], tl.float32)
    dD = tl.zeros([BS * GROUP, BD], tl.float32)
    dbias = tl.zeros([BS * GROUP, BD], tl.float32)

    for block in range(part * this.blocks, (part + 1) * this.blocks):
        begin = (block * BS + four // GROUP) * T + four % GROUP
        raw_four = raw_ptr + (four // GROUP * T + four % GROUP)[:, None] * BD
        begin_eight = (block * BS + eight // BLOCK) * T + eight % BLOCK
        raw_eight = raw_ptr + (eight // BLOCK * T + eight % BLOCK)[:, None] * BD
        if BR > 0:
            weight = tl.load(given.weight + k * d * R + c[None, :] * R + r[:, None], mask=mask, other=0.0) * LOG2E
            high = rounded(weight, DOT, CALLED)
            rest = rounded(weight - high.to(tl.float32), DOT, CALLED) if SPLIT else 0.0
            tl.debug_barrier()  # the scratch is read by now
            for t in range(0, T, BLOCK):
                rows = token_rows(index.ptr, begin_eight + t, num_steps)
                low = rounded(load_rows(dt.ptr, rows, dt.l, r, r < R), DOT, CALLED)
                z = tl.dot(low, high, tl.broadcast_to(bias[None, :], [BS * BLOCK, BD]), input_precision='ieee')
                if SPLIT:
                    z = tl.dot(low, rest, z, input_precision='ieee')
                tl.store(raw_eight + t * BD, z)
            tl.debug_barrier()

        state_at, state_in = chunk_state_offsets(block * BS + s, c, num_chunks, d, N, NP)
        h = tl.load(states_ptr + state_at, mask=state_in, other=0.0)
        for t in range(0, T, GROUP):
            tl.store(held_ptr + t // GROUP * (NP * BS * BD), h)
            rows = token_rows(index.ptr, begin + t, num_steps)
            if BR > 0:
                z = tl.load(raw_four + t * BD)
            else:
                z = load_rows(dt.ptr, rows, dt.l, c, inside) * LOG2E + bias[None, :]
            step = binary_step(z, SOFTPLUS, DEGREE)
            driven = step * LN2 * load_rows(x.ptr, rows, x.l, c, inside)
            s0, s1, s2, s3 = four_steps(step, BS, BD)
            d0, d1, d2, d3 = four_steps(driven, BS, BD)
            b0, b1, b2, b3 = four_steps(load_rows(B.ptr, rows, B.l, n, n < N), BS, NP)
            h = step_on(h, s0, d0, by_state(b0), decay)
            h = step_on(h, s1, d1, by_state(b1), decay)
            h = step_on(h, s2, d2, by_state(b2), decay)
            h = step_on(h, s3, d3, by_state(b3), decay)
        tl.debug_barrier()

        grad = tl.load(grads_ptr + state_at, mask=state_in, other=0.0)  # a_{t+1} g_{t+1}
        for i in range(0, T, GROUP):
            t = T - GROUP - i
            rows = token_rows(index.ptr, begin + t, num_steps)
            u = load_rows(x.ptr, rows, x.l, c, inside)
            arriving = load_rows(dy.ptr, rows, dy.l, c, inside)
            if BR > 0:
                z = tl.load(raw_four + t * BD)
            else:
                z = load_rows(dt.ptr, rows, dt.l, c, inside) * LOG2E + bias[None, :]
            step = binary_step(z, SOFTPLUS, DEGREE)
            delta = step * LN2
            s0, s1, s2, s3 = four_steps(step, BS, BD)
            d0, d1, d2, d3 = four_steps(delta * u, BS, BD)
            y0, y1, y2, y3 = four_steps(arriving, BS, BD)
            b0, b1, b2, b3 = four_steps(load_rows(B.ptr, rows, B.l, n, n < N), BS, NP)
            c0, c1, c2, c3 = four_steps(load_rows(C.ptr, rows, C.l, n, n < N), BS, NP)
            h0 = tl.load(held_ptr + t // GROUP * (NP * BS * BD))
            h1 = step_on(h0, s0, d0, by_state(b0), decay)
            h2 = step_on(h1, s1, d1, by_state(b1), decay)
            h3 = step_on(h2, s2, d2, by_state(b2), decay)
            h4 = step_on(h3, s3, d3, by_state(b3), decay)
            grad, dA, to_B3, to_C3, u3, a3 = step_back(h3, h4, s3, d3, y3, by_state(b3), by_state(c3), grad, dA, decay)
            grad, dA, to_B2, to_C2, u2, a2 = step_back(h2, h3, s2, d2, y2, by_state(b2), by_state(c2), grad, dA, decay)
            grad, dA, to_B1, to_C1, u1, a1 = step_back(h1, h2, s1, d1, y1, by_state(b1), by_state(c1), grad, dA, decay)
            grad, dA, to_B0, to_C0, u0, a0 = step_back(h0, h1, s0, d0, y0, by_state(b0), by_state(c0), grad, dA, decay)

            at = ((by_token + rows * K) * N)[:, None] + n[None, :]
            valid = (rows >= 0)[:, None]
            add_to(to.B + at, one_tile(to_B0, to_B1, to_B2, to_B3, BS, NP), valid & (n < N)[None, :], ATOMIC)
            add_to(to.C + at, one_tile(to_C0, to_C1, to_C2, to_C3, BS, NP), valid & (n < N)[None, :], ATOMIC)
            from_b = one_tile(u0, u1, u2, u3, BS, BD)
            dz = (one_tile(a0, a1, a2, a3, BS, BD) + u * from_b) * logistic(z, step, SOFTPLUS)
            own = delta * from_b + skip[None, :] * arriving
            dD += u * arriving
            dbias += dz
            there = dx.ptr + rows[:, None] * dx.l + c[None, :]
            if ACCUMULATE:
                own += tl.load(there, mask=valid & inside[None, :], other=0.0)
            tl.store(there, own, mask=valid & inside[None, :])
            if BR > 0:
                tl.debug_barrier()
                tl.store(raw_four + t * BD, dz)
            else:
                at = to.dt + ((batch * L + rows) * K + k)[:, None] * d + c[None, :]
                tl.store(at, dz, mask=valid & inside[None, :])

        if BR > 0:
            tl.debug_barrier()
            back = tl.load(given.weight + k * d * R + c[:, None] * R + r[None, :], mask=tl.trans(mask), other=0.0)
            back = rounded(back, GRAD_DOT, GRAD_CALLED)
            at = to.weight + (by_part * R + r[:, None]) * d + c[None, :]
            dweight = tl.load(at, mask=mask, other=0.0)
            for t in range(0, T, BLOCK):
                rows = token_rows(index.ptr, begin_eight + t, num_steps)
                low = rounded(load_rows(dt.ptr, rows, dt.l, r, r < R), GRAD_DOT, GRAD_CALLED)
                dz = rounded(tl.load(raw_eight + t * BD), GRAD_DOT, GRAD_CALLED)
                dweight = tl.dot(tl.trans(low), dz, dweight, input_precision=GRAD_PRECISION)
                ddt = tl.dot(dz, back, input_precision=GRAD_PRECISION)
                at_dt = to.dt + (by_token + rows * K)[:, None] * R + r[None, :]
                add_to(at_dt, ddt, (rows >= 0)[:, None] & (r < R)[None, :], ATOMIC)
            tl.store(at, dweight, mask=mask)

    dA = tl.sum(dA, 1) * LN2
    tl.store(to.A + (by_part * N + n[:, None]) * d + c[None, :], dA, mask=(n < N)[:, None] & inside[None, :])
    tl.store(to.D + by_part * d + c, tl.sum(dD, 0), mask=inside)
    tl.store(to.bias + by_part * d + c, tl.sum(dbias, 0), mask=inside)
