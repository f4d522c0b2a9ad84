"""Modules that several families are built from; parameter names are those of the official state dicts."""

import math
from collections.abc import Sequence

import torch
import torch.fx
import torch.nn.functional as F
from timm.layers import trunc_normal_
from torch import Tensor, nn
from torch.nn.modules import module as global_hooks
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from mmvssm import scans
from mmvssm.kernels import selective_scan
from mmvssm.kernels.derivatives import differentiable_twice, transformed
from mmvssm.tracing import is_compiling

ACTIVATIONS = dict(silu=nn.SiLU, gelu=nn.GELU, relu=nn.ReLU, sigmoid=nn.Sigmoid)


HOOKS = ('_forward_pre_hooks', '_forward_hooks', '_backward_pre_hooks', '_backward_hooks')


def is_plain(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether calling `module` is what `kind` (nn.Linear, nn.Conv1d, ...) does with its weight and bias, and no more.

    Then a fused operation may take weight and bias. An adapter, a quantised layer, a parametrised, pruned, offloaded or
    hooked one has to be called.
    """
    return (
        type(module) is kind
        and 'forward' not in module.__dict__
        and not any(getattr(module, hooks) or getattr(global_hooks, f'_global{hooks}') for hooks in HOOKS)
        and not any(p is not None and is_traceable_wrapper_subclass(p) for p in (module.weight, module.bias))
    )


@torch.fx.wrap
def answer_dtype(x: Tensor) -> torch.dtype:
    """What norms and scans of `x` answer in: x's dtype; under autocast, which narrows by itself, float32 at least."""
    on = x.device.type
    autocast = on != 'meta' and torch.is_autocast_enabled(on)  # the meta device has none
    return torch.promote_types(x.dtype, torch.float32) if autocast else x.dtype


@torch.fx.wrap
def layer_norm(x: Tensor, weight: Tensor, bias: Tensor | None, eps: float) -> Tensor:
    """LayerNorm over the last dimension, computed in the wider of x's and weight's precision."""
    wide = torch.promote_types(x.dtype, weight.dtype)
    bias = None if bias is None else bias.to(wide)
    return F.layer_norm(x.to(wide), weight.shape, weight.to(wide), bias, eps).to(answer_dtype(x))


@torch.fx.wrap
def rms_norm(x: Tensor, weight: Tensor, eps: float | None) -> Tensor:
    """RMSNorm over the last dimension, computed in the wider of x's and weight's precision."""
    wide = torch.promote_types(x.dtype, weight.dtype)
    return F.rms_norm(x.to(wide), weight.shape, weight.to(wide), eps).to(answer_dtype(x))


class LayerNorm(nn.LayerNorm):
    """LayerNorm that may be kept in float32 inside a half model, and the other way round."""

    def forward(self, x: Tensor) -> Tensor:
        return layer_norm(x, self.weight, self.bias, self.eps)


class RMSNorm(nn.RMSNorm):
    """RMSNorm that may be kept in float32 inside a half model, and the other way round."""

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight, self.eps)


def nchw(x: Tensor) -> Tensor:
    """A (B, H, W, C) map as a convolution takes it, (B, C, H, W): a view, and under torch.compile on the CPU a copy.

    Inductor fails at symbolic sizes where a view that a convolution reads is kept for the backward pass: it sorts its
    strides, of which it cannot tell the larger (pytorch/pytorch#185510). The copy has the layout that it chooses.
    """
    x = x.permute(0, 3, 1, 2)
    return x.contiguous() if is_compiling() and x.device.type == 'cpu' else x


class ToNCHW(nn.Module):
    """`nchw` as a module."""

    def forward(self, x: Tensor) -> Tensor:
        return nchw(x)


class ToNHWC(nn.Module):
    """(B, C, H, W) -> (B, H, W, C), a view."""

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1)


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(d)) v of q (..., M, d), k and v (..., N, d): torch's fused form, with every derivative."""
    if transformed():
        return _attention(q, k, v)
    return differentiable_twice(F.scaled_dot_product_attention(q, k, v), _attention, q, k, v)


def _attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.softmax(q * q.shape[-1] ** -0.5 @ k.mT, dim=-1) @ v


def conv_stem(in_chans: int, dim: int, patch_size: int, norm: bool = True) -> nn.Sequential:
    """One patch-sized convolution without padding, then LayerNorm: (B, 3, H, W) -> (B, floor(H/p), floor(W/p), C)."""
    return nn.Sequential(
        nn.Conv2d(in_chans, dim, patch_size, patch_size),
        ToNHWC(),
        LayerNorm(dim) if norm else nn.Identity(),
    )


class PatchMerging(nn.Module):
    """Swin's 2x2 merging, (B, H, W, C) -> (B, ceil(H/2), ceil(W/2), out_dim); odd maps get a zero row or column.

    With `stride` 1 the map keeps its size, each position merged with those `dilation` below and right of it.
    """

    def __init__(self, dim: int, out_dim: int):
        super().__init__()
        self.norm = LayerNorm(4 * dim)
        self.reduction = nn.Linear(4 * dim, out_dim, bias=False)
        self.stride, self.dilation = 2, 1

    def forward(self, x: Tensor) -> Tensor:
        height, width, step = x.shape[1], x.shape[2], self.dilation
        places = [(row * step, col * step) for col in (0, 1) for row in (0, 1)]  # the second one is the row offset
        if self.stride == 2:
            x = F.pad(x, (0, 0, 0, width % 2, 0, height % 2))
            corners = [x[:, row::2, col::2] for row, col in places]
        else:
            x = F.pad(x, (0, 0, 0, step, 0, step))
            corners = [x[:, row : row + height, col : col + width] for row, col in places]
        return self.reduction(self.norm(torch.cat(corners, dim=-1)))


