"""What LocalMamba's two families share, and EfficientVMamba takes over: channel gates."""

import torch.fx
import torch.nn.functional as F
from torch import Tensor, nn

from mmvssm.kernels import gated_norm, pooled_norm

from ._layers import LayerNorm, answer_dtype, is_plain


@torch.fx.wrap
def pooled(x: Tensor, weight: Tensor, bias: Tensor | None, eps: float) -> Tensor:
    """Mean over the tokens of the LayerNorm of x (B, L, d) or (B, L, K, d): (B, 1, d) or (B, 1, K, d)."""
    mean = pooled_norm(
        x.flatten(2, -2) if x.dim() > 3 else x.unsqueeze(2), weight, bias, eps, out_dtype=answer_dtype(x)
    )
    return mean.unflatten(1, x.shape[2:-1]).unsqueeze(1) if x.dim() > 3 else mean


class BiAttn(nn.Module):
    """Channel gate of a branch, from the token mean of its normed output (SCAttn without the spatial half)."""

    def __init__(self, dim: int, ratio: float = 0.125):
        super().__init__()
        self.norm = LayerNorm(dim)
        self.global_reduce = nn.Linear(dim, int(dim * ratio))
        self.channel_select = nn.Linear(int(dim * ratio), dim)

    def forward(self, y: Tensor) -> Tensor:
        """Gates in (0, 1) of y (B, L, d) or (B, L, K, d): (B, 1, d) or (B, 1, K, d)."""
        norm = self.norm
        if is_plain(norm, LayerNorm):
            mean = pooled(y, norm.weight, norm.bias, norm.eps)
        else:
            mean = norm(y).mean(dim=1, keepdim=True)
        return self.channel_select(F.gelu(self.global_reduce(mean))).sigmoid()


def gated_and_normed(y: Tensor, gates: Tensor, norm: nn.Module, z: Tensor) -> Tensor:
    """silu(z) norm(the sum over K of gates (B, 1, K, d) times branches y (B, L, K, d)), of z's shape and dtype."""
    tokens = z.flatten(1, -2)
    if is_plain(norm, LayerNorm) and norm.bias is not None:
        return gated_norm(y, gates.squeeze(1), norm.weight, norm.bias, tokens, norm.eps).view(z.shape)
    return (norm((y * gates).sum(dim=2)).to(z.dtype) * F.silu(tokens)).view(z.shape)
