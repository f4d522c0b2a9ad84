"""VMamba, both generations (*VMamba: Visual State Space Model*, arXiv 2401.10166).

Version 0 blocks hold a gated 2-D selective scan alone; version 2 blocks a gateless one and an MLP.
"""

import re
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import Mlp, trunc_normal_
from torch import Tensor, nn

from mmvssm import scans
from mmvssm.settings import Either, Int, OneOf, check_int, refuse

from ._backbone import drop_path_rates
from ._graph import one_node
from ._layers import (
    ACTIVATIONS,
    DirectionalScan,
    LayerNorm,
    ToNCHW,
    ToNHWC,
    conv_stem,
    nchw,
    resolve_dt_rank,
)
from ._registry import Family, Variant
from ._search import Choice, Searched, relate_candidates, with_candidates
from ._settings import check_image_size, check_inner
from ._stages import VSSBackbone, VSSBlock, make_downsample, relate_stages, stage_dims
from ._timm import register

SCAN_MODES = dict(
    cross=scans.CROSS_SCAN,
    unidi=('h', 'h', 'h', 'h'),
    bidi=('h', 'h', 'h_flip', 'h_flip'),
    cascade=('h', 'h_flip'),
)
OUT_NORMS = ('layer', 'none', 'dwconv3', 'cnorm', 'softmax', 'sigmoid')
_BASE_TYPES = {
    **dict.fromkeys(('v0', 'v01', 'v02', 'v03', 'v04', 'v05', 'v2', 'v3'), 'cross'),
    **dict.fromkeys(('v051d', 'v31d'), 'unidi'),
    **dict.fromkeys(('v052d', 'v32d'), 'bidi'),
    **dict.fromkeys(('v052dc', 'v32dc'), 'cascade'),
}


def parse_forward_type(forward_type: str) -> dict:
    """Official `forward_type` string -> what it changes: gate, gate_act, out_act, out_norm, scan_mode.

    Raises:
        ValueError: an unknown base type or suffix.
    """
    base, *suffixes = forward_type.split('_') if isinstance(forward_type, str) else ('',)
    options = dict(gate=True, gate_act=True, out_act=False, out_norm='layer')
    changes: dict[str, dict[str, Any]] = dict(
        noz=dict(gate=False), nozact=dict(gate_act=False), oact=dict(out_act=True), no32={}
    )
    changes.update({f'on{name}': dict(out_norm=name) for name in OUT_NORMS[1:]})
    if base not in _BASE_TYPES or any(s not in changes for s in suffixes):
        allowed = f'one of {", ".join(_BASE_TYPES)}, followed by any of {", ".join("_" + s for s in changes)}'
        refuse('forward_type', forward_type, allowed)
    for suffix in suffixes:
        options.update(changes[suffix])
    return dict(options, scan_mode=_BASE_TYPES[base])


