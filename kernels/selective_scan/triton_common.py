"""Device functions shared by the Triton kernels of the selective scan: row addresses, loads by token, step sizes.

A tile holds one step of BS chunks, BD channels of each: [BS, BD]. What has a value for each state is [NP, BS, BD], NP
being N rounded up to a power of two; where N is 1 it is [BS, BD] too, and no reduction over states exists.
"""

from typing import Any, NamedTuple

import triton
import triton.language as tl

from ..triton_groups import groups_written_out, own_names

LOG2E = tl.constexpr(1.4426950408889634)
LN2 = tl.constexpr(0.6931471805599453)

# Arguments that differ from map to map or launch to launch; specialised on, they would compile the same code again.
ANY_VALUE = (
    'index_k', 'dt_b', 'B_b', 'C_b', 'partial', 'L', 'K', 'first', 'directions', 'num_steps', 'T', 'num_chunks',
    'parts', 'blocks', 'start', 'first_d', 'blocks_d', 'H', 'W', 'codes', 'most',
)  # fmt: skip


def kernel(function):
    """`triton.jit` of a kernel with groups of arguments, that compiles once for all values of ANY_VALUE."""
    flat = groups_written_out(function)
    names = flat.__code__.co_varnames[: flat.__code__.co_argcount]
    given = [name for name in names if flat.__annotations__.get(name) is not tl.constexpr]
    return triton.jit(flat, do_not_specialize=[name for name in given if name in ANY_VALUE])


class Given(NamedTuple):
    """The parameters of the directions, contiguous and (K, ...); something to point at where one is absent."""

    A: Any  # (K, d, N)
    D: Any  # (K, d)
    bias: Any  # (K, d)
    weight: Any  # (K, d, R)


class Table(NamedTuple):
    """The scan orders: their address, and the stride of the direction."""

    ptr: Any
    k: Any


@own_names
class Sizes(NamedTuple):
    """Channels, rank, directions; steps of an order and of a chunk, and the chunks that they make."""

    d: Any
    R: Any
    K: Any
    num_steps: Any
    T: Any
    num_chunks: Any


@own_names
class Form(NamedTuple):
    """What a call has compiled: states, and as a power of two; the rank as loaded, 0 for none; ..."""

    N: tl.constexpr
    NP: tl.constexpr
    BR: tl.constexpr
    HAS_BIAS: tl.constexpr
    SOFTPLUS: tl.constexpr
    PRECISION: tl.constexpr


@triton.jit
def affine_before(a_left, b_left, p_left, q_left, a_right, b_right, p_right, q_right):
    """Composition that yields the state *before* the last step, p h + q, with no division and no shifted load.

    A single step has p = 1, q = 0. Inside a thread these constants fold, and the scan costs one multiply-add a step.
    """
    p = a_left * p_left
    q = a_left * q_left + b_left
    return a_right, b_right, p_right * p, p_right * q + q_right


@triton.jit
def log1p_unit(e):
    """log(1 + e) for e in [0, 1], relative error below 2e-7: Chebyshev fit of log(1 + e) / e, degree 9."""
    p = e * -0.00325637846 + 0.0199071616
    p = p * e - 0.0570642017
    p = p * e + 0.106142648
    p = p * e - 0.153118625
    p = p * e + 0.196781173
    p = p * e - 0.249545589
    p = p * e + 0.333300054
    p = p * e - 0.499999046
    p = p * e + 1.0
    return p * e


@triton.jit
def step_size(z, SOFTPLUS: tl.constexpr):
    """delta of the raw step z. In float32 softplus equals z above the published threshold of 20 by itself."""
    if not SOFTPLUS:
        return z
    else:
        return tl.maximum(z, 0.0) + log1p_unit(tl.exp2(tl.abs(z) * -LOG2E))


@triton.jit
def step_size_slope(z, SOFTPLUS: tl.constexpr):
    """d delta / d z: the logistic function, accurate at both ends."""
    if not SOFTPLUS:
        return tl.full(z.shape, 1.0, tl.float32)
    else:
        e = tl.exp2(tl.abs(z) * -LOG2E)
        return tl.where(z >= 0, 1.0, e) / (1.0 + e)


