"""What LocalMamba's two families share, and EfficientVMamba takes over: channel gates, and weights of directions."""

import torch
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


def weighed_sum(y: Tensor, logits: Tensor) -> Tensor:
    """Branches (B, L, K, d), each normed, weighed by the softmax of the logits (K, 1, 1, 1) and summed."""
    share = logits.softmax(dim=0).view(-1, 1)
    return (F.layer_norm(y, y.shape[-1:]) * share).sum(dim=2)


class SearchWeights(nn.Module):
    """One logit for each direction of a layer of the search supernet."""

    def __init__(self, num_branches: int):
        super().__init__()
        self.weights = nn.Parameter(1e-3 * torch.randn(num_branches, 1, 1, 1))

    def forward(self, y: Tensor) -> Tensor:
        return weighed_sum(y, self.weights)
