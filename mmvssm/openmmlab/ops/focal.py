"""Focal losses (Lin et al., 2017, "Focal Loss for Dense Object Detection", equation 5), in closed form.

`input` (N, C), `target` (N,) int64, `weight` (C,) or empty: a factor by the row's target.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ._precision import compute_dtype


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """One binary loss an entry; the row's target is its positive column, none for a target outside 0..C-1."""
    x = input.detach().to(compute_dtype(input))
    # log-sigmoid stays finite and exact where log(sigmoid) underflows
    positive = -alpha * torch.sigmoid(-x) ** gamma * F.logsigmoid(x)
    negative = -(1 - alpha) * torch.sigmoid(x) ** gamma * F.logsigmoid(-x)
    output.copy_(_by_target(x, target, weight, positive, negative))


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """`grad_input` (N, C) gets the derivative of each entry's loss."""
    x = input.detach().to(compute_dtype(input))
    p, q = torch.sigmoid(x), torch.sigmoid(-x)
    positive = -alpha * q**gamma * (q - gamma * p * F.logsigmoid(x))
    negative = -(1 - alpha) * p**gamma * (gamma * q * F.logsigmoid(-x) - p)
    grad_input.copy_(_by_target(x, target, weight, positive, negative))


def softmax_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """`input` holds probabilities (mmcv applies the softmax); `output` (N,); a row of negative target counts 0."""
    p, q = _target_probability(input, target)
    loss = -alpha * q**gamma * torch.log(p)
    output.copy_(_row_weight(loss, target, weight, outside=0))


def softmax_focal_loss_backward(
    input: Tensor,
    target: Tensor,
    weight: Tensor,
    buff: Tensor,
    grad_input: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """`buff` (N,) is scratch space; the gradient is that of the logits behind the probabilities `input`."""
    p, q = _target_probability(input, target)
    # q is kept from 0 here: log(p) -> -q takes the negative power of gamma < 1 back to 0 with it
    slope = gamma * q.clamp(min=torch.finfo(q.dtype).tiny) ** (gamma - 1) * p * torch.log(p) - q**gamma
    buff.copy_(_row_weight(alpha * slope, target, weight, outside=0))
    one_hot = _columns(input) == target[:, None]
    grad_input.copy_(buff[:, None] * (one_hot.to(buff.dtype) - input))


def _by_target(x: Tensor, target: Tensor, weight: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    entries = torch.where(_columns(x) == target[:, None], positive, negative)
    return _row_weight(entries.T, target, weight, outside=1).T


def _row_weight(values: Tensor, target: Tensor, weight: Tensor, outside: float) -> Tensor:
    """Multiply the last dimension by the weight of its row's target; by `outside` where no column is the target."""
    if not weight.numel():
        return values if outside else torch.where(target >= 0, values, 0)
    inside = (target >= 0) & (target < len(weight))
    factor = torch.where(inside, weight.detach()[target.clamp(0, len(weight) - 1)].to(values.dtype), outside)
    return values * factor


def _columns(x: Tensor) -> Tensor:
    return torch.arange(x.shape[1], device=x.device)[None]


def _target_probability(softmax: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The probability p (N,) of each row's target, kept from 0, and 1 - p."""
    softmax = softmax.detach().to(compute_dtype(softmax))
    p = softmax.gather(1, target.clamp(min=0)[:, None])[:, 0]
    return p.clamp(min=torch.finfo(p.dtype).tiny), 1 - p
