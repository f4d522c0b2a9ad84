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
def seen(h, arriving):
    """Sum over channels for C: [BS, NP]."""
    return tl.trans(tl.sum(h * arriving[None], 2))


@triton.jit
def step_back(before, s, driven, arriving, b, c, grad, dA, decay):
    """`grad` and `dA` before the step; sums over channels for B and C, over states for the input and the decay."""
    a = tl.exp2(s[None] * decay)
    g = c * arriving[None] + grad
    kept = a * before * g
    to_B = tl.sum(g * driven[None], 2)
    return a * g, dA + kept * s[None], tl.trans(to_B), tl.sum(g * b, 0), tl.sum(kept * decay, 0)


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
    scratch_ptr,  # float32, for each program (T / 4, NP, BS, BD) states and (BS, 2, T, BD) raw steps and step sizes
    to: Gradients,
    partial,  # tokens of one share of dt, B and C: b * L, or 0 where there is one
    L,
    this: Part,
    sizes: Sizes,
    form: Form,
    digits: Digits,
    RANK: tl.constexpr,  # as R, but addresses made of it are constants
    BS: tl.constexpr,
    BD: tl.constexpr,
    HAS_D: tl.constexpr,
    ACCUMULATE: tl.constexpr,
    ATOMIC: tl.constexpr,
):
    """As `triton_backward.gradients`. Raw steps become their gradients.

    What is read twice would not fit the registers.
    """
    d, K = sizes.d, sizes.K
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
    s = tl.arange(0, BS)
    n = tl.arange(0, NP)
    r = tl.arange(0, BR if BR > 0 else 16)
    four = tl.arange(0, BS * GROUP)
    eight = tl.arange(0, BS * BLOCK)
    held = T // GROUP * (NP * BS * BD)
    scratch_ptr += tl.program_id(0).to(tl.int64) * (held + 2 * T * BS * BD)
    held_ptr = scratch_ptr + (n[:, None, None] * BS + s[None, :, None]) * BD + tl.arange(0, BD)[None, None, :]
    raw_ptr = scratch_ptr + held + tl.arange(0, BD)[None, :]
    raw_four = raw_ptr + (four // GROUP * (2 * T) + four % GROUP)[:, None] * BD
    raw_eight = raw_ptr + (eight // BLOCK * (2 * T) + eight % BLOCK)[:, None] * BD

    pid = this.start + tl.program_id(0)
    for item in range(pid * this.blocks, (pid + 1) * this.blocks):
        # all the same program's, which the compiler must not know: it would keep every address, and spill them
        number = item // this.blocks
        share = (number % blocks_d).to(tl.int64)
        part = number // blocks_d % parts
        batch = (number // (blocks_d * parts) // this.directions).to(tl.int64)
        k = (this.first + number // (blocks_d * parts) % this.directions).to(tl.int64)
        c = (this.first_d + number % blocks_d) * BD + tl.arange(0, BD)
        chunks = (part * this.blocks + item % this.blocks) * BS + s
        inside = c < d
        of_states = (n < N)[:, None] & inside[None, :]
        of_rank = (r < RANK)[:, None] & inside[None, :]
        x_at = x.ptr + batch * x.b + k * x.k
        dx_at = dx.ptr + batch * dx.b + k * dx.k
        dt_at = dt.ptr + batch * dt.b + k * dt.k
        B_at = B.ptr + batch * B.b + k * B.k
        C_at = C.ptr + batch * C.b + k * C.k
        dy_at = dy.ptr + batch * dy.b + k * dy.k
        index_at = index.ptr + k * index.k
        by_token = (share * partial + batch * L) * K + k
        by_part = (batch * parts + part) * K + k
        lane = (batch * K + k) * num_chunks * N * d
        bias = load_vector(given.bias + k * d, c, d, form.HAS_BIAS) * LOG2E
        first_four = (part * this.blocks + item % this.blocks) * BS * T + four // GROUP * T + four % GROUP
        first_eight = (part * this.blocks + item % this.blocks) * BS * T + eight // BLOCK * T + eight % BLOCK
        if BR > 0:
            weight = (
                tl.load(given.weight + k * d * RANK + c[None, :] * RANK + r[:, None], mask=of_rank, other=0.0) * LOG2E
            )
            high = rounded(weight, DOT, CALLED)
            rest = rounded(weight - high.to(tl.float32), DOT, CALLED) if SPLIT else 0.0
            tl.debug_barrier()  # the scratch is read by now
            for t in range(0, T, BLOCK):
                rows = token_rows(index_at, first_eight + t, num_steps)
                low = rounded(load_rows(dt_at, rows, dt.l, r, r < RANK), DOT, CALLED)
                z = tl.dot(low, high, tl.broadcast_to(bias[None, :], [BS * BLOCK, BD]), input_precision='ieee')
                if SPLIT:
                    z = tl.dot(low, rest, z, input_precision='ieee')
                tl.store(raw_eight + t * BD, z)
            tl.debug_barrier()

        decay = tl.load(given.A + (k * d + c)[None, :] * N + n[:, None], mask=of_states, other=0.0)[:, None, :]
        state_at, state_in = chunk_state_offsets(chunks, c, num_chunks, d, N, NP)
        h = tl.load(states_ptr + lane + state_at, mask=state_in, other=0.0)
        dD = tl.zeros([BS * GROUP, BD], tl.float32)
        for t in range(0, T, GROUP):
            tl.store(held_ptr + t // GROUP * (NP * BS * BD), h)
            rows = token_rows(index_at, first_four + t, num_steps)
            if BR > 0:
                z = tl.load(raw_four + t * BD)
            else:
                z = load_rows(dt_at, rows, dt.l, c, inside) * LOG2E + bias[None, :]
            step = binary_step(z, SOFTPLUS, DEGREE)
            if BR == 0:
                tl.store(raw_four + t * BD, z)
            tl.store(raw_four + (t + T) * BD, step)
            u = load_rows(x_at, rows, x.l, c, inside)
            dD += u * load_rows(dy_at, rows, dy.l, c, inside)
            driven = step * LN2 * u
            s0, s1, s2, s3 = four_steps(step, BS, BD)
            d0, d1, d2, d3 = four_steps(driven, BS, BD)
            b0, b1, b2, b3 = four_steps(load_rows(B_at, rows, B.l, n, n < N), BS, NP)
            h = step_on(h, s0, d0, by_state(b0), decay)
            h = step_on(h, s1, d1, by_state(b1), decay)
            h = step_on(h, s2, d2, by_state(b2), decay)
            h = step_on(h, s3, d3, by_state(b3), decay)
        add_to(to.D + by_part * d + c, tl.sum(dD, 0), inside, False)
        tl.debug_barrier()

        dA = tl.zeros([NP, BS, BD], tl.float32)
        dbias = tl.zeros([BS * GROUP, BD], tl.float32)
        grad = tl.load(grads_ptr + lane + state_at, mask=state_in, other=0.0)  # a_{t+1} g_{t+1}
        for i in range(0, T, GROUP):
            t = T - GROUP - i
            rows = token_rows(index_at, first_four + t, num_steps)
            step = tl.load(raw_four + (t + T) * BD)
            s0, s1, s2, s3 = four_steps(step, BS, BD)
            d0, d1, d2, d3 = four_steps(step * LN2 * load_rows(x_at, rows, x.l, c, inside), BS, BD)
            b0, b1, b2, b3 = four_steps(load_rows(B_at, rows, B.l, n, n < N), BS, NP)
            h0 = tl.load(held_ptr + t // GROUP * (NP * BS * BD))
            h1 = step_on(h0, s0, d0, by_state(b0), decay)
            h2 = step_on(h1, s1, d1, by_state(b1), decay)
            h3 = step_on(h2, s2, d2, by_state(b2), decay)
            h4 = step_on(h3, s3, d3, by_state(b3), decay)
            tl.debug_barrier()  # what follows is not loaded before
            arriving = load_rows(dy_at, rows, dy.l, c, inside)
            y0, y1, y2, y3 = four_steps(arriving, BS, BD)
            to_C0, to_C1, to_C2, to_C3 = seen(h1, y0), seen(h2, y1), seen(h3, y2), seen(h4, y3)
            c0, c1, c2, c3 = four_steps(load_rows(C_at, rows, C.l, n, n < N), BS, NP)
            s0, s1, _, _ = four_steps(tl.load(raw_four + (t + T) * BD), BS, BD)  # so that their decays aren't kept
            grad, dA, to_B3, u3, a3 = step_back(h3, s3, d3, y3, by_state(b3), by_state(c3), grad, dA, decay)
            grad, dA, to_B2, u2, a2 = step_back(h2, s2, d2, y2, by_state(b2), by_state(c2), grad, dA, decay)
            grad, dA, to_B1, u1, a1 = step_back(h1, s1, d1, y1, by_state(b1), by_state(c1), grad, dA, decay)
            h0 = tl.load(held_ptr + t // GROUP * (NP * BS * BD))
            grad, dA, to_B0, u0, a0 = step_back(h0, s0, d0, y0, by_state(b0), by_state(c0), grad, dA, decay)

            at = ((by_token + rows * K) * N)[:, None] + n[None, :]
            valid = (rows >= 0)[:, None]
            add_to(to.B + at, one_tile(to_B0, to_B1, to_B2, to_B3, BS, NP), valid & (n < N)[None, :], ATOMIC)
            add_to(to.C + at, one_tile(to_C0, to_C1, to_C2, to_C3, BS, NP), valid & (n < N)[None, :], ATOMIC)
            from_b = one_tile(u0, u1, u2, u3, BS, BD)
            u = load_rows(x_at, rows, x.l, c, inside)
            arriving = load_rows(dy_at, rows, dy.l, c, inside)
            step = tl.load(raw_four + (t + T) * BD)
            z = tl.load(raw_four + t * BD)
            dz = (one_tile(a0, a1, a2, a3, BS, BD) + u * from_b) * logistic(z, step, SOFTPLUS)
            own = step * LN2 * from_b + load_vector(given.D + k * d, c, d, HAS_D)[None, :] * arriving
            if BR == 0:
                dbias += dz
            there = dx_at + rows[:, None] * dx.l + c[None, :]
            if ACCUMULATE:
                own += tl.load(there, mask=valid & inside[None, :], other=0.0)
            tl.store(there, own, mask=valid & inside[None, :])
            if BR > 0:
                tl.debug_barrier()
                tl.store(raw_four + t * BD, dz)
            else:
                at = to.dt + ((batch * L + rows) * K + k)[:, None] * d + c[None, :]
                tl.store(at, dz, mask=valid & inside[None, :])

        add_to(to.A + (by_part * N + n[:, None]) * d + c[None, :], tl.sum(dA, 1) * LN2, of_states, False)
        if BR > 0:
            tl.debug_barrier()
            back = tl.load(
                given.weight + k * d * RANK + c[:, None] * RANK + r[None, :], mask=tl.trans(of_rank), other=0.0
            )
            back = rounded(back, GRAD_DOT, GRAD_CALLED)
            dbias = tl.zeros([BS * BLOCK, BD], tl.float32)
            dweight = tl.zeros([BR, BD], tl.float32)
            for t in range(0, T, BLOCK):
                rows = token_rows(index_at, first_eight + t, num_steps)
                low = rounded(load_rows(dt_at, rows, dt.l, r, r < RANK), GRAD_DOT, GRAD_CALLED)
                dz = tl.load(raw_eight + t * BD)
                dbias += dz
                dz = rounded(dz, GRAD_DOT, GRAD_CALLED)
                dweight = tl.dot(tl.trans(low), dz, dweight, input_precision=GRAD_PRECISION)
                ddt = tl.dot(dz, back, input_precision=GRAD_PRECISION)
                at_dt = to.dt + (by_token + rows * K)[:, None] * RANK + r[None, :]
                add_to(at_dt, ddt, (rows >= 0)[:, None] & (r < RANK)[None, :], ATOMIC)
            add_to(to.weight + (by_part * RANK + r[:, None]) * d + c[None, :], dweight, of_rank, False)
        add_to(to.bias + by_part * d + c, tl.sum(dbias, 0), inside, False)
