"""The precision that the stand-ins compute in."""

from __future__ import annotations

import torch
from torch import Tensor


def compute_dtype(*tensors: Tensor) -> torch.dtype:
    """float64 if one of `tensors` is, else float32.

    Coordinates and sums of many samples do not survive 8 or 11 bits of mantissa (torchvision's autocast rule
    for these operators is float32 too), and torchvision has no bfloat16 kernels.
    """
    return torch.float64 if any(t.dtype == torch.float64 for t in tensors) else torch.float32
