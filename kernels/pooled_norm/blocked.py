"""The pooled LayerNorm as two calls of torch's."""

import torch
import torch.nn.functional as F
from torch import Tensor


def pooled_norm_blocked(x: Tensor, weight: Tensor, bias: Tensor | None, eps: float, out_dtype: torch.dtype) -> Tensor:
    """Arguments and result as :func:`mmvssm.kernels.pooled_norm`."""
    wide = torch.promote_types(x.dtype, weight.dtype)
    bias = None if bias is None else bias.to(wide)
    return F.layer_norm(x.to(wide), weight.shape, weight.to(wide), bias, eps).to(out_dtype).mean(1)
