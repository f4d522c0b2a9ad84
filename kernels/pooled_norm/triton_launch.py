"""The pooled LayerNorm on GPUs: launches around the Triton kernels. Needs triton; no autograd."""

import torch
import triton
from torch import Tensor

from ..backend import on_its_device
from ..norms import shared_out
from ..triton_groups import by_rows
from .triton_kernels import pool, spread

PROGRAMS = 2048  # that share the tokens, enough for any GPU
TILE = 4096  # numbers of a program at a time


class _Call:
    """Sizes of one call."""

    def __init__(self, x: Tensor):
        self.x = by_rows(x)
        self.batch, self.length, self.directions, self.dim = x.shape
        lines = self.batch * self.directions
        BD = triton.next_power_of_2(self.dim)
        BT = max(1, min(32, TILE // BD))
        self.parts, self.each = shared_out(self.length, BT, PROGRAMS // lines)
        self.grid = (lines * self.parts,)
        self.options = dict(K=self.directions, d=self.dim, BT=BT, BD=BD, num_warps=8 if BD >= 1024 else 4)

    def sums(self, eps: float) -> Tensor:
        """Sums over tokens of the normed x, (b, K, d) float32."""
        sums = self.x.new_empty(self.batch, self.directions, self.parts, self.dim, dtype=torch.float32)
        pool[self.grid](self.x, sums, *self.x.stride()[:3], self.length, self.each, eps, **self.options)
        return sums.sum(2)

    def spread(self, grad: Tensor, eps: float) -> Tensor:
        dx = torch.empty_like(self.x, memory_format=torch.contiguous_format)
        spread[self.grid](self.x, grad, dx, *self.x.stride()[:3], self.length, self.each, eps, **self.options)
        return dx


@on_its_device
def forward(x: Tensor, weight: Tensor, bias: Tensor | None, eps: float) -> Tensor:
    """See `op`."""
    y = _Call(x).sums(eps) * (weight.float() / x.shape[1])
    return y if bias is None else y + bias.float()


@on_its_device
def backward(dy: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """See `op`."""
    call, dy = _Call(x), dy.float()
    dweight = (call.sums(eps) * dy).sum((0, 1)) / x.shape[1]
    dx = call.spread((dy * (weight.float() / x.shape[1])).contiguous(), eps)
    return dx, dweight, dy.sum((0, 1))
