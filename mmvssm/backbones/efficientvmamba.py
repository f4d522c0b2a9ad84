"""EfficientVMamba (*EfficientVMamba: Atrous Selective Scan for Light Weight Visual Mamba*, arXiv 2403.09977).

Two stages of blocks that scan four disjoint sub-lattices of the map beside a small convolution branch, then two
stages of inverted residuals.
"""

import math
import re
from collections.abc import Sequence
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from timm.layers import DropPath, Mlp
from torch import Tensor, nn

from mmvssm import scans
from mmvssm.settings import OneOf, refuse

from ._backbone import drop_path_rates
from ._graph import one_node
from ._layers import DirectionalScan, LayerNorm, ToNCHW, ToNHWC, conv_stem, nchw
from ._local import BiAttn
from ._registry import Family, Variant
from ._settings import check_inner
from ._stages import VSSBackbone, make_downsample, relate_stages, stage_dims
from ._timm import register

MAX_SCAN_RATIO = 2.0  # the official scan is never wider than this; a wider block projects down before it and up after


def lattice_linear(x: Tensor, weight: Tensor) -> Tensor:
    """Project each token with the weight of its own lattice: (B, H, W, D), (4, E, D) -> (B, H, W, E), without bias.

    Lattice k holds the pixels of row parity k % 2 and column parity k // 2.
    """
    height, width = x.shape[1:3]
    x = F.pad(x, (0, 0, 0, width % 2, 0, height % 2))
    cells = x.unflatten(2, (-1, 2)).unflatten(1, (-1, 2))  # (B, h, row parity, w, column parity, D)
    out = torch.einsum('bhrwcd,cred->bhrwce', cells, weight.unflatten(0, (2, 2)))
    return out.flatten(3, 4).flatten(1, 2)[:, :height, :width]