class SpatialSoftmax(nn.Module):
    """Softmax over the positions of a (B, H, W, C) map."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1, 2).softmax(dim=1).view_as(x)


def make_out_norm(kind: str, dim: int) -> nn.Module:
    """The module between the merge and the output projection."""

    def depthwise() -> list[nn.Module]:
        return [ToNCHW(), nn.Conv2d(dim, dim, 3, padding=1, groups=dim, bias=False), ToNHWC()]

    return dict(
        layer=lambda: LayerNorm(dim),
        none=nn.Identity,
        dwconv3=lambda: nn.Sequential(*depthwise()),
        cnorm=lambda: nn.Sequential(LayerNorm(dim), *depthwise()),
        softmax=SpatialSoftmax,
        sigmoid=nn.Sigmoid,
    )[kind]()


@one_node
class SS2D(DirectionalScan):
    """2-D selective scan of a (B, H, W, C) map: project, mix locally, scan four ways, norm, gate, project."""

    order_field = 'scan_orders'  # where a layer's orders were given, for errors

    def __init__(
        self,
        dim: int,
        d_state: int,
        ssm_ratio: float,
        dt_rank: int | str,
        d_conv: int,
        conv_bias: bool,
        act_layer: str,
        drop_rate: float,
        ssm_init: str,
        forward_type: str,
        scan_orders: tuple[scans.Order, ...] = (),
        choosing: bool = False,
    ):
        d_inner = int(ssm_ratio * dim)
        rank = resolve_dt_rank(dt_rank, dim)
        super().__init__(d_inner, d_state, rank, len(scan_orders or scans.CROSS_SCAN), ssm_init)
        options = parse_forward_type(forward_type)
        self.gate, self.gate_act = options['gate'], options['gate_act']
        self.scan_mode = options['scan_mode']
        self.scan_orders = scan_orders or SCAN_MODES[self.scan_mode]
        self.in_proj = nn.Linear(dim, 2 * d_inner if self.gate else d_inner, bias=False)
        self.conv2d = (
            nn.Conv2d(d_inner, d_inner, d_conv, padding=(d_conv - 1) // 2, groups=d_inner, bias=conv_bias)
            if d_conv > 1
            else None
        )
        self.act = ACTIVATIONS[act_layer]()
        self.multi_scan = Choice(self.scan_orders) if choosing else None
        self.out_norm = make_out_norm(options['out_norm'], d_inner)
        self.out_act = nn.GELU() if options['out_act'] else nn.Identity()
        self.out_proj = nn.Linear(d_inner, dim, bias=False)
        self.dropout = nn.Dropout(drop_rate)

    def forward(self, x: Tensor) -> Tensor:
        x = self.in_proj(x)
        if self.gate:
            x, z = x.chunk(2, dim=-1)
            z = self.act(z) if self.gate_act else z
        if self.conv2d is not None:
            x = self.conv2d(nchw(x)).permute(0, 2, 3, 1)
        x = self.act(x)
        y = self._cascade(x) if self.scan_mode == 'cascade' else self._cross(x)
        y = self.out_act(self.out_norm(y)).to(x.dtype)
        return self.dropout(self.out_proj(y * z if self.gate else y))

    def _cross(self, x: Tensor) -> Tensor:
        height, width = x.shape[1:3]
        orders = scans.orders(self.scan_orders, height, width, x.device, layer=self)
        y = self.scan(x.flatten(1, 2), orders, merge=self.multi_scan is None)
        return (y if self.multi_scan is None else self.multi_scan(y)).unflatten(1, (height, width))

    def _cascade(self, x: Tensor) -> Tensor:
        """Rows as sequences, then columns; the reversed half is added without un-reversing, as published."""
        rows = self._both_ways(F.layer_norm(x, x.shape[-1:]), first=0)
        columns = F.layer_norm(rows, rows.shape[-1:]).transpose(1, 2).contiguous().to(x.dtype)
        return self._both_ways(columns, first=2).transpose(1, 2)

    def _both_ways(self, x: Tensor, first: int) -> Tensor:
        orders = scans.orders(self.scan_orders, 1, x.shape[2], x.device)
        y = self.scan(x.flatten(0, 1), orders, first=first, merge=False)  # (B * rows, L, 2, d)
        return (y[:, :, 0] + y[:, :, 1].flip(1)).view(x.shape)

    def extra_repr(self) -> str:
        return f'scan_orders={self.scan_orders}'


class GatedMlp(nn.Module):
    """`fc2(a * act(b))` with (a, b) the halves of fc1's output."""

    def __init__(self, in_features: int, hidden_features: int, act_layer: type, drop: float):
        super().__init__()
        self.fc1 = nn.Linear(in_features, 2 * hidden_features)
        self.act = act_layer()
        self.fc2 = nn.Linear(hidden_features, in_features)
        self.drop = nn.Dropout(drop)

    def forward(self, x: Tensor) -> Tensor:
        x, z = self.fc1(x).chunk(2, dim=-1)
        return self.drop(self.fc2(x * self.act(z)))


