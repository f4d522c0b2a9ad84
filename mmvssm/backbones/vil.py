"""Vision-LSTM (*Vision-LSTM: xLSTM as Generic Vision Backbone*, arXiv 2406.04303).

A plain network of mLSTM blocks; even ones (counted from 0) read the raster sequence from its first token, odd ones from
its last. Two generations were published, `vil_*` and `vil2_*`. Modules are named as in the released checkpoints.
"""

import math
from collections.abc import Iterator, Sequence
from types import SimpleNamespace

import torch
import torch.fx
import torch.nn.functional as F
from timm.layers import DropPath, trunc_normal_
from torch import Tensor, nn

from mmvssm.kernels import mlstm
from mmvssm.settings import OneOf, refuse

from ._backbone import drop_path_rates, own_copy
from ._graph import one_node
from ._layers import LayerNorm, is_plain, layer_norm
from ._mamba_stream import convolve_causally
from ._registry import Family, Variant
from ._settings import check_divides
from ._single_stride import (
    Grid,
    PlainBackbone,
    TableResizer,
    as_map,
    pad_image,
    relate_tokens,
    resize_table,
    to_pair,
)
from ._timm import register

torch.fx.wrap('pad_image')  # these branch on sizes and dtypes: nodes of a graph, not traced
torch.fx.wrap('layer_norm')


