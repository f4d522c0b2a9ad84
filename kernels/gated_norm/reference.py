"""The gated, normed sum by its definition."""

import torch
from torch import Tensor


def gated_norm_reference(
    y: Tensor, gate: Tensor, weight: Tensor, bias: Tensor, z: Tensor, eps: float, out_dtype: torch.dtype
) -> Tensor:
    """Arguments and result as :func:`mmvssm.kernels.gated_norm`."""
    wide = torch.promote_types(torch.promote_types(y.dtype, weight.dtype), torch.float32)
    y, gate, weight, bias, z = (tensor.to(wide) for tensor in (y, gate, weight, bias, z))
    total = (y * gate[:, None]).sum(2)
    centred = total - total.mean(-1, keepdim=True)
    normed = centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt()
    return ((normed * weight + bias) * z * torch.sigmoid(z)).to(out_dtype)