@triton.jit
def token_rows(index_ptr, steps, num_steps):
    """Tokens read at `steps`, as 64-bit rows; -1 at padding and past the end."""
    return tl.load(index_ptr + steps, mask=steps < num_steps, other=-1).to(tl.int64)


@triton.jit
def load_rows(ptr, rows, stride, columns, inside):
    """Float32 [rows, columns] of the tokens `rows`; zeros at padding and outside `inside`."""
    mask = (rows >= 0)[:, None] & inside[None, :]
    return tl.load(ptr + rows[:, None] * stride + columns[None, :], mask=mask, other=0.0).to(tl.float32)


@triton.jit
def load_states(ptr, rows, stride, N: tl.constexpr, NP: tl.constexpr):
    """B or C of the tokens `rows` [BS], float32: [BS, 1] where N is 1, else [NP, BS, 1]."""
    if N == 1:
        return tl.load(ptr + rows * stride, mask=rows >= 0, other=0.0).to(tl.float32)[:, None]
    else:
        n = tl.arange(0, NP)
        mask = (rows >= 0)[None, :] & (n < N)[:, None]
        return tl.load(ptr + rows[None, :] * stride + n[:, None], mask=mask, other=0.0).to(tl.float32)[:, :, None]


@triton.jit
def load_decay(A_ptr, c, d, N: tl.constexpr, NP: tl.constexpr):
    """A of the channels c times log2(e): [1, BD] where N is 1, else [NP, 1, BD]."""
    if N == 1:
        return tl.load(A_ptr + c, mask=c < d, other=0.0)[None, :] * LOG2E
    else:
        n = tl.arange(0, NP)
        mask = (c < d)[None, :] & (n < N)[:, None]
        return tl.load(A_ptr + c[None, :] * N + n[:, None], mask=mask, other=0.0)[:, None, :] * LOG2E


@triton.jit
def chunk_state_offsets(chunks, c, num_chunks, d, N: tl.constexpr, NP: tl.constexpr):
    """Offsets and mask of the states of `chunks` [BS] in (num_chunks, N, d): [BS, BD] or [NP, BS, BD]."""
    rows = chunks.to(tl.int64)
    inside = (chunks < num_chunks)[:, None] & (c < d)[None, :]
    if N == 1:
        return rows[:, None] * d + c[None, :], inside
    else:
        n = tl.arange(0, NP)[:, None, None]
        return (rows[None, :, None] * N + n) * d + c[None, None, :], inside[None] & (n < N)


@triton.jit
def lift(tile, N: tl.constexpr):
    """[BS, BD] beside the states: unchanged where N is 1, else [1, BS, BD]."""
    if N == 1:
        return tile
    else:
        return tile[None, :, :]


@triton.jit
def sum_states(tile, N: tl.constexpr):
    """Sum over the states: [BS, BD]."""
    if N == 1:
        return tile
    else:
        return tl.sum(tile, 0)


@triton.jit
def load_expansion(weight_ptr, c, d, R, BR: tl.constexpr):
    """dt_weight (d, R) of the channels c, transposed and float32: [BR, BD]."""
    r = tl.arange(0, BR)
    mask = (r < R)[:, None] & (c < d)[None, :]
    return tl.load(weight_ptr + c[None, :] * R + r[:, None], mask=mask, other=0.0).to(tl.float32)


@triton.jit
def raw_steps(dt_ptr, rows, stride, weight, bias, c, d, R, BR: tl.constexpr, PRECISION: tl.constexpr):
    """The step sizes before softplus [rows, BD]; at padding the bias alone. BR = 0: dt comes expanded."""
    if BR == 0:
        return load_rows(dt_ptr, rows, stride, c, c < d) + bias[None, :]
    else:
        r = tl.arange(0, BR)
        low = load_rows(dt_ptr, rows, stride, r, r < R)
        return tl.dot(low, weight, input_precision=PRECISION) + bias[None, :]


@triton.jit
def load_vector(ptr, c, d, PRESENT: tl.constexpr):
    """A per-channel parameter as float32 [BD]; zeros where it is absent."""
    if PRESENT:
        return tl.load(ptr + c, mask=c < d, other=0.0).to(tl.float32)
    else:
        return tl.zeros(c.shape, tl.float32)
