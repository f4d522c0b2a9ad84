"""The causal convolution with a gradient of its own."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .blocked import causal_conv_blocked

NAME = 'causal_conv'


class CausalConv(torch.autograd.Function):
    """The input's gradient is the same convolution the other way round: far faster than torch's own on a CPU."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None, reverse: bool) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.reverse = reverse
        return causal_conv_blocked(x, weight, bias, reverse)

    @staticmethod
    def backward(ctx, grad: Tensor):
        x, weight = ctx.saved_tensors
        length, width = x.shape[1], weight.shape[-1]
        padded = F.pad(x, (0, 0, 0, width - 1) if ctx.reverse else (0, 0, width - 1, 0))
        taps = [(grad * padded[:, j : j + length]).sum((0, 1)) for j in range(width)]
        taps = torch.stack(taps[::-1] if ctx.reverse else taps, dim=-1).unsqueeze(1)
        grad_x = _convolve(grad, weight.to(grad.dtype), not ctx.reverse)
        grad_bias = grad.sum((0, 1)).to(weight.dtype) if ctx.needs_input_grad[2] else None
        return grad_x.to(x.dtype), taps.to(weight.dtype), grad_bias, None


def _convolve(x: Tensor, weight: Tensor, reverse: bool) -> Tensor:
    """A convolution in a backward pass, which may be differentiated in turn."""
    if torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad):
        return CausalConv.apply(x, weight, None, reverse)
    return causal_conv_blocked(x, weight, None, reverse)
