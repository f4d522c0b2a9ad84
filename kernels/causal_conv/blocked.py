"""The causal convolution as one call of torch's."""

import torch.nn.functional as F
from torch import Tensor


def causal_conv_blocked(x: Tensor, weight: Tensor, bias: Tensor | None, reverse: bool) -> Tensor:
    """Arguments and result as :func:`mmvssm.kernels.causal_conv`."""
    length, width = x.shape[1], weight.shape[-1]
    weight = weight.flip(-1) if reverse else weight
    # a one-row image in channels-last memory, which is what (B, L, d) already is
    y = F.conv2d(x.mT.unsqueeze(2), weight.unsqueeze(2), bias, padding=(0, width - 1), groups=weight.shape[0])
    return y[..., width - 1 :].squeeze(2).mT if reverse else y[..., :length].squeeze(2).mT
