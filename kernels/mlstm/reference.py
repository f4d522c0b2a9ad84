"""The mLSTM cell, written down as defined: plain PyTorch, any floating type, differentiable, slow.

Per batch element and head, with scalar gate pre-activations i_t and f_t, lf_t = logsigmoid(f_t) and s = dh**-0.5
(xLSTM, arXiv 2405.04517, section 2.3; Vision-LSTM, arXiv 2406.04303)::

    C_t = sigmoid(f_t) C_{t-1} + exp(i_t) k_t v_t^T         n_t = sigmoid(f_t) n_{t-1} + exp(i_t) k_t
    h_t = s q_t^T C_t / max(|s q_t . n_t|, 1)

Both forms hold C and n in units of exp(m_t), m_t being the largest exponent so far, and add `eps` to the denominator in
those units. Arguments and result are those of `mmvssm.kernels.mlstm`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

# the exponent of what has not happened: exp gives 0, and it is finite so that differences of two of them are
NEVER = -1e30


def mlstm_recurrent(
    q: Tensor, k: Tensor, v: Tensor, igate: Tensor, fgate: Tensor, *, reverse: bool = False, eps: float = 1e-6
) -> Tensor:
    """One step a token. q, k, v (b, S, heads, dh); igate, fgate (b, S, heads) -> (b, S, heads, dh)."""
    dtype, (q, k, v, i, f) = q.dtype, _upcast(q, k, v, igate, fgate)
    log_f = F.logsigmoid(f)
    batch, length, heads, dim = q.shape
    C = q.new_zeros(batch, heads, dim, dim)
    n = q.new_zeros(batch, heads, dim)
    m = torch.full_like(n[..., 0], NEVER)
    h: list = [None] * length
    for t in reversed(range(length)) if reverse else range(length):
        carried = log_f[:, t] + m
        m = torch.maximum(carried, i[:, t])
        update = torch.exp(i[:, t] - m)[..., None] * k[:, t]
        decay = torch.exp(carried - m)
        C = decay[..., None, None] * C + update[..., :, None] * v[:, t, :, None, :]
        n = decay[..., None] * n + update
        query = q[:, t] * dim**-0.5
        numerator = (query[..., None, :] @ C).squeeze(-2)
        h[t] = numerator / _denominator((query * n).sum(-1), m, eps)[..., None]
    return torch.stack(h, 1).to(dtype) if length else torch.zeros_like(v, dtype=dtype)


def mlstm_quadratic(
    q: Tensor, k: Tensor, v: Tensor, igate: Tensor, fgate: Tensor, *, reverse: bool = False, eps: float = 1e-6
) -> Tensor:
    """All pairs at once, W[t, u] = s (q_t . k_u) exp(F_t - F_u + i_u - m_t); memory quadratic in the length."""
    if reverse:
        flipped = (x.flip(1) for x in (q, k, v, igate, fgate))
        return mlstm_quadratic(*flipped, eps=eps).flip(1)
    dtype, (q, k, v, i, f) = q.dtype, _upcast(q, k, v, igate, fgate)
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))  # (b, heads, S, dh)
    total = F.logsigmoid(f).cumsum(1).transpose(1, 2)  # F_t, (b, heads, S)
    length = q.shape[2]
    causal = torch.ones(length, length, dtype=torch.bool, device=q.device).tril()
    log_d = (total[..., :, None] - total[..., None, :] + i.transpose(1, 2)[..., None, :]).masked_fill(
        ~causal, -torch.inf
    )
    m = log_d.amax(-1)
    weights = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2) * torch.exp(log_d - m[..., None])
    h = weights @ v / _denominator(weights.sum(-1), m, eps)[..., None]
    return h.transpose(1, 2).to(dtype)


def largest_exponent(dtype: torch.dtype) -> float:
    """A bound for -m, the one exponent that may be positive; beyond it the output is zero in that type."""
    return 700.0 if dtype == torch.float64 else 85.0


def _denominator(normaliser: Tensor, m: Tensor, eps: float) -> Tensor:
    floor = torch.exp((-m).clamp(max=largest_exponent(m.dtype)))
    return torch.maximum(normaliser.abs(), floor) + eps


def _upcast(*tensors: Tensor) -> tuple[Tensor, ...]:
    dtype = torch.promote_types(tensors[0].dtype, torch.float32)
    return tuple(x.to(dtype) for x in tensors)
