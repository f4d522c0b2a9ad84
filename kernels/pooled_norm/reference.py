"""The pooled LayerNorm by its definition."""

import torch
from torch import Tensor


def pooled_norm_reference(x: Tensor, weight: Tensor, bias: Tensor | None, eps: float, out_dtype: torch.dtype) -> Tensor:
    """Arguments and result as :func:`mmvssm.kernels.pooled_norm`."""
    wide = torch.promote_types(torch.promote_types(x.dtype, weight.dtype), torch.float32)
    x = x.to(wide)
    centred = x - x.mean(-1, keepdim=True)
    normed = centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt()
    y = normed.mean(1) * weight.to(wide)
    return (y if bias is None else y + bias.to(wide)).to(out_dtype)