def resolve_dt_rank(dt_rank: int | str, dim: int) -> int:
    """The rank of the step sizes' projection; 'auto' is ceil(dim / 16)."""
    return dt_rank if isinstance(dt_rank, int) else math.ceil(dim / 16)


def inverse_softplus_dt(shape: Sequence[int], low: float = 1e-3, high: float = 0.1, floor: float = 1e-4) -> Tensor:
    """dt biases whose softplus is log-uniform in [low, high] (Mamba, section 3.6)."""
    dt = torch.exp(torch.empty(shape).uniform_(math.log(low), math.log(high))).clamp(min=floor)
    return dt + torch.log(-torch.expm1(-dt))


class DirectionalScan(nn.Module):
    """Packed parameters of K scan directions over one map, and the scan itself.

    Row `k * d_inner + c` of `A_logs` and `Ds` belongs to direction k, channel c.

    Args:
        d_inner: channels d.
        d_state: states N of a channel.
        dt_rank: rank R of the step size's projection.
        num_directions: K.
        ssm_init: 'v0' (Mamba's), 'v1' or 'v2' (VMamba's ablations).
    """

    def __init__(self, d_inner: int, d_state: int, dt_rank: int, num_directions: int, ssm_init: str = 'v0'):
        super().__init__()
        k, d, n, r = num_directions, d_inner, d_state, dt_rank
        self.d_inner, self.d_state, self.dt_rank, self.num_directions = d, n, r, k
        self.x_proj_weight = nn.Parameter(torch.empty(k, r + 2 * n, d).uniform_(-(d**-0.5), d**-0.5))
        if ssm_init == 'v0':
            self.dt_projs_weight = nn.Parameter(torch.empty(k, d, r).uniform_(-(r**-0.5), r**-0.5))
            self.dt_projs_bias = nn.Parameter(inverse_softplus_dt((k, d)))
            self.A_logs = nn.Parameter(torch.arange(1.0, n + 1).log().repeat(k * d, 1))
        else:
            draw = torch.randn if ssm_init == 'v1' else torch.rand
            self.dt_projs_weight = nn.Parameter(0.1 * draw(k, d, r))
            self.dt_projs_bias = nn.Parameter(0.1 * draw(k, d))
            self.A_logs = nn.Parameter(torch.randn(k * d, n) if ssm_init == 'v1' else torch.zeros(k * d, n))
        self.Ds = nn.Parameter(torch.ones(k * d))

    def scan(self, x: Tensor, orders: scans.Orders, first: int = 0, merge: bool = True) -> Tensor:
        """Scan tokens x (B, L, d) along `orders`, with the parameters of directions `first`, `first + 1`, ...

        Returns (B, L, d), the sum of the directions, or (B, L, K, d) where `merge` is False; in float32 under autocast.
        """
        k = orders.index.shape[0]
        weight = self.x_proj_weight[first : first + k]
        projected = F.linear(x, weight.flatten(0, 1).to(x.dtype)).unflatten(-1, (k, -1))
        return self.scan_projected(x, projected, orders, first, merge)

    def scan_projected(
        self, x: Tensor, projected: Tensor, orders: scans.Orders, first: int = 0, merge: bool = True
    ) -> Tensor:
        """As :meth:`scan`, given the tokens' dt, B and C: `projected` (B, L, K, R + 2N)."""
        n = self.d_state
        own = slice(first, first + orders.index.shape[0])
        dt, B, C = projected.split([self.dt_rank, n, n], dim=-1)
        A = -torch.exp(self.A_logs.unflatten(0, (-1, self.d_inner))[own].to(_compute_dtype(x)))
        return selective_scan(
            x,
            dt,
            A,
            B,
            C,
            self.Ds.unflatten(0, (-1, self.d_inner))[own],
            self.dt_projs_bias[own],
            dt_weight=self.dt_projs_weight[own],
            orders=orders,
            merge=merge,
            out_dtype=answer_dtype(x),
        )


def _compute_dtype(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def init_linear(module: nn.Module) -> None:
    """Truncated normal of std 0.02 for linear weights, zero biases; convolutions keep torch's default."""
    if isinstance(module, nn.Linear) and not module.weight.is_meta:  # on the meta device it is slow and vain
        trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class ClassifierHead(nn.Module):
    """LayerNorm on a (B, H, W, C) map, global average pool, linear; keys `norm.*`, `head.*`."""

    def __init__(self, dim: int, num_classes: int, global_pool: str = 'avg', drop_rate: float = 0.0):
        super().__init__()
        self.dim = dim
        self.norm = LayerNorm(dim)
        self.drop = nn.Dropout(drop_rate)
        self.head = nn.Identity()
        self.reset(num_classes, global_pool)

    def reset(self, num_classes: int, global_pool: str | None = None) -> None:
        if global_pool is not None:
            self.global_pool = global_pool
        self.head = nn.Linear(self.dim, num_classes) if num_classes else nn.Identity()
        init_linear(self.head)

    def forward(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Of an already normed map; without pooling the linear layer acts per position."""
        if self.global_pool == 'avg':
            x = x.mean(dim=(1, 2))
        x = self.drop(x)
        return x if pre_logits else self.head(x)
