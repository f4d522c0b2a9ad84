"""Chunkwise-parallel mLSTM in PyTorch matrix products: the CPU path, and the form that is traced for export.

Tokens are cut into chunks of L. With the weights E[t, u] = exp(y_u - M_t) of `gates`, a chunk c whose last token in reading
order has M = e_c leaves (v1 is v with a column of ones, so that the last column is the normaliser)

    KV_c = sum over its u of exp(y_u - e_c) k_u v1_u^T,       and enters with       C_c = sum over earlier c' of exp(e_c' - e_{c-1}) KV_c'

Every exponent is <= 0. Work is S (L + dh) dh a head, memory S L + S dh^2 / L, beside (S / L)^2 numbers for the pairs of chunks.
Reading backwards only turns the masks around: no flipped copy is made.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .gates import Gates, denominator, denominator_gradients
from .reference import NEVER


class _Chunks(NamedTuple):
    """A call's tensors cut into n chunks of L, heads before chunks; exponents already turned into weights."""

    q: Tensor  # (b, heads, n, L, dh), times dh**-0.5
    k: Tensor  # (b, heads, n, L, dh)
    v1: Tensor  # (b, heads, n, L, dh + 1)
    weights: Tensor  # E (b, heads, n, L, L), zero where u comes after t
    to_end: Tensor  # (b, heads, n, L, 1): token -> its chunk's end
    from_start: Tensor  # (b, heads, n, L, 1): state that enters the chunk -> token
    between: Tensor  # (b, heads, n, n): end of chunk c' -> start of chunk c; zero unless c' comes first


def forward(
    q: Tensor, k: Tensor, v: Tensor, gates: Gates, *, reverse: bool, chunk_size: int, eps: float
) -> tuple[Tensor, Tensor]:
    """Output (b, S, heads, dh) and normaliser s q_t . n_t (b, S, heads), both in at least float32."""
    c = _cut(q, k, v, gates, reverse, chunk_size)
    y = (c.q @ c.k.mT * c.weights) @ c.v1 + c.from_start * (c.q @ _entering(c))
    y = _join(y, q.shape[1])
    numerator, normaliser = y[..., :-1], y[..., -1]
    scale = denominator(normaliser, gates, eps).reciprocal().to(y.dtype)
    return numerator * scale[..., None], normaliser