@one_node
class ResidualGainNorm(nn.Module):
    """LayerNorm with gain 1 + weight over the last dim, in groups of their own statistics; weight starts at 0."""

    def __init__(self, dim: int, bias: bool, groups: int = 1, eps: float = 1e-5):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(dim))
        self.bias = nn.Parameter(torch.zeros(dim)) if bias else None
        self.groups = groups
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """(..., dim) -> (..., dim)."""
        if self.groups == 1:
            return layer_norm(x, 1 + self.weight, self.bias, self.eps)
        x = F.layer_norm(x.unflatten(-1, (self.groups, -1)), (x.shape[-1] // self.groups,), eps=self.eps).flatten(-2)
        y = x * (1 + self.weight) if self.bias is None else torch.addcmul(self.bias, x, 1 + self.weight)
        return y.to(x.dtype)


class BlockDiagonal(nn.Module):
    """Linear map of consecutive blocks of channels; weight (blocks, out, in), bias (dim) or None."""

    def __init__(self, dim: int, block_size: int, bias: bool):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(dim // block_size, block_size, block_size))
        self.bias = nn.Parameter(torch.zeros(dim)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, dim) -> (B, L, dim)."""
        weight = self.weight
        blocks, size, _ = weight.shape
        # Matrix products like 32 x 32 tiles better than 4 x 4 ones, zeros included.
        merge = math.gcd(blocks, max(32 // size, 1))
        if merge > 1:
            eye = torch.eye(merge, dtype=weight.dtype, device=weight.device)
            tiles = weight.unflatten(0, (-1, merge))[:, :, :, None] * eye[:, None, :, None]
            weight = tiles.flatten(3, 4).flatten(1, 2)  # (blocks / merge, merge * out, merge * in)
        inputs = x.unflatten(-1, (-1, weight.shape[-1])).movedim(2, 0).flatten(1, 2)
        y = (inputs @ weight.mT).unflatten(1, x.shape[:2]).movedim(0, 2).flatten(2)
        return y if self.bias is None else y + self.bias.to(y.dtype)

    def multiply_adds(self, x: Tensor) -> int:
        """For `mmvssm.count_flops`: the blocks alone, without the zeros between them."""
        return x.numel() * self.weight.shape[-1]


class CausalConv1d(nn.Module):
    """Depthwise convolution along the reading direction that sees no later token; key `conv`."""

    def __init__(self, dim: int, kernel_size: int, reverse: bool):
        super().__init__()
        self.conv = nn.Conv1d(dim, dim, kernel_size, padding=kernel_size - 1, groups=dim)
        self.reverse = reverse

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, C) -> (B, L, C)."""
        return convolve_causally(self.conv, x, self.reverse)


def grid_conv(dim: int, kernel_size: int) -> nn.Conv2d:
    """Depthwise convolution that keeps the grid of tokens."""
    return nn.Conv2d(dim, dim, kernel_size, padding=kernel_size // 2, groups=dim)


def convolve_grid(conv: nn.Module, x: Tensor, grid: Grid, reverse: bool) -> Tensor:
    """Tokens (B, h * w, C) -> (B, h * w, C); a reversed sequence sees the kernel turned by half a circle."""
    x = as_map(x, grid)
    if not reverse:
        y = conv(x)
    elif is_plain(conv, nn.Conv2d):  # turning the kernel is cheaper than turning the map
        y = F.conv2d(x, conv.weight.flip(2, 3), conv.bias, padding=conv.padding, groups=conv.groups)
    else:
        y = conv(x.flip(2, 3)).flip(2, 3)
    return y.permute(0, 2, 3, 1).flatten(1, 2)


def linear_each(layers: Sequence[nn.Module], x: Tensor) -> Sequence[Tensor]:
    """`[layer(x) for layer in layers]`, of linear layers of one size; x is read once where all are plain."""
    if not all(is_plain(layer, nn.Linear) and layer.bias is not None for layer in layers):
        return [layer(x) for layer in layers]
    weight, bias = (torch.cat([getattr(layer, name) for layer in layers]) for name in ('weight', 'bias'))
    return F.linear(x, weight, bias).chunk(len(layers), dim=-1)


class MLSTMCell(nn.Module):
    """Gates from q, k and v, the recurrence, and a norm for each head."""

    def __init__(self, dim: int, num_heads: int, reverse: bool, norm_bias: bool):
        super().__init__()
        self.igate = nn.Linear(3 * dim, num_heads)
        self.fgate = nn.Linear(3 * dim, num_heads)
        self.outnorm = ResidualGainNorm(dim, norm_bias, groups=num_heads)
        self.num_heads = num_heads
        self.reverse = reverse

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """(B, L, dim) each -> (B, L, dim)."""
        igate, fgate = linear_each((self.igate, self.fgate), torch.cat([q, k, v], dim=-1))
        q, k, v = (x.unflatten(-1, (self.num_heads, -1)) for x in (q, k, v))
        return self.outnorm(mlstm(q, k, v, igate, fgate, reverse=self.reverse).flatten(2))


@one_node
class ViLLayer(nn.Module):
    """Up-projection, convolution, mLSTM, gate, down-projection: what a block adds to the stream."""

    def __init__(
        self,
        dim: int,
        reverse: bool,
        expansion: int,
        num_heads: int,
        qkv_block_size: int,
        conv_kind: str,
        conv_kernel_size: int,
        proj_bias: bool,
        norm_bias: bool,
    ):
        super().__init__()
        inner = expansion * dim
        self.proj_up = nn.Linear(dim, 2 * inner, bias=proj_bias)
        self.q_proj = BlockDiagonal(inner, qkv_block_size, proj_bias)
        self.k_proj = BlockDiagonal(inner, qkv_block_size, proj_bias)
        self.v_proj = BlockDiagonal(inner, qkv_block_size, proj_bias)
        self.reverse = reverse
        self.conv1d = (
            grid_conv(inner, conv_kernel_size) if conv_kind == '2d' else CausalConv1d(inner, conv_kernel_size, reverse)
        )
        self.mlstm_cell = MLSTMCell(inner, num_heads, reverse, norm_bias)
        self.learnable_skip = nn.Parameter(torch.ones(inner))
        self.proj_down = nn.Linear(inner, dim, bias=proj_bias)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        """(B, h * w, dim) -> (B, h * w, dim)."""
        x, z = self.proj_up(x).chunk(2, dim=-1)
        c = F.silu(self._convolve(x, grid))
        h = self.mlstm_cell(self.q_proj(c), self.k_proj(c), self.v_proj(x))
        return self.proj_down(torch.addcmul(h, self.learnable_skip, c) * F.silu(z))

    def _convolve(self, x: Tensor, grid: Grid) -> Tensor:
        if isinstance(self.conv1d, CausalConv1d):
            return self.conv1d(x)
        return convolve_grid(self.conv1d, x, grid, self.reverse)


class ViLBlock(nn.Module):
    """x + drop_path(layer(norm(x)))."""

    def __init__(self, dim: int, drop_path: float, norm_bias: bool, **layer):
        super().__init__()
        self.xlstm_norm = ResidualGainNorm(dim, norm_bias)
        self.xlstm = ViLLayer(dim, norm_bias=norm_bias, **layer)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        return x + self.drop_path(self.xlstm(self.xlstm_norm(x), grid))


class PatchEmbed(nn.Module):
    """One convolution, (B, 3, H, W) -> (B, h, w, C)."""

    def __init__(self, in_chans: int, dim: int, patch_size: int, stride: int):
        super().__init__()
        self.proj = nn.Conv2d(in_chans, dim, patch_size, stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x).permute(0, 2, 3, 1)


@one_node
class PositionEmbedding(nn.Module):
    """A learned table (1, h, w, C), resized (bicubic) where the tokens have another grid."""

    def __init__(self, grid: Grid, dim: int):
        super().__init__()
        self.embed = nn.Parameter(torch.zeros(1, *grid, dim))
        self._resize = TableResizer()

    def forward(self, x: Tensor) -> Tensor:
        """(B, h, w, C) -> tokens (B, h * w, C)."""
        table = self._resize('embed', self.embed.flatten(1, 2), self.embed.shape[1:3], (x.shape[1], x.shape[2]))
        return x.flatten(1, 2) + table


class BlockStack(nn.Module):
    """The blocks and the norm behind them, as the checkpoints nest them."""

    def __init__(self, blocks: Sequence[nn.Module], post_blocks_norm: nn.Module):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.post_blocks_norm = post_blocks_norm


class VisionLSTM(PlainBackbone):
    """Vision-LSTM (arXiv 2406.04303); classifier, or maps at the patch stride.

    Defaults are those of the second generation. Inputs of any size are padded with zeros at the bottom and right to
    whole strides.

    Args:
        embed_dim: width C.
        depth: blocks; each reads in one direction (the hub package of the second generation counts pairs).
        patch_size: side of a patch.
        stride: step between patches, None for their side.
        expansion, num_heads: inner over outer width; mLSTM heads.
        conv_kind, conv_kernel_size: before q and k: '2d' on the grid, 3 x 3 (second generation), or 'causal1d' along
            the sequence, kernel 4 (first).
        qkv_block_size: side of the blocks of the block-diagonal q, k and v projections.
        proj_bias, norm_bias: biases of the projections and of the blocks' norms (second generation).
        post_norm, head_norm: the norm after the last block, the one between pooling and classifier (released: both).
        norm_eps, head_norm_eps: theirs.
        img_size: an int or (H, W), the size that the position embedding is built for, at one row for `patch_size`
            pixels whatever the stride is.
        init_weights: 'original', as trained, or 'original-fixed': down-projections divided by the depth, as was meant.
        features: what a map is: 'stream', after the block, as in the published segmentation code; 'normed', as in the
            hub package, the last block's alone after `post_norm` and another norm without parameters.
        drop_path_decay: stochastic depth grows from 0 (as fine-tuned for segmentation) instead of being the same in all
            blocks (as pre-trained).
        global_pool: 'bilateral_flatten' joins the first and the last token, 'bilateral_avg' averages them, ''
            classifies every token.
        **common: see :class:`Backbone`. `out_indices` counts blocks, None means the published ones; `out_norms` adds a
            LayerNorm for each map (not published).
    """

    pools = ('bilateral_flatten', 'bilateral_avg', '')
    settings = dict(features=OneOf('stream', 'normed'))
    head_prefixes = ('head.', 'xlstm.post_blocks_norm.')
    classifier_name = 'head.1'
    block_path = 'xlstm.blocks.{}'

    @classmethod
    def relate(cls, fields: SimpleNamespace) -> None:
        """Heads and blocks of the inner width, an odd kernel on the grid, one normed map."""
        relate_tokens(fields)
        check_divides(fields, 'num_heads', fields.expansion * fields.embed_dim)
        check_divides(fields, 'qkv_block_size', fields.expansion * fields.embed_dim)
        if fields.conv_kind == '2d' and fields.conv_kernel_size % 2 == 0:
            refuse('conv_kernel_size', fields.conv_kernel_size, "an odd size beside conv_kind='2d'")
        if fields.features == 'normed' and fields.out_indices is not None:
            refuse('out_indices', fields.out_indices, "None beside features='normed', which has one map")

    @classmethod
    def num_freezable(cls, fields: SimpleNamespace) -> int:
        """Pairs of blocks."""
        return (fields.depth + 1) // 2

    def __init__(
        self,
        embed_dim: int = 192,
        depth: int = 24,
        patch_size: int = 16,
        stride: int | None = None,
        expansion: int = 2,
        num_heads: int = 4,
        conv_kind: str = '2d',
        conv_kernel_size: int = 3,
        qkv_block_size: int = 4,
        proj_bias: bool = True,
        norm_bias: bool = True,
        post_norm: bool = True,
        head_norm: bool = True,
        norm_eps: float = 1e-6,
        head_norm_eps: float = 1e-5,
        img_size: int | Sequence[int] = 224,
        init_weights: str = 'original',
        features: str = 'stream',
        drop_path_decay: bool = False,
        global_pool: str = 'bilateral_flatten',
        **common,
    ):
        super().__init__(global_pool=global_pool, **common)
        self.patch_size, self.stride = patch_size, patch_size if stride is None else stride
        self.img_size, self.features = to_pair(img_size), features
        self.patch_embed = PatchEmbed(self.in_chans, embed_dim, patch_size, self.stride)
        self.pos_embed = PositionEmbedding(
            (-(-self.img_size[0] // patch_size), -(-self.img_size[1] // patch_size)), embed_dim
        )
        rates = drop_path_rates(self.drop_path_rate, depth)
        blocks = [
            ViLBlock(
                embed_dim,
                drop_path=rates[i] if drop_path_decay else self.drop_path_rate,
                reverse=i % 2 == 1,
                expansion=expansion,
                num_heads=num_heads,
                qkv_block_size=qkv_block_size,
                conv_kind=conv_kind,
                conv_kernel_size=conv_kernel_size,
                proj_bias=proj_bias,
                norm_bias=norm_bias,
            )
            for i in range(depth)
        ]
        has_post_norm = post_norm and (not self.features_only or features == 'normed')
        norm = ResidualGainNorm(embed_dim, norm_bias, eps=norm_eps) if has_post_norm else nn.Identity()
        self.xlstm = BlockStack(blocks, norm)
        taps = published_taps(depth)
        if features == 'normed':
            self.map_norm = nn.LayerNorm(embed_dim, eps=head_norm_eps, elementwise_affine=False)
            taps = (depth - 1,)
        self._finish_plain(depth, embed_dim, self.stride, taps)
        if not self.features_only:
            self._has_head_norm, self._head_norm_eps = head_norm, head_norm_eps
            self.head_drop = nn.Dropout(self.drop_rate)
            self._build_head()
        self._init_weights(init_weights)
        self._prune()

    def _build_head(self) -> None:
        """Norm and linear layer of the pooled width; key `head`."""
        width = self.num_features * (2 if self.global_pool == 'bilateral_flatten' else 1)
        self.head_hidden_size = width
        norm = LayerNorm(width, eps=self._head_norm_eps) if self._has_head_norm else nn.Identity()
        linear = nn.Linear(width, self.num_classes) if self.num_classes else nn.Identity()
        self.head = nn.Sequential(norm, linear)
        self._init_head()

    def _init_head(self) -> None:
        if isinstance(self.head[1], nn.Linear):
            trunc_normal_(self.head[1].weight, std=2e-5)
            nn.init.zeros_(self.head[1].bias)

    def _init_weights(self, scheme: str) -> None:
        nn.init.xavier_uniform_(self.patch_embed.proj.weight.flatten(1))
        nn.init.zeros_(self.patch_embed.proj.bias)
        trunc_normal_(self.pos_embed.embed, std=0.02)
        num_blocks = self.depth if scheme == 'original-fixed' else 1
        small = math.sqrt(2 / (5 * self.num_features))
        for block in self.xlstm.blocks:
            layer, cell = block.xlstm, block.xlstm.mlstm_cell
            for proj in (layer.proj_up, layer.q_proj, layer.k_proj, layer.v_proj):
                nn.init.normal_(proj.weight, std=small)
            nn.init.normal_(layer.proj_down.weight, std=2 / num_blocks / math.sqrt(self.num_features))
            for proj in (layer.proj_up, layer.proj_down):
                if proj.bias is not None:
                    nn.init.zeros_(proj.bias)
            nn.init.zeros_(cell.igate.weight)
            nn.init.normal_(cell.igate.bias, std=0.1)
            nn.init.zeros_(cell.fgate.weight)
            with torch.no_grad():
                cell.fgate.bias.copy_(torch.linspace(3, 6, cell.num_heads))

    def embed(self, x: Tensor) -> tuple[Tensor, Grid]:
        """Tokens with their positions, and the grid."""
        x = self.patch_embed(pad_image(x, self.patch_size, self.stride))
        return self.pos_embed(x), (x.shape[1], x.shape[2])

    def _cut(self, num: int) -> None:
        self.xlstm.blocks = self.xlstm.blocks[:num]

    def _drop_final_norm(self) -> None:
        self.xlstm.post_blocks_norm = nn.Identity()

    def run_block(self, i: int, state: Tensor, grid: Grid) -> Tensor:
        return self._run(self.xlstm.blocks[i], state, grid)

    def tap(self, i: int, state: Tensor, grid: Grid) -> Tensor:
        """The stream after block i, see `features`."""
        return state if self.features == 'stream' else self.map_norm(self.xlstm.post_blocks_norm(state))

    def finish(self, state: Tensor, grid: Grid) -> Tensor:
        return own_copy(self.xlstm.post_blocks_norm(state))

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """(B, L, C) -> logits (B, num_classes), of every token where nothing is pooled."""
        if self.global_pool == 'bilateral_flatten':
            x = torch.cat([x[:, 0], x[:, -1]], dim=-1)
        elif self.global_pool == 'bilateral_avg':
            x = (x[:, 0] + x[:, -1]) / 2
        x = self.head_drop(self.head[0](x))
        return x if pre_logits else self.head[1](x)

    def make_head(self) -> None:
        """A fresh linear layer, and a fresh norm where the width changes."""
        old, width = self.head[0], self.head_hidden_size
        self._build_head()
        self._like_the_stem(self.head)
        if self.head_hidden_size == width:
            self.head[0] = old

    def stage_groups(self) -> Iterator[list[nn.Module]]:
        """Pairs of blocks, one for each direction."""
        blocks = list(self.xlstm.blocks)
        yield from (blocks[i : i + 2] for i in range(0, self.depth, 2))

    @torch.jit.ignore
    def group_matcher(self, coarse: bool = False) -> dict:
        """Parameter groups in order of depth; pairs of blocks share one."""
        pairs = [(rf'^xlstm\.blocks\.(?:{i}|{i + 1})\.', (i // 2,)) for i in range(0, self.depth, 2)]
        return dict(
            stem=r'^patch_embed|^pos_embed',
            blocks=[*pairs, (r'^xlstm\.post_blocks_norm|^head|^outnorm', (99999,))],
        )


def published_taps(depth: int) -> tuple[int, ...]:
    """The published taps 7, 11, 15, 23 of 24 blocks; for other depths near 1/3, 1/2, 2/3 and the end."""
    if depth == 29:
        return 9, 13, 19, 28  # a backward block each but the last
    return tuple(sorted({max(round(depth * part) - 1, 0) for part in (1 / 3, 1 / 2, 2 / 3, 1)}))


def checkpoint_filter_fn(state_dict: dict[str, Tensor], model: VisionLSTM) -> dict[str, Tensor]:
    """The released checkpoints' names are this project's; the hub package's and the segmentation code's are translated.

    A position embedding of another grid is resized to the model's.
    """
    if any(key.startswith('encoder.') for key in state_dict):
        state_dict = {k.removeprefix('encoder.'): v for k, v in state_dict.items() if k.startswith('encoder.')}
    state_dict = {k: v for k, v in state_dict.items() if not k.endswith('.causal_mask')}
    if any(key.startswith('blocks.') for key in state_dict):
        has_pairs = any('.rowwise_from_' in key for key in state_dict)
        state_dict = {from_hub(key, has_pairs): value for key, value in state_dict.items()}
    table = state_dict.get('pos_embed.embed')
    own = model.pos_embed.embed.shape
    if table is None or table.shape == own or table.ndim != 4 or table.shape[-1] != own[-1]:
        return state_dict
    resized = resize_table(table.flatten(1, 2), table.shape[1:3], own[1:3])
    return {**state_dict, 'pos_embed.embed': resized.unflatten(1, own[1:3])}


def from_hub(key: str, has_pairs: bool) -> str:
    """A name of the hub package -> the released checkpoints' name.

    The package swaps the names of the norms between the generations; `has_pairs` tells the second one, whose blocks
    hold two directions.
    """
    root, _, rest = key.partition('.')
    if root == 'blocks':
        index, _, rest = rest.partition('.')
        if has_pairs:
            direction, _, rest = rest.partition('.')
            index = str(2 * int(index) + (direction == 'rowwise_from_bot_right'))
        part, _, rest = rest.partition('.')
        rest = f'conv1d.{rest.removeprefix("conv.")}' if rest.startswith('conv.') else rest
        return f'xlstm.blocks.{index}.{dict(norm="xlstm_norm", layer="xlstm").get(part, part)}.{rest}'
    post, head = ('norm', 'legacy_norm') if has_pairs else ('legacy_norm', 'norm')
    names = {post: 'xlstm.post_blocks_norm', head: 'head.0', 'head': 'head.1'}
    return f'{names.get(root, root)}.{rest}'


def _first(embed_dim: int, depth: int, **numbers) -> dict:
    """The first generation."""
    return dict(
        embed_dim=embed_dim,
        depth=depth,
        conv_kind='causal1d',
        conv_kernel_size=4,
        proj_bias=False,
        norm_bias=False,
        norm_eps=1e-5,
        head_norm_eps=1e-6,
        global_pool='bilateral_avg',
        **numbers,
    )


FAMILY = Family(
    VisionLSTM,
    prefix='vil_',
    checkpoint_filter_fn=checkpoint_filter_fn,
    variants={
        'vil_tiny': Variant('ViL-T of the first generation, 6.1 M parameters.', **_first(192, 24)),
        'vil_tinyplus': Variant('ViL-T+, 7.3 M parameters; its 29 blocks end with a forward one.', **_first(192, 29)),
        'vil_small': Variant('ViL-S of the first generation, 22.8 M parameters.', **_first(384, 24)),
        'vil_smallplus': Variant('ViL-S+, 24.6 M parameters.', **_first(384, 26)),
        'vil_base': Variant('ViL-B of the first generation, 88.1 M parameters.', **_first(768, 24)),
        'vil_tiny_stride8': Variant(
            'ViL-T with patches that overlap by half; never published.', **_first(192, 24, stride=8)
        ),
        'vil_tinyplus_stride8': Variant(
            'ViL-T+ with patches that overlap by half: 27 x 27 tokens at 224.', **_first(192, 29, stride=8)
        ),
        'vil_small_stride8': Variant(
            'ViL-S with patches that overlap by half; never published.', **_first(384, 24, stride=8)
        ),
        'vil_smallplus_stride8': Variant('ViL-S+ with patches that overlap by half.', **_first(384, 26, stride=8)),
        'vil_base_stride8': Variant('ViL-B with patches that overlap by half.', **_first(768, 24, stride=8)),
        'vil2_tiny': Variant('ViL-T, 6.4 M parameters.', embed_dim=192, depth=24),
        'vil2_small': Variant('ViL-S, 23.4 M parameters.', embed_dim=384, depth=24),
        'vil2_base': Variant('ViL-B, 89.3 M parameters.', embed_dim=768, depth=24),
        'test_vil': Variant('A micro model for tests.', embed_dim=32, depth=4, img_size=64),
    },
)
register(FAMILY)