def overlapping_stem(in_chans: int, dim: int, patch_size: int, norm: bool) -> nn.Sequential:
    """Two overlapping convolutions of stride p/2, (B, 3, H, W) -> (B, ceil(H/p), ceil(W/p), C) for p = 4."""
    stride = patch_size // 2
    conv = dict(kernel_size=stride + 1, stride=stride, padding=1)
    return nn.Sequential(
        nn.Conv2d(in_chans, dim // 2, **conv),
        ToNHWC(),
        LayerNorm(dim // 2) if norm else nn.Identity(),
        ToNCHW(),
        nn.GELU(),
        nn.Conv2d(dim // 2, dim, **conv),
        ToNHWC(),
        LayerNorm(dim) if norm else nn.Identity(),
    )


def stem_stride(version: str, patch_size: int) -> int:
    """Pixels a position of the first map is wide."""
    return (patch_size // 2) ** 2 if version == 'v2' else patch_size


class VMamba(VSSBackbone):
    """VMamba (arXiv 2401.10166); classifier, or maps at strides 4, 8, 16, 32.

    Args:
        depths: blocks of each stage.
        dims: widths; an int doubles from stage to stage.
        d_state: states of a channel.
        ssm_ratio: inner over outer width.
        dt_rank: 'auto' is ceil(width / 16).
        d_conv: kernel of the depthwise convolution (below 2: none).
        conv_bias: its bias.
        act_layer, mlp_act_layer: activation in the scan branch, in the MLP ('silu', 'gelu', 'relu', 'sigmoid').
        ssm_drop_rate, mlp_drop_rate: dropout after the scan branch, in the MLP.
        ssm_init: 'v0', 'v1' or 'v2'.
        forward_type: the official grammar, see :func:`parse_forward_type`; 'v0' gated, 'v05_noz' gateless.
        scan_orders: four scan orders, by name or function (see `mmvssm.scans`), in place of the forward_type's, or
            such a list (or None) for each block; the k-th has the k-th parameters. Or the path of a file that
            `mmvssm search` wrote. Not in cascades ('v052dc', 'v32dc').
        candidates: of the blocks without scan orders: they hold all of these and learn which to keep, the supernet of a
            search. None searches nothing.
        mlp_ratio: hidden over outer width of the MLP, 0 for none.
        gmlp: a gated MLP.
        patch_size, stem_version: 'v1' one patch convolution (any power of 2 up to 32), 'v2' two overlapping ones of
            half the patch's stride each: 2, 4 and 8 make maps from strides 1, 4 and 16 on.
        downsample_version: 'v1', 'v2' or 'v3', see :func:`make_downsample`.
        patch_norm: LayerNorms in the stem.
        pos_embed: learned embedding of the stem's grid at `img_size`, added by classifiers only (as published).
        img_size: an int or (H, W), see `pos_embed`.
        **common: see :class:`HierarchicalBackbone`; `out_norms` adds the official LayerNorms.
    """

    searched = Searched('scan_orders', count=4)
    settings = dict(d_conv=Either(OneOf(-1, 0), Int(1, odd=True)))  # an even one would shrink the map

    @classmethod
    def relate(cls, fields: SimpleNamespace) -> None:
        """The stem's patches, the widths, and orders of scans that the forward_type has not itself."""
        if fields.stem_version == 'v2':
            check_int('patch_size', fields.patch_size, (2, 4, 8))
        relate_stages(fields, stem_stride(fields.stem_version, fields.patch_size), 'dims')
        if fields.pos_embed:
            check_image_size(fields)
        dims = stage_dims(fields.dims, len(fields.depths))
        if fields.stem_version == 'v2' and dims[0] < 2:
            refuse('dims', fields.dims, "2 or more in the first stage beside stem_version='v2'")
        check_inner(fields, 'ssm_ratio', min(dims))
        if fields.mlp_ratio:
            check_inner(fields, 'mlp_ratio', min(dims))
        mode = parse_forward_type(fields.forward_type)['scan_mode']
        layers = relate_candidates(fields, 'scan_orders', sum(fields.depths), count=4)
        if fields.candidates is not None and mode == 'cascade':
            refuse('candidates', fields.candidates, f'None beside forward_type={fields.forward_type!r}')
        for i, orders in enumerate(layers):
            if orders is not None and mode == 'cascade':
                problem = f'forward_type={fields.forward_type!r} scans rows, then columns; allowed: None'
                raise ValueError(f'scan_orders[{i}]: {problem}')

    def __init__(
        self,
        depths: Sequence[int] = (2, 2, 8, 2),
        dims: int | Sequence[int] = 96,
        d_state: int = 1,
        ssm_ratio: float = 1.0,
        dt_rank: int | str = 'auto',
        d_conv: int = 3,
        conv_bias: bool = False,
        act_layer: str = 'silu',
        ssm_drop_rate: float = 0.0,
        ssm_init: str = 'v0',
        forward_type: str = 'v05_noz',
        scan_orders: Sequence | str | None = None,
        mlp_ratio: float = 4.0,
        mlp_act_layer: str = 'gelu',
        mlp_drop_rate: float = 0.0,
        gmlp: bool = False,
        patch_size: int = 4,
        stem_version: str = 'v2',
        downsample_version: str = 'v3',
        patch_norm: bool = True,
        pos_embed: bool = False,
        img_size: int | Sequence[int] = 224,
        candidates: Sequence | None = None,
        **common,
    ):
        super().__init__(**common)
        dims = stage_dims(dims, len(depths))
        rates = iter(drop_path_rates(self.drop_path_rate, sum(depths)))
        given = scans.layer_orders('scan_orders', scan_orders, sum(depths), count=4)
        orders = enumerate(with_candidates(given, candidates))

        def block(dim: int) -> VSSBlock:
            layer, (own_orders, choosing) = next(orders)
            op = SS2D(
                dim,
                d_state,
                ssm_ratio,
                dt_rank,
                d_conv,
                conv_bias,
                act_layer,
                ssm_drop_rate,
                ssm_init,
                forward_type,
                own_orders,
                choosing,
            )
            op.order_field = f'scan_orders[{layer}]'
            mlp_cls = GatedMlp if gmlp else Mlp
            mlp = (
                mlp_cls(dim, int(dim * mlp_ratio), act_layer=ACTIVATIONS[mlp_act_layer], drop=mlp_drop_rate)
                if mlp_ratio > 0
                else None
            )
            return VSSBlock(dim, op, next(rates), mlp)

        make_stem = conv_stem if stem_version == 'v1' else overlapping_stem
        self._assemble(
            stem=make_stem(self.in_chans, dims[0], patch_size, patch_norm),
            stages=[[block(dim) for _ in range(depth)] for dim, depth in zip(dims, depths)],
            downsamples=[make_downsample(downsample_version, a, b) for a, b in zip(dims[:-1], dims[1:])],
            dims=dims,
            stem_stride=stem_stride(stem_version, patch_size),
        )
        self.pos_embed = None
        if pos_embed and not self.features_only:
            height, width = (img_size, img_size) if isinstance(img_size, int) else img_size
            self.pos_embed = nn.Parameter(torch.zeros(1, dims[0], height // patch_size, width // patch_size))
            trunc_normal_(self.pos_embed, std=0.02)

    def stem(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)
        if self.pos_embed is None:
            return x
        embed = self.pos_embed
        if embed.shape[2:] != x.shape[1:3]:
            wide = embed.to(torch.promote_types(embed.dtype, torch.float32))
            embed = F.interpolate(wide, x.shape[1:3], mode='bicubic', align_corners=False).to(embed.dtype)
        return x + embed.permute(0, 2, 3, 1)


_RENAMES = [
    (r'^patch_embed\.proj\.', 'patch_embed.0.'),
    (r'^patch_embed\.norm\.', 'patch_embed.2.'),
    (r'\.ln_1\.', '.norm.'),
    (r'\.self_attention\.', '.op.'),
    (r'^norm\.(weight|bias)$', r'classifier.norm.\1'),
    (r'^head\.(weight|bias)$', r'classifier.head.\1'),
    (r'\.op\.(x_proj|dt_projs)\.weight$', r'.op.\1_weight'),
]


def checkpoint_filter_fn(state_dict: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Translate the January 2024 names and those of the repository's single-file model to the current ones."""
    own = {**model.state_dict(), **model.pruned}
    out = {}
    for key, value in state_dict.items():
        for pattern, replacement in _RENAMES:
            key = re.sub(pattern, replacement, key)
        if re.search(r'\.op\.(x_proj|dt_projs)_weight$', key) and value.ndim == 2 and value.shape[0] % 4 == 0:
            value = value.unflatten(0, (4, -1))
        # patch merging of the single-file model is an unnamed sequence, as the strided convolutions are everywhere
        merging = re.sub(r'\.downsample\.1\.(weight|bias)$', r'.downsample.norm.\1', key)
        merging = re.sub(r'\.downsample\.2\.weight$', '.downsample.reduction.weight', merging)
        out[merging if merging in own else key] = value
    return out


def _v0(**numbers) -> dict:
    """Version 0: gated scan of 16 states, no MLP, patch merging."""
    return dict(
        d_state=16,
        ssm_ratio=2.0,
        conv_bias=True,
        forward_type='v0',
        mlp_ratio=0.0,
        stem_version='v1',
        downsample_version='v1',
        **numbers,
    )


FAMILY = Family(
    VMamba,
    prefix='vmamba_',
    checkpoint_filter_fn=checkpoint_filter_fn,
    variants={
        'vmambav0_tiny': Variant('Vanilla-VMamba-T, 22.9 M parameters.', **_v0(depths=(2, 2, 9, 2), dims=96)),
        'vmambav0_small': Variant('Vanilla-VMamba-S, 44.4 M parameters.', **_v0(depths=(2, 2, 27, 2), dims=96)),
        'vmambav0_base': Variant('Vanilla-VMamba-B, 76.3 M parameters.', **_v0(depths=(2, 2, 27, 2), dims=128)),
        'vmamba_tiny_0220': Variant(
            'VMamba-T(0220), the first of the second generation and still gated, 32.5 M parameters.',
            depths=(2, 2, 4, 2),
            dims=96,
            ssm_ratio=2.0,
            forward_type='v2',
        ),
        'vmamba_tiny_s2l5': Variant('VMamba-T[s2l5], 30.7 M parameters.', depths=(2, 2, 5, 2), dims=96, ssm_ratio=2.0),
        'vmamba_small_s2l15': Variant(
            'VMamba-S[s2l15], 50.1 M parameters.', depths=(2, 2, 15, 2), dims=96, ssm_ratio=2.0
        ),
        'vmamba_base_s2l15': Variant(
            'VMamba-B[s2l15], 88.6 M parameters.', depths=(2, 2, 15, 2), dims=128, ssm_ratio=2.0
        ),
        'vmamba_tiny_s1l8': Variant(
            'VMamba-T[s1l8], the headline tiny model, 30.2 M parameters.', depths=(2, 2, 8, 2), dims=96, ssm_ratio=1.0
        ),
        'vmamba_small_s1l20': Variant(
            'VMamba-S[s1l20], 49.0 M parameters.', depths=(2, 2, 20, 2), dims=96, ssm_ratio=1.0
        ),
        'vmamba_base_s1l20': Variant(
            'VMamba-B[s1l20], 86.6 M parameters.', depths=(2, 2, 20, 2), dims=128, ssm_ratio=1.0
        ),
        'test_vmamba': Variant('A micro model for tests.', depths=(1, 1, 2, 1), dims=(16, 24, 32, 40), ssm_ratio=1.0),
    },
    short_names=dict(tiny='vmamba_tiny_s1l8', small='vmamba_small_s2l15', base='vmamba_base_s2l15'),
)
register(FAMILY)
