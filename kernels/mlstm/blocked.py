"""Chunkwise-parallel mLSTM in PyTorch matrix products: the CPU path, and the form that is traced for export.

Tokens are cut into chunks of L. With the weights exp(y_u - M_t) of `gates`, and e_c the M of chunk c's last token in
reading order, a chunk reads itself and the state of all chunks before it (v1 is v with a column of ones, so that the
last column is the normaliser):

    y_t = s q_t^T [ sum over u <= t in c of exp(y_u - M_t) k_u v1_u^T  +  exp(e_{c-1} - M_t) C_c ]
    C_{c+1} = exp(e_{c-1} - e_c) C_c + sum over u in c of exp(y_u - e_c) k_u v1_u^T

Every exponent is <= 0. Work is S (L + dh) dh a head; memory S dh, and S dh^2 / L in the backward pass, which makes the
states again. Reading backwards takes the chunks in the other order and turns the masks around: no flipped copy is made.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .gates import Gates, denominator, denominator_gradients
from .reference import NEVER


class _Chunk(NamedTuple):
    """One chunk (leading dims b, heads), or all of them at once (b, heads, n), in at least float32."""

    q: Tensor  # (..., L, dh), times dh**-0.5
    k: Tensor  # (..., L, dh)
    v1: Tensor  # (..., L, dh + 1)
    weights: Tensor  # (..., L, L): exp(y_u - M_t), zero where u comes after t
    to_end: Tensor  # (..., L, 1): exp(y_u - e_c)
    from_start: Tensor  # (..., L, 1): exp(e_{c-1} - M_t)


def forward(
    q: Tensor, k: Tensor, v: Tensor, gates: Gates, *, reverse: bool, chunk_size: int, eps: float
) -> tuple[Tensor, Tensor]:
    """Output (b, S, heads, dh) and normaliser s q_t . n_t (b, S, heads), both in at least float32."""
    dtype = torch.promote_types(q.dtype, torch.float32)
    h, normaliser = q.new_empty(q.shape, dtype=dtype), q.new_empty(q.shape[:3], dtype=dtype)
    for part, state, start in _states(k, v, gates, chunk_size, reverse):
        c, _ = _chunk(q, k, v, gates, part, start, reverse)
        y = _read(c, state).transpose(1, 2)  # (b, L, heads, dh + 1)
        normaliser[:, part] = y[..., -1]
        scale = denominator(y[..., -1], gates.m[:, part], eps).reciprocal().to(dtype)
        torch.mul(y[..., :-1], scale[..., None], out=h[:, part])
    return h, normaliser


def backward(
    dh: Tensor, q: Tensor, k: Tensor, v: Tensor, h: Tensor, normaliser: Tensor, gates: Gates,
    *, reverse: bool, chunk_size: int, eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of q, k, v (b, S, heads, dh); then, for `gate_gradients`, of log f, k . dk and of m (b, S, heads)."""
    dtype = torch.promote_types(q.dtype, torch.float32)
    dh = dh.to(dtype)
    d_normaliser, dm = denominator_gradients((dh * h).sum(-1), normaliser, gates.m, eps)
    scale = denominator(normaliser, gates.m, eps).reciprocal().to(dtype)
    dq, dk, dv = (q.new_empty(q.shape, dtype=dtype) for _ in range(3))
    d_log_f, k_dk = torch.empty_like(gates.m), torch.empty_like(gates.m)
    chunks = list(_states(k, v, gates, chunk_size, reverse))

    d_state = None  # gradient of the state at the end of the chunk, in units of exp(e_c)
    after = None
    for part, state, start in reversed(chunks):
        c, end = _chunk(q, k, v, gates, part, start, reverse)
        dy = torch.cat([dh[:, part] * scale[:, part, :, None], d_normaliser[:, part, :, None].to(dtype)], -1)
        dy = dy.transpose(1, 2)  # (b, heads, L, dh + 1)
        d_scores = dy @ c.v1.mT * c.weights
        d_q, d_k = d_scores @ c.k, d_scores.mT @ c.q
        d_v = torch.mul(c.q @ c.k.mT, c.weights, out=d_scores).mT @ dy[..., :-1]
        crossing = 0.0  # sum over the pairs of tokens that the chunk's end stands between: <C, dC>
        if d_state is not None:
            d_k += c.to_end * (c.v1 @ d_state.mT)
            d_v += c.to_end * (c.k @ d_state[..., :-1])
            crossing = (after * d_state).sum((-1, -2))[..., None].double()
        if state is not None:
            d_q += c.from_start * (dy @ state.mT)
            d_entering = (c.from_start * c.q).mT @ dy
            d_state = d_entering if d_state is None else d_entering + _decay(start, end, dtype) * d_state
        through_k = (c.k * d_k).sum(-1)
        between = _sum_from(((c.q * d_q).sum(-1) - through_k).double(), reverse) + crossing
        for whole, piece in (
            (dq, d_q * q.shape[-1] ** -0.5),
            (dk, d_k),
            (dv, d_v),
            (d_log_f, between),
            (k_dk, through_k),
        ):
            whole[:, part] = piece.transpose(1, 2)
        after = state
    return dq, dk, dv, d_log_f, k_dk, dm


