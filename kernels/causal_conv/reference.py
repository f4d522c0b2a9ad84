"""The causal convolution by its definition."""

import torch.nn.functional as F
from torch import Tensor


def causal_conv_reference(x: Tensor, weight: Tensor, bias: Tensor | None, reverse: bool) -> Tensor:
    """y_t = bias + sum of weight_j x_{t - (width - 1 - j)} over taps j, zeros before; `reverse` mirrors it."""
    length, width = x.shape[1], weight.shape[-1]
    padded = F.pad(x, (0, 0, 0, width - 1) if reverse else (0, 0, width - 1, 0))
    taps = weight[:, 0].flip(-1) if reverse else weight[:, 0]
    y = sum(padded[:, j : j + length] * taps[:, j] for j in range(width))
    return y if bias is None else y + bias