@one_node
class AtrousSS2D(DirectionalScan):
    """Selective scan of a (B, H, W, C) map on four sub-lattices of step 2 (ES2D, section 4.1 of the paper).

    Every token lies in exactly one lattice, so the merge only puts the outputs back in place. Along `scan_orders` of
    the user's, which may read any tokens, every order projects all of them, and the outputs are added up.
    """

    order_field = 'scan_orders'  # where a layer's orders were given, for errors

    def __init__(
        self,
        dim: int,
        d_state: int,
        ssm_ratio: float,
        scan_orders: tuple[scans.Order, ...] | None = None,
    ):
        d_expand = int(ssm_ratio * dim)
        d_inner = int(min(ssm_ratio, MAX_SCAN_RATIO) * dim)
        super().__init__(d_inner, d_state, math.ceil(dim / 16), len(scans.ATROUS_SCAN))
        self.scan_orders = scan_orders or scans.ATROUS_SCAN
        self.in_proj = nn.Linear(dim, 2 * d_expand, bias=False)
        self.conv2d = nn.Conv2d(d_expand, d_expand, 3, padding=1, groups=d_expand)
        if d_inner < d_expand:
            self.in_rank = nn.Conv2d(d_expand, d_inner, 1, bias=False)
            self.out_rank = nn.Linear(d_inner, d_expand, bias=False)
        else:
            self.in_rank = self.out_rank = nn.Identity()
        self.out_norm = LayerNorm(d_inner)
        self.out_proj = nn.Linear(d_expand, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x, z = self.in_proj(x).chunk(2, dim=-1)
        x = self.in_rank(F.silu(self.conv2d(nchw(x)))).permute(0, 2, 3, 1)
        height, width = x.shape[1:3]
        orders = scans.orders(self.scan_orders, height, width, x.device, layer=self)
        if self.scan_orders == scans.ATROUS_SCAN:  # a lattice reads its own tokens only, so they alone are projected
            projected = lattice_linear(x, self.x_proj_weight.to(x.dtype)).flatten(1, 2).unsqueeze(2)
            y = self.scan_projected(x.flatten(1, 2), projected.expand(-1, -1, self.num_directions, -1), orders)
        else:
            y = self.scan(x.flatten(1, 2), orders)
        y = self.out_norm(y).to(x.dtype).unflatten(1, (height, width))
        return self.out_proj(self.out_rank(y) * F.silu(z))

    def extra_repr(self) -> str:
        return f'scan_orders={self.scan_orders}'


class EVSSBlock(nn.Module):
    """Atrous scan and convolution branches of one normed input, both gated by the same unit; (B, H, W, C).

    Args:
        op: the atrous scan.
        mlp_ratio: hidden over outer width of an MLP after them; 0 (as published) for none.
    """

    def __init__(self, dim: int, op: nn.Module, mlp_ratio: float, drop_path: float):
        super().__init__()
        self.norm = LayerNorm(dim)
        self.op = op
        self.conv_branch = nn.Sequential(
            nn.Conv2d(dim, dim, 3, padding=1, groups=dim), nn.BatchNorm2d(dim), nn.GELU(), nn.Conv2d(dim, dim, 1)
        )
        self.se = BiAttn(dim)
        self.drop_path = DropPath(drop_path)
        self.norm2 = LayerNorm(dim) if mlp_ratio > 0 else None
        self.mlp = Mlp(dim, int(dim * mlp_ratio)) if mlp_ratio > 0 else None

    def gated(self, x: Tensor) -> Tensor:
        return x * self.se(x.flatten(1, 2)).unsqueeze(1)

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm(x)
        local = self.conv_branch(nchw(normed)).permute(0, 2, 3, 1)
        x = x + self.drop_path(self.gated(self.op(normed)) + self.gated(local))
        if self.mlp is not None and self.norm2 is not None:
            x = x + self.drop_path(self.mlp(self.norm2(x)))
        return x


class SqueezeExcite(nn.Module):
    """Channel gate of a (B, C, H, W) map from its mean over positions."""

    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.conv_reduce = nn.Conv2d(dim, hidden, 1)
        self.conv_expand = nn.Conv2d(hidden, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = x.mean(dim=(2, 3), keepdim=True)
        return x * self.conv_expand(F.relu(self.conv_reduce(pooled))).sigmoid()


def conv_bn(dim: int, out_dim: int, kernel: int, groups: int = 1) -> nn.Sequential:
    """Convolution of stride 1 that keeps the map's size, without bias, and BatchNorm."""
    conv = nn.Conv2d(dim, out_dim, kernel, padding=kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_dim))


class InvertedResidual(nn.Module):
    """MobileNetV2's block with squeeze-excitation on the widened map; (B, C, H, W).

    Args:
        expansion: hidden over outer width.
        se_ratio: width of the squeeze over the hidden width.
    """

    def __init__(self, dim: int, drop_path: float, expansion: int = 4, se_ratio: float = 0.125):
        super().__init__()
        hidden = expansion * dim
        self.conv_pw = conv_bn(dim, hidden, 1)
        self.conv_dw = conv_bn(hidden, hidden, 3, groups=hidden)
        self.se = SqueezeExcite(hidden, int(hidden * se_ratio))
        self.conv_pw2 = conv_bn(hidden, dim, 1)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        t = F.relu(self.conv_dw(F.relu(self.conv_pw(x))))
        return x + self.drop_path(self.conv_pw2(self.se(t)))


class EfficientVMamba(VSSBackbone):
    """EfficientVMamba (arXiv 2403.09977); classifier, or maps at strides 4, 8, 16, 32.

    Args:
        depths: blocks of each stage; the first two stages scan, later ones are inverted residuals.
        dims: widths; an int doubles from stage to stage.
        d_state: states of a channel.
        ssm_ratio: inner over outer width of the scanning blocks (the scan itself is at most twice as wide as the
            block).
        scan_orders: four scan orders, by name or function (see `mmvssm.scans`), in place of the four lattices, or such
            a list (or None) for each scanning block; the k-th has the k-th parameters.
        mlp_ratio: hidden over outer width of an MLP in the scanning blocks, 0 (as published) for none.
        downsample_version: 'v1' patch merging (as published), 'v2' 2x2 strided convolution.
        patch_size, patch_norm: the stem's convolution, and whether a LayerNorm follows it.
        **common: see :class:`HierarchicalBackbone`; `out_norms` adds the official LayerNorms.
    """

    settings = dict(downsample_version=OneOf('v1', 'v2'))

    @classmethod
    def relate(cls, fields: SimpleNamespace) -> None:
        """Widths for each stage, orders for each layer that scans."""
        relate_stages(fields, fields.patch_size, 'dims')
        dims = stage_dims(fields.dims, len(fields.depths))
        if any(dim < 2 for dim in dims[2:]):
            refuse('dims', fields.dims, '2 or more from the third stage on, for its squeeze')
        scanning = dims[:2]
        check_inner(fields, 'ssm_ratio', min(scanning))
        if fields.mlp_ratio:
            check_inner(fields, 'mlp_ratio', min(scanning))
        scans.layer_orders('scan_orders', fields.scan_orders, sum(fields.depths[:2]), count=4)

    def __init__(
        self,
        depths: Sequence[int] = (2, 2, 4, 2),
        dims: int | Sequence[int] = 48,
        d_state: int = 16,
        ssm_ratio: float = 2.0,
        scan_orders: Sequence | None = None,
        mlp_ratio: float = 0.0,
        downsample_version: str = 'v1',
        patch_size: int = 4,
        patch_norm: bool = True,
        **common,
    ):
        super().__init__(**common)
        dims = stage_dims(dims, len(depths))
        rates = iter(drop_path_rates(self.drop_path_rate, sum(depths)))
        layers = enumerate(scans.layer_orders('scan_orders', scan_orders, sum(depths[:2]), count=4))

        def block(stage: int) -> nn.Module:
            if stage < 2:
                layer, orders = next(layers)
                op = AtrousSS2D(dims[stage], d_state, ssm_ratio, orders)
                op.order_field = f'scan_orders[{layer}]'
                return EVSSBlock(dims[stage], op, mlp_ratio, next(rates))
            return InvertedResidual(dims[stage], next(rates))

        self._assemble(
            stem=conv_stem(self.in_chans, dims[0], patch_size, patch_norm),
            stages=[[block(stage) for _ in range(depth)] for stage, depth in enumerate(depths)],
            downsamples=[make_downsample(downsample_version, a, b) for a, b in zip(dims[:-1], dims[1:])],
            dims=dims,
            stem_stride=patch_size,
        )

    @staticmethod
    def _make_stage(blocks: list[nn.Module], downsample: nn.Module) -> nn.Sequential:
        """Scanning stages have named parts; the convolutional ones are flat, as in the official state dict."""
        if blocks and isinstance(blocks[0], EVSSBlock):
            return VSSBackbone._make_stage(blocks, downsample)
        return nn.Sequential(ToNCHW(), *blocks, ToNHWC(), downsample)

    def run_stage(self, i: int, x: Tensor) -> Tensor:
        stage = self.layers[i]
        for block in stage.blocks if hasattr(stage, 'blocks') else stage[:-1]:
            x = self._run(block, x)
        return x

    def downsample(self, i: int, x: Tensor) -> Tensor:
        return self.layers[i][-1](x)

    @torch.jit.ignore
    def group_matcher(self, coarse: bool = False) -> dict:
        """Parameter groups in order of depth, for layer-wise learning-rate decay."""
        groups = super().group_matcher(coarse)
        if not coarse:
            groups['blocks'].insert(-1, (r'^layers\.(\d+)\.(\d+)', None))  # blocks and downsampling of flat stages
        return groups


_RENAMES = [  # VMamba's earlier spellings, which the official loader still takes
    (r'^patch_embed\.proj\.', 'patch_embed.0.'),
    (r'^patch_embed\.norm\.', 'patch_embed.2.'),
    (r'\.ln_1\.', '.norm.'),
    (r'\.self_attention\.', '.op.'),
    (r'^norm\.', 'classifier.norm.'),
    (r'^head\.', 'classifier.head.'),
]


def checkpoint_filter_fn(state_dict: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Translate VMamba's earlier names; the released files have the current ones."""
    out = {}
    for key, value in state_dict.items():
        for pattern, replacement in _RENAMES:
            key = re.sub(pattern, replacement, key)
        out[key] = value
    return out


FAMILY = Family(
    EfficientVMamba,
    prefix='efficientvmamba_',
    checkpoint_filter_fn=checkpoint_filter_fn,
    variants={
        'efficientvmamba_tiny': Variant('EfficientVMamba-T, 6.5 M parameters.', depths=(2, 2, 4, 2), dims=48),
        'efficientvmamba_small': Variant(
            "EfficientVMamba-S, 11.3 M parameters: 64 wide, as its training log says, not 96 as the paper's table.",
            depths=(2, 2, 4, 2),
            dims=64,
        ),
        'efficientvmamba_base': Variant('EfficientVMamba-B, 33.7 M parameters.', depths=(2, 2, 9, 2), dims=96),
        'test_efficientvmamba': Variant('A micro model for tests.', depths=(1, 2, 1, 1), dims=(16, 24, 32, 40)),
    },
)
register(FAMILY)
