"""The gated, normed sum in torch's operations."""

import torch
import torch.nn.functional as F
from torch import Tensor


def gated_norm_blocked(
    y: Tensor, gate: Tensor, weight: Tensor, bias: Tensor, z: Tensor, eps: float, out_dtype: torch.dtype
) -> Tensor:
    """Arguments and result as :func:`mmvssm.kernels.gated_norm`."""
    total = (y * gate.unsqueeze(1)).sum(2)
    wide = torch.promote_types(total.dtype, weight.dtype)
    normed = F.layer_norm(total.to(wide), weight.shape, weight.to(wide), bias.to(wide), eps)
    return normed.to(out_dtype) * F.silu(z).to(out_dtype)
