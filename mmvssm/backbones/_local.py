"""What LocalMamba's two families share, and EfficientVMamba takes over: channel gates."""

import torch.nn.functional as F
from torch import Tensor, nn

from ._layers import LayerNorm


class BiAttn(nn.Module):
    """Channel gate of a branch, from the token mean of its normed output (SCAttn without the spatial half)."""

    def __init__(self, dim: int, ratio: float = 0.125):
        super().__init__()
        self.norm = LayerNorm(dim)
        self.global_reduce = nn.Linear(dim, int(dim * ratio))
        self.channel_select = nn.Linear(int(dim * ratio), dim)

    def forward(self, y: Tensor) -> Tensor:
        """Gates in (0, 1) of y (B, L, ..., d), shaped (B, 1, ..., d)."""
        pooled = self.norm(y).mean(dim=1, keepdim=True)
        return self.channel_select(F.gelu(self.global_reduce(pooled))).sigmoid()
