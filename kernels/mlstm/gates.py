"""Gate arithmetic of the mLSTM: everything about the exponents, on (b, S, heads) vectors in float64.

With F_t = sum of log sigmoid(f_r) over r <= t in reading order, the exponent of pair (t, u) is

    F_t - F_u + i_u - m_t = y_u - M_t,      y_u = i_u - F_u,      M_t = max of y_u over u <= t,      m_t = F_t + M_t

so one difference of two vectors serves all pairs, inside a chunk and across chunks, and is never positive. |F| grows
with the length, hence float64: in float32 the difference would lose the digits that matter (1e-4 at a length of 4,000).
A device without float64 has to do with that.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..precision import widened
from .reference import largest_exponent


class Gates(NamedTuple):
    """The exponents of one call, all (b, S, heads) float64 in token order."""

    y: Tensor  # what a token adds:  exp(y_u - M_t) at reader t
    M: Tensor  # running maximum of y, in reading order
    m: Tensor  # the stabiliser, in absolute units
    record: Tensor  # int64, the token whose y is M_t


def gate_terms(igate: Tensor, fgate: Tensor, *, reverse: bool) -> Gates:
    """Exponents from the gates' pre-activations, (b, S, heads) of any floating type."""
    total, y = totals(igate, fgate, reverse)
    M, record = (in_token_order(x, reverse) for x in torch.cummax(in_reading_order(y, reverse), -1))
    return Gates(y, M, total + M, y.shape[1] - 1 - record if reverse else record)


def denominator(normaliser: Tensor, m: Tensor, eps: float) -> Tensor:
    """max(|s q_t . n_t|, exp(-m_t)) + eps in float64, where very small gates cannot overflow it."""
    return torch.maximum(widened(normaliser).abs(), _floor(m)) + eps


def denominator_gradients(dh_h: Tensor, normaliser: Tensor, m: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Gradients of the normaliser and of m_t at fixed weights, from the sums dh_t . h_t; all (b, S, heads) float64.

    m_t acts only because eps is added in stabilised units: h_t depends on eps exp(m_t).
    """
    through_h = -widened(dh_h) / denominator(normaliser, m, eps)
    normaliser = widened(normaliser)
    return torch.where(normaliser.abs() > _floor(m), through_h * normaliser.sign(), 0.0), through_h * eps


def gate_gradients(
    d_log_f: Tensor, k_dk: Tensor, dm: Tensor, gates: Gates, fgate: Tensor, *, reverse: bool
) -> tuple[Tensor, Tensor]:
    """Gradients of both gates' pre-activations, (b, S, heads) float64.

    d_log_f: gradient of log sigmoid(f_t) at fixed m; k_dk: k_u . dk_u, which is the sum over the readers of u of the
    gradient of the exponents, so that of i_u. The gradient dm of m_t goes to what makes it up: the token that set the
    record, and the forget gates since.
    """
    to_record = torch.zeros_like(dm).scatter_add(1, gates.record, dm)
    d_log_f = widened(d_log_f) + _sum_to(dm - to_record, not reverse)
    return widened(k_dk) + to_record, d_log_f * torch.sigmoid(-widened(fgate))


def _floor(m: Tensor) -> Tensor:
    return torch.exp((-m).clamp(max=largest_exponent(m.dtype)))


def totals(igate: Tensor, fgate: Tensor, reverse: bool) -> tuple[Tensor, Tensor]:
    """F and y, (b, S, heads) float64."""
    total = _sum_to(F.logsigmoid(widened(fgate)), reverse)
    return total, widened(igate) - total


def _sum_to(x: Tensor, reverse: bool) -> Tensor:
    """Inclusive sums along dim 1, in reading order."""
    return in_token_order(in_reading_order(x, reverse).cumsum(-1), reverse)


def in_reading_order(x: Tensor, reverse: bool) -> Tensor:
    """(b, S, heads) in token order -> (b, heads, S) in reading order: a GPU scans the last dim with many threads."""
    return (x.flip(1) if reverse else x).transpose(1, 2).contiguous()


def in_token_order(x: Tensor, reverse: bool) -> Tensor:
    """(b, heads, S) in reading order -> (b, S, heads) in token order."""
    return (x.flip(2) if reverse else x).transpose(1, 2)