def backward(
    dh: Tensor, q: Tensor, k: Tensor, v: Tensor, h: Tensor, normaliser: Tensor, gates: Gates,
    *, reverse: bool, chunk_size: int, eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of q, k, v (b, S, heads, dh); then, for `gate_gradients`, of log f, k . dk and of m (b, S, heads)."""
    c = _cut(q, k, v, gates, reverse, chunk_size)
    dh = dh.to(c.q.dtype)
    d_normaliser, dm = denominator_gradients((dh * h).sum(-1), normaliser, gates, eps)
    scale = denominator(normaliser, gates, eps).reciprocal().to(dh.dtype)
    dy = torch.cat([dh * scale[..., None], d_normaliser[..., None].to(dh.dtype)], -1)
    dy = _split(dy, chunk_size)  # (b, heads, n, L, dh + 1)

    entering = _entering(c)
    d_left = _combine(c.between.mT, (c.from_start * c.q).mT @ dy)  # gradient of the state at each chunk's end
    d_scores = dy @ c.v1.mT * c.weights
    dq = d_scores @ c.k + c.from_start * (dy @ entering.mT)
    dk = d_scores.mT @ c.q + c.to_end * (c.v1 @ d_left.mT)
    scores = torch.mul(c.q @ c.k.mT, c.weights, out=d_scores)
    dv = scores.mT @ dy[..., :-1] + c.to_end * (c.k @ d_left[..., :-1])

    k_dk = (c.k * dk).sum(-1)
    d_log_f = _crossing((c.q * dq).sum(-1) - k_dk, entering, d_left, reverse)
    dq, dk, dv, d_log_f, k_dk = (_join(x, q.shape[1]) for x in (dq * q.shape[-1] ** -0.5, dk, dv, d_log_f, k_dk))
    return dq, dk, dv, d_log_f, k_dk, dm


def _crossing(d_total: Tensor, entering: Tensor, d_left: Tensor, reverse: bool) -> Tensor:
    """Gradient of each log f, (b, heads, n, L): the sum over all pairs of tokens that the step stands between.

    Inside a chunk that is the sum of `d_total` from the token on. Pairs that also cross the chunk's end are counted by the
    state there: <C, dC>. One sum over the whole length would be the same, but lose digits to pairs far away.
    """
    inside = d_total.double()
    inside = inside.cumsum(-1) if reverse else inside.flip(-1).cumsum(-1).flip(-1)
    if reverse:
        at_end = (entering[:, :, :-1] * d_left[:, :, 1:]).sum((-1, -2))
        return inside + F.pad(at_end, (1, 0))[..., None]
    at_end = (entering[:, :, 1:] * d_left[:, :, :-1]).sum((-1, -2))
    return inside + F.pad(at_end, (0, 1))[..., None]


def _cut(q: Tensor, k: Tensor, v: Tensor, gates: Gates, reverse: bool, chunk_size: int) -> _Chunks:
    dtype = torch.promote_types(q.dtype, torch.float32)
    y = _split(gates.y[..., None], chunk_size, NEVER)  # (b, heads, n, L, 1)
    M = _split(gates.M[..., None], chunk_size, -NEVER)  # a padded token reads nothing
    ends = M[:, :, :, 0 if reverse else -1]  # e_c, (b, heads, n, 1)
    pad = (0, 0, 0, 1) if reverse else (0, 0, 1, 0)
    starts = F.pad(ends, pad, value=NEVER)
    starts = starts[:, :, 1:] if reverse else starts[:, :, :-1]  # e_{c-1}; NEVER where no chunk comes before
    # what is masked may have a positive exponent
    weights = torch.exp((y.mT - M).to(dtype).clamp(max=0)) * _earlier(chunk_size, reverse, q.device, dtype, diagonal=True)
    between = torch.exp((ends.mT - starts).clamp(max=0).to(dtype))
    between = between * _earlier(ends.shape[2], reverse, q.device, dtype, diagonal=False)
    v1 = torch.cat([v.to(dtype), torch.ones_like(v[..., :1], dtype=dtype)], -1)
    return _Chunks(
        _split(q.to(dtype) * q.shape[-1] ** -0.5, chunk_size),
        _split(k.to(dtype), chunk_size),
        _split(v1, chunk_size),
        weights,
        torch.exp((y - ends[..., None]).to(dtype)),
        torch.exp((starts[..., None] - M).to(dtype)),
        between,
    )


def _earlier(size: int, reverse: bool, device: torch.device, dtype: torch.dtype, *, diagonal: bool) -> Tensor:
    """(size, size) of 0 and 1: 1 where the column is read before the row (or is it, with `diagonal`)."""
    row = torch.arange(size, device=device)
    distance = row - row[:, None] if reverse else row[:, None] - row
    return (distance >= (0 if diagonal else 1)).to(dtype)


def _entering(c: _Chunks) -> Tensor:
    """The state that enters each chunk, (b, heads, n, dh, dh + 1)."""
    return _combine(c.between, (c.k * c.to_end).mT @ c.v1)


def _combine(between: Tensor, states: Tensor) -> Tensor:
    return (between @ states.flatten(3)).unflatten(3, states.shape[3:])


def _split(x: Tensor, chunk_size: int, fill: float = 0.0) -> Tensor:
    """(b, S, heads, d) -> (b, heads, n, L, d), filled up at the end of the tokens."""
    chunks = (x.shape[1] + chunk_size - 1) // chunk_size
    x = F.pad(x, (0, 0, 0, 0, 0, chunks * chunk_size - x.shape[1]), value=fill)
    return x.unflatten(1, (chunks, chunk_size)).permute(0, 3, 1, 2, 4)


def _join(x: Tensor, length: int) -> Tensor:
    """(b, heads, n, L, ...) -> (b, S, heads, ...)."""
    return x.movedim(1, 3).flatten(1, 2)[:, :length]
