"""Chunkwise-parallel mLSTM in PyTorch matrix products: the CPU path.

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
from torch import Tensor

from ..precision import widened
from .gates import Gates, denominator, denominator_gradients
from .reference import NEVER


class Chunk(NamedTuple):
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
        y = read(c, state).transpose(1, 2)  # (b, L, heads, dh + 1)
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
        diagonal = d_scores.diagonal(dim1=-2, dim2=-1)  # a token's score with itself: no forget gate in it
        own = diagonal[..., None].clone()
        diagonal.zero_()
        d_q, d_k = d_scores @ c.k, d_scores.mT @ c.q
        d_v = torch.mul(c.q @ c.k.mT, c.weights, out=d_scores).mT @ dy[..., :-1]
        crossing = 0.0  # sum over the pairs of tokens that the chunk's end stands between: <C, dC>
        if d_state is not None:
            d_k += c.to_end * (c.v1 @ d_state.mT)
            d_v += c.to_end * (c.k @ d_state[..., :-1])
            crossing = widened((after * d_state).sum((-1, -2))[..., None])
        if state is not None:
            d_q += c.from_start * (dy @ state.mT)
            d_entering = (c.from_start * c.q).mT @ dy
            d_state = d_entering if d_state is None else d_entering + _decay(start, end, dtype) * d_state
        between = _sum_from(widened((c.q * d_q).sum(-1)) - (c.k * d_k).sum(-1), reverse) + crossing
        d_q, d_k = torch.addcmul(d_q, own, c.k), torch.addcmul(d_k, own, c.q)
        for whole, piece in (
            (dq, d_q * q.shape[-1] ** -0.5),
            (dk, d_k),
            (dv, d_v),
            (d_log_f, between),
            (k_dk, (c.k * d_k).sum(-1)),
        ):
            whole[:, part] = piece.transpose(1, 2)
        after = state
    return dq, dk, dv, d_log_f, k_dk, dm


def _chunk(q, k, v, gates: Gates, part: slice, start: Tensor | None, reverse: bool) -> tuple[Chunk, Tensor]:
    """The chunk at `part`, and e_c (b, heads). `start` is e_{c-1}, None for the first."""
    dtype = torch.promote_types(q.dtype, torch.float32)
    y, M = gates.y[:, part].mT, gates.M[:, part].mT  # (b, heads, L)
    end = M[..., 0 if reverse else -1]
    start = torch.full_like(end, NEVER) if start is None else start
    q = q[:, part].transpose(1, 2).to(dtype) * q.shape[-1] ** -0.5
    k, v1 = k[:, part].transpose(1, 2).to(dtype), with_ones(v[:, part].transpose(1, 2), dtype)
    return Chunk(q, k, v1, *exponentials(y, M, start, end, reverse, dtype)), end


def exponentials(y, M, start, end, reverse: bool, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """`weights`, `to_end` and `from_start` of a chunk, from float64 exponents y, M (..., L) and start, end (...)."""
    exponents = (y[..., None, :] - M[..., None]).to(dtype).clamp(max=0)  # what is masked may be positive
    weights = torch.exp(exponents) * earlier(y.shape[-1], reverse, y.device, dtype, diagonal=True)
    to_end = torch.exp((y - end[..., None]).to(dtype))
    return weights, to_end[..., None], torch.exp((start[..., None] - M).to(dtype))[..., None]


def read(c: Chunk, state: Tensor | None) -> Tensor:
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
    left = (k.to(dtype) * to_end[..., None]).permute(0, 2, 3, 1) @ with_ones(v, dtype).transpose(1, 2)
    return left if state is None else left + _decay(start, end, dtype) * state, end


def earlier(size: int, reverse: bool, device: torch.device, dtype: torch.dtype, *, diagonal: bool) -> Tensor:
    """(size, size) of 0 and 1: 1 where the column is read before the row (or is it, with `diagonal`)."""
    position = torch.arange(size, device=device)
    distance = position - position[:, None] if reverse else position[:, None] - position
    return (distance >= (0 if diagonal else 1)).to(dtype)


def _sum_from(x: Tensor, reverse: bool) -> Tensor:
    """Sums along the last dim from each token to the end in reading order."""
    return x.cumsum(-1) if reverse else x.flip(-1).cumsum(-1).flip(-1)


def with_ones(v: Tensor, dtype: torch.dtype) -> Tensor:
    """v (..., dh) with a column of ones, (..., dh + 1)."""
    return torch.cat([v.to(dtype), torch.ones_like(v[..., :1], dtype=dtype)], -1)


def chunk_size_for(length: int, dim: int, chosen: int | None) -> int:
    """A chunk size that cuts the length into equal parts, at most `chosen` or the default, whatever `dim` is."""
    limit = chosen or (256 if length <= 256 else 128)
    chunks = -(-length // limit)
    return -(-length // chunks)