def traced(q: Tensor, k: Tensor, v: Tensor, gates: Gates, *, reverse: bool, chunk_size: int, eps: float) -> Tensor:
    """`forward` without a loop, all chunks at once and differentiable, for a length that may be symbolic.

    The states come from all pairs of chunks, C_c = sum over earlier c' of exp(e_c' - e_{c-1}) KV_c', at the cost of
    (S / L)^2 numbers a head.
    """
    length, dtype = q.shape[1], torch.promote_types(q.dtype, torch.float32)
    y = _split(gates.y[..., None], chunk_size, NEVER).squeeze(-1)  # (b, heads, n, L)
    M = _split(gates.M[..., None], chunk_size, -NEVER).squeeze(-1)  # a padded token reads nothing
    ends = M[..., 0 if reverse else -1]  # (b, heads, n)
    starts = F.pad(ends, (0, 1) if reverse else (1, 0), value=NEVER)
    starts = starts[..., 1:] if reverse else starts[..., :-1]
    q, k, v1 = (_split(x, chunk_size) for x in (q.to(dtype) * q.shape[-1] ** -0.5, k.to(dtype), _with_ones(v, dtype)))
    c = _Chunk(q, k, v1, *_exponentials(y, M, starts, ends, reverse, dtype))
    between = torch.exp((ends[..., None, :] - starts[..., None]).clamp(max=0).to(dtype))
    between = between * _earlier(ends.shape[-1], reverse, q.device, dtype, diagonal=False)
    left = (c.k * c.to_end).mT @ c.v1
    states = (between @ left.flatten(3)).unflatten(3, left.shape[3:])
    out = _read(c, states).movedim(1, 3).flatten(1, 2)[:, :length]  # (b, S, heads, dh + 1)
    scale = denominator(out[..., -1], gates.m, eps).reciprocal().to(dtype)
    return out[..., :-1] * scale[..., None]


def _chunk(q, k, v, gates: Gates, part: slice, start: Tensor | None, reverse: bool) -> tuple[_Chunk, Tensor]:
    """The chunk at `part`, and e_c (b, heads). `start` is e_{c-1}, None for the first."""
    dtype = torch.promote_types(q.dtype, torch.float32)
    y, M = gates.y[:, part].mT, gates.M[:, part].mT  # (b, heads, L)
    end = M[..., 0 if reverse else -1]
    start = torch.full_like(end, NEVER) if start is None else start
    q = q[:, part].transpose(1, 2).to(dtype) * q.shape[-1] ** -0.5
    k, v1 = k[:, part].transpose(1, 2).to(dtype), _with_ones(v[:, part].transpose(1, 2), dtype)
    return _Chunk(q, k, v1, *_exponentials(y, M, start, end, reverse, dtype)), end


def _exponentials(y, M, start, end, reverse: bool, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """`weights`, `to_end` and `from_start` of a chunk, from float64 exponents y, M (..., L) and start, end (...)."""
    exponents = (y[..., None, :] - M[..., None]).to(dtype).clamp(max=0)  # what is masked may be positive
    weights = torch.exp(exponents) * _earlier(y.shape[-1], reverse, y.device, dtype, diagonal=True)
    to_end = torch.exp((y - end[..., None]).to(dtype))
    return weights, to_end[..., None], torch.exp((start[..., None] - M).to(dtype))[..., None]


def _read(c: _Chunk, state: Tensor | None) -> Tensor:
    """(..., L, dh + 1): what the chunk's tokens read of each other and of the state that enters, if any."""
    own = (c.q @ c.k.mT * c.weights) @ c.v1
    return own if state is None else own + c.from_start * (c.q @ state)


def _decay(start: Tensor, end: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.exp((start - end).to(dtype))[..., None, None]


def _states(k, v, gates: Gates, chunk_size: int, reverse: bool) -> Iterator[tuple[slice, Tensor | None, Tensor | None]]:
    """Each chunk in reading order, the state (b, heads, dh, dh + 1) that enters it, and e_{c-1}; None for the first."""
    begins = range(0, k.shape[1], chunk_size)
    part = state = start = None
    for begin in reversed(begins) if reverse else begins:
        if part is not None:
            state, start = _pass_through(
                k[:, part], v[:, part], gates.y[:, part], gates.M[:, part], state, start, reverse
            )
        part = slice(begin, begin + chunk_size)
        yield part, state, start


def _pass_through(k, v, y, M, state: Tensor | None, start: Tensor | None, reverse: bool) -> tuple[Tensor, Tensor]:
    """The state that leaves a chunk, and e_c, from what enters it and its tokens (b, L, heads, ...)."""
    dtype = torch.promote_types(k.dtype, torch.float32)
    end = M[:, 0 if reverse else -1]  # (b, heads)
    to_end = torch.exp((y - end[:, None]).to(dtype))
    left = (k.to(dtype) * to_end[..., None]).permute(0, 2, 3, 1) @ _with_ones(v, dtype).transpose(1, 2)
    return left if state is None else left + _decay(start, end, dtype) * state, end


def _earlier(size: int, reverse: bool, device: torch.device, dtype: torch.dtype, *, diagonal: bool) -> Tensor:
    """(size, size) of 0 and 1: 1 where the column is read before the row (or is it, with `diagonal`)."""
    position = torch.arange(size, device=device)
    distance = position - position[:, None] if reverse else position[:, None] - position
    return (distance >= (0 if diagonal else 1)).to(dtype)


def _sum_from(x: Tensor, reverse: bool) -> Tensor:
    """Sums along the last dim from each token to the end in reading order."""
    return x.cumsum(-1) if reverse else x.flip(-1).cumsum(-1).flip(-1)


def _with_ones(v: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.cat([v.to(dtype), torch.ones_like(v[..., :1], dtype=dtype)], -1)


def _split(x: Tensor, chunk_size: int, fill: float = 0.0) -> Tensor:
    """(b, S, heads, d) -> (b, heads, n, L, d), filled up at the end of the tokens."""
    chunks = (x.shape[1] + chunk_size - 1) // chunk_size
    x = F.pad(x, (0, 0, 0, 0, 0, chunks * chunk_size - x.shape[1]), value=fill)
    return x.unflatten(1, (chunks, chunk_size)).permute(0, 3, 1, 2, 4)
