"""What LocalVim and Vim share: a residual stream with "add, norm, mix" blocks, rotated tokens, a class token.

With h the last mixer output and r the stream, a block does `r <- r + drop_path(h)`, then `h <- mixer(norm(r))`: its
output joins the stream only at the next block (Vim, arXiv 2401.09417; so do the `mamba_ssm` package's blocks).
"""

import functools
import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
import torch.fx
import torch.nn.functional as F
from timm.layers import DropPath, trunc_normal_
from torch import Tensor, nn

from mmvssm import scans
from mmvssm.kernels import causal_conv, selective_scan
from mmvssm.settings import refuse
from mmvssm.tracing import is_symbolic

from ._backbone import drop_path_rates
from ._layers import LayerNorm, RMSNorm, answer_dtype, inverse_softplus_dt, is_plain
from ._settings import check_inner
from ._single_stride import (
    Grid,
    PlainBackbone,
    TableResizer,
    grid_size,
    pad_image,
    relate_tokens,
    resize_table,
    square_grid,
    to_pair,
)

torch.fx.wrap('pad_image')  # these branch on sizes and dtypes: nodes of a graph, not traced
torch.fx.wrap('widen')
torch.fx.wrap('answer_dtype')


def convolve_causally(conv: nn.Module, x: Tensor, reverse: bool = False) -> Tensor:
    """:func:`causal_conv` by a module that pads both ends of (B, d, L) by one less than its width."""
    if is_plain(conv, nn.Conv1d):
        return causal_conv(x, conv.weight, conv.bias, reverse)
    x = x.flip(1) if reverse else x
    y = conv(x.mT)[..., : x.shape[1]].mT
    return y.flip(1) if reverse else y


def rotation_tables(grid: Grid, dim: int, pretrained_grid: int = 14, device=None) -> tuple[Tensor, Tensor]:
    """cos and sin, each (h * w, dim): half of the channels turn with the row, half with the column.

    Coordinates are stretched to the pre-training grid; adjacent channels form the pairs that are rotated.
    """
    half = dim // 2
    frequencies = 1.0 / 10000.0 ** (torch.arange(0, half, 2, dtype=torch.float32, device=device) / half)
    row, column = (torch.arange(n, dtype=torch.float32, device=device) / n * pretrained_grid for n in grid)
    angles = [(t[:, None] * frequencies).repeat_interleave(2, dim=-1) for t in (row, column)]
    both = torch.cat([angles[0][:, None].expand(*grid, -1), angles[1][None].expand(*grid, -1)], dim=-1)
    return both.cos().flatten(0, 1), both.sin().flatten(0, 1)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn adjacent channels (a, b) of x (..., L, C) to (a cos - b sin, b cos + a sin)."""
    a, b = x.unflatten(-1, (-1, 2)).unbind(-1)
    return x * cos.to(x.dtype) + torch.stack([-b, a], dim=-1).flatten(-2) * sin.to(x.dtype)


def widen(x: Tensor) -> Tensor:
    """x in float32 at least."""
    return x if x.dtype == torch.float64 else x.float()


def class_positions(num_patches: int, where: str | None) -> tuple[int, ...]:
    """Where class tokens stand in a sequence of `num_patches` patches and themselves."""
    return {None: (), 'middle': (num_patches // 2,), 'first': (0,), 'both': (0, num_patches + 1)}[where]


def split_class(sequence: Tensor, num_patches: int, where: str | None) -> tuple[Tensor, list[Tensor]]:
    """Patches (B, N, C) in raster order, and the class tokens (B, 1, C), of a sequence (B, L, C)."""
    if where is None:
        return sequence, []
    first, *rest = class_positions(num_patches, where)
    last = rest[0] if rest else num_patches + 1
    tokens = [sequence[:, p : p + 1] for p in (first, *rest)]
    return torch.cat([sequence[:, :first], sequence[:, first + 1 : last]], dim=1), tokens


def join_class(patches: Tensor, tokens: Sequence[Tensor], where: str | None) -> Tensor:
    """The sequence of patches (B, N, C) and class tokens (B, 1, C)."""
    if where is None:
        return patches
    p = class_positions(patches.shape[1], where)[0]
    return torch.cat([patches[:, :p], tokens[0], patches[:, p:], *tokens[1:]], dim=1)


def with_class_token(orders: scans.Orders, position: int) -> scans.Orders:
    """The same orders on a sequence that has one more token at `position`; every order reads it at that step too."""
    index = torch.where(orders.index >= position, orders.index + 1, orders.index)
    token = index.new_full((index.shape[0], 1), position)
    index = torch.cat([index[:, :position], token, index[:, position:]], dim=1)
    return scans.Orders(index, orders.lengths.clamp(min=position) + 1, orders.num_tokens + 1)


def routes_around_class(orders: scans.Orders, whole: bool) -> scans.Routes:
    """`scans.routes` of a sequence with a class token in its middle."""
    return scans.routes(with_class_token(orders, class_positions(orders.num_tokens, 'middle')[0]), whole)


class RotaryTables(nn.Module):
    """The constant tables `freqs_cos`, `freqs_sin` as they stand in checkpoints.

    For another grid they are resized one by one, as published, not recomputed.
    """

    def __init__(self, grid: Grid, dim: int, pretrained_grid: int):
        super().__init__()
        cos, sin = rotation_tables(grid, dim, pretrained_grid)
        self.register_buffer('freqs_cos', cos)
        self.register_buffer('freqs_sin', sin)
        self.grid = grid
        self._resize = TableResizer()

    def forward(self, grid: Grid) -> tuple[Tensor, Tensor]:
        """cos and sin, (h * w, C)."""
        return (
            self._resize('cos', self.freqs_cos, self.grid, grid),
            self._resize('sin', self.freqs_sin, self.grid, grid),
        )


class StreamBlock(nn.Module):
    """`mixer(norm(r))`; `drop_path` acts on that output when it joins the stream."""

    def __init__(self, norm: nn.Module, mixer: nn.Module, drop_path: float):
        super().__init__()
        self.norm = norm
        self.mixer = mixer
        self.drop_path = DropPath(drop_path)

    def forward(self, stream: Tensor, grid: Grid, dtype: torch.dtype) -> Tensor:
        """The stream may be wider than `dtype`, which the mixer computes in."""
        return self.mixer(self.norm(stream).to(dtype), grid)


class Directions(nn.Module):
    """Base of the mixers: K branches, each with a convolution, projections and a state of its own, scanned as one.

    The k-th branch's modules and parameters are found by their official names, see `branch_names`.
    """

    branch_names: Sequence[dict[str, str]]

    def make_branches(self, d: int, d_state: int, d_conv: int, dt_rank: int) -> None:
        self.d_state, self.dt_rank = d_state, dt_rank
        for names in self.branch_names:
            self.add_module(names['conv'], nn.Conv1d(d, d, d_conv, groups=d, padding=d_conv - 1))
            self.add_module(names['x_proj'], nn.Linear(d, dt_rank + 2 * d_state, bias=False))
            self.add_module(names['dt_proj'], nn.Linear(dt_rank, d))
            state = torch.arange(1.0, d_state + 1).log().repeat(d, 1)
            self.register_parameter(names['A_log'], nn.Parameter(state))
            self.register_parameter(names['D'], nn.Parameter(torch.ones(d)))

    def each(self, role: str) -> list:
        """The branches' modules or parameters of one role: conv, x_proj, dt_proj, A_log, D."""
        return [getattr(self, names[role]) for names in self.branch_names]

    def convolved(self, x: Tensor) -> Tensor:
        """The branches' convolutions, each of its own input x (B, L, K, d), and SiLU; every branch looks back."""
        convs = self.each('conv')
        if all(is_plain(conv, nn.Conv1d) and (conv.bias is None) == (convs[0].bias is None) for conv in convs):
            weight = torch.cat([conv.weight for conv in convs])
            bias = None if convs[0].bias is None else torch.cat([conv.bias for conv in convs])
            return F.silu(causal_conv(x.flatten(2), weight, bias)).unflatten(2, x.shape[2:])
        each = zip(x.unbind(2), convs)
        return F.silu(torch.stack([convolve_causally(conv, own) for own, conv in each], dim=2))

    def projected(self, u: Tensor) -> Tensor:
        """dt, B and C of each branch's own u (B, L, K, d): (B, L, K, R + 2N)."""
        layers = self.each('x_proj')
        if all(is_plain(proj, nn.Linear) and proj.bias is None for proj in layers):
            weights = torch.stack([proj.weight for proj in layers])
            return (u.flatten(0, 1).transpose(0, 1) @ weights.mT).transpose(0, 1).unflatten(0, u.shape[:2])
        return torch.stack([proj(own) for own, proj in zip(u.unbind(2), layers)], dim=2)

    def scan(self, u: Tensor, orders: scans.Orders, merge: bool = True) -> Tensor:
        """Project and scan the convolved branches u (B, L, K, d); (B, L, d) where `merge`, else (B, L, K, d)."""
        dt, B, C = self.projected(u).split([self.dt_rank, self.d_state, self.d_state], dim=-1)
        A_log = torch.stack(self.each('A_log'))
        dt, dt_weight, dt_bias = self._step_sizes(dt)
        return selective_scan(
            u,
            dt,
            -torch.exp(A_log if A_log.dtype == torch.float64 else A_log.float()),
            B,
            C,
            torch.stack(self.each('D')),
            dt_bias,
            dt_weight=dt_weight,
            orders=orders,
            merge=merge,
        )

    def scan_along(self, x: Tensor, routes: scans.Routes) -> Tensor:
        """Read tokens x (B, L, d) along the branches' orders, convolve, scan and write back: (B, L, K, d)."""
        u = self.convolved(scans.read_steps(x, routes))
        in_turn = scans.orders(('h',) * u.shape[2], 1, u.shape[1], x.device)
        return scans.write_steps(self.scan(u, in_turn, merge=False), routes)

    def _step_sizes(self, dt: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """dt (B, L, K, R) with the projections' weights and biases, or (B, L, K, d), projected already.

        The operator expands dt token by token, which saves the memory of the larger tensor.
        """
        layers = self.each('dt_proj')
        if all(is_plain(proj, nn.Linear) and proj.bias is not None for proj in layers):
            return dt, torch.stack([proj.weight for proj in layers]), torch.stack([proj.bias for proj in layers])
        return torch.stack([proj(z) for z, proj in zip(dt.unbind(2), layers)], dim=2), None, None

    def init_dt(self, branches: Sequence[int]) -> None:
        """Mamba's start for some branches: step sizes log-uniform in [1e-3, 0.1]."""
        projections = self.each('dt_proj')
        for proj in (projections[k] for k in branches):
            nn.init.uniform_(proj.weight, -(self.dt_rank**-0.5), self.dt_rank**-0.5)
            with torch.no_grad():
                proj.bias.copy_(inverse_softplus_dt(proj.bias.shape))


def branch(suffix: str) -> dict[str, str]:
    """Official names of a branch whose names all end in `suffix`."""
    return {'conv': f'conv1d{suffix}', **{name: name + suffix for name in ('x_proj', 'dt_proj', 'A_log', 'D')}}


class PatchEmbed(nn.Module):
    """One convolution; (B, 3, H, W) -> (B, C, h, w)."""

    def __init__(self, in_chans: int, dim: int, patch_size: int, stride: int):
        super().__init__()
        self.proj = nn.Conv2d(in_chans, dim, patch_size, stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x)


def shrunk_uniform_(weight: Tensor, depth: int) -> None:
    """torch's default for a linear layer, divided by sqrt(depth): the output projections of a deep stream."""
    nn.init.kaiming_uniform_(weight, a=math.sqrt(5))
    with torch.no_grad():
        weight /= math.sqrt(depth)


class Stream(NamedTuple):
    """The state between blocks.

    Attributes:
        mixed: the last mixer's output, (B, L, C).
        residual: the stream that it was mixed from; None before the first block.
        joined: both, as the following block takes them; None after the last one.
        tables: the rotation's cos and sin for this grid; None without rotation.
    """

    mixed: Tensor
    residual: Tensor | None
    joined: Tensor | None
    tables: tuple[Tensor, Tensor] | None


def relate_stream(fields: SimpleNamespace) -> None:
    """Raise a ValueError where arguments of a model with a residual stream do not go together."""
    relate_tokens(fields)
    check_inner(fields, 'expand', fields.embed_dim)
    if fields.rope and fields.embed_dim % 4:
        refuse('embed_dim', fields.embed_dim, 'a multiple of 4 beside rope=True')


class StreamBackbone(PlainBackbone):
    """Tokens, their positions, a stream of blocks, a norm and a classifier.

    A subclass makes the blocks' mixers and the rotation's tables, and says through `tap` what a map is.

    Args:
        d_state: states of a channel.
        d_conv: taps of the causal convolution.
        expand: inner over outer width.
        dt_rank: rank of the step sizes' projection; 'auto' is ceil(embed_dim / 16).
        img_size: an int or (H, W), the size that position embedding and rotation tables are built for.
        class_token: 'middle', 'first', 'both' (ends of the sequence), or None (pool as `global_pool` says).
        pos_embed: add a learned position embedding.
        rope: rotate the tokens before every block.
        rope_residual: rotate the residual stream too.
        pretrained_grid: side of the grid that rotations are stretched to.
        rms_norm: RMSNorm, or LayerNorm.
        norm_eps: of the norms.
        residual_in_fp32: keep the stream in float32 under autocast.
        features: what a map is: 'mixer' the block's output without its residual, 'residual' the stream after it.
        pos_drop_rate: dropout after the position embedding.
        **common: see :class:`Backbone`; global_pool is 'avg', 'last', 'max' (of the logits) or '' (logits per token).
            `out_indices` counts blocks, None means the last of each quarter.
    """

    pools = ('avg', 'last', 'max', '')
    undecayed: tuple[str, ...] = ('A_log', 'D')
    head_prefixes: tuple[str, ...] = ('head.', 'norm_f.')
    pads_to_stride = True

    def __init__(
        self,
        *,
        d_state: int = 16,
        d_conv: int = 4,
        expand: float = 2.0,
        dt_rank: int | str = 'auto',
        img_size: int | Sequence[int] = 224,
        class_token: str | None = None,
        pos_embed: bool = True,
        rope: bool = False,
        rope_residual: bool = False,
        pretrained_grid: int = 14,
        rms_norm: bool = True,
        norm_eps: float = 1e-5,
        residual_in_fp32: bool = True,
        features: str = 'mixer',
        pos_drop_rate: float = 0.0,
        **common,
    ):
        super().__init__(**common)
        self.mixing: dict[str, Any] = dict(d_state=d_state, d_conv=d_conv, expand=expand, dt_rank=dt_rank)
        self.img_size, self.class_token, self.pretrained_grid = to_pair(img_size), class_token, pretrained_grid
        self.use_rope, self.rope_residual, self.features = rope, rope_residual, features
        self.residual_in_fp32, self.pos_drop_rate = residual_in_fp32, pos_drop_rate
        self._has_positions = pos_embed
        self._make_norm = functools.partial(RMSNorm if rms_norm else LayerNorm, eps=norm_eps)

    def _assemble(
        self, embed_dim: int, patch_size: int, stride: int, mixers: Sequence[nn.Module], final_norm: bool = False
    ) -> None:
        depth = len(mixers)
        self.embed_dim, self.patch_size, self.stride = embed_dim, patch_size, stride
        self.grid = self._built_grid()
        self.patch_embed = PatchEmbed(self.in_chans, embed_dim, patch_size, stride)
        for name in self._class_names():
            setattr(self, name, nn.Parameter(torch.zeros(1, 1, embed_dim)))
        rows = self.grid[0] * self.grid[1] + len(self._class_names())
        self.pos_embed = nn.Parameter(torch.zeros(1, rows, embed_dim)) if self._has_positions else None
        self.pos_drop = nn.Dropout(self.pos_drop_rate)
        rates = drop_path_rates(self.drop_path_rate, depth)
        self.layers = nn.ModuleList(
            StreamBlock(self._make_norm(embed_dim), mixer, rate)
            for mixer, rate in zip(mixers, [*rates[:-1], self.drop_path_rate])
        )
        if final_norm or not self.features_only:
            self.norm_f = self._make_norm(embed_dim)
        if not self.features_only:
            self.head_drop = nn.Dropout(self.drop_rate)
            self.head = nn.Linear(embed_dim, self.num_classes) if self.num_classes else nn.Identity()
        self._resize = TableResizer()
        self._finish_plain(depth, embed_dim, stride, norm_eps=self._make_norm.keywords['eps'])

    def _built_grid(self) -> Grid:
        if self.pads_to_stride:
            height, width = (-(-n // self.stride) * self.stride for n in self.img_size)
        else:
            height, width = self.img_size
        size = max(height, self.patch_size), max(width, self.patch_size)
        return grid_size(size, self.patch_size, self.stride)

    def _class_names(self) -> tuple[str, ...]:
        return {None: (), 'both': ('cls_token_head', 'cls_token_tail')}.get(self.class_token, ('cls_token',))

    def positions(self, grid: Grid) -> Tensor:
        """The position embedding of a sequence over `grid`, (1, L, C); class tokens keep their own rows."""
        if not is_symbolic(grid[0]) and grid == self.grid:
            return self.pos_embed
        patches, tokens = split_class(self.pos_embed, self.grid[0] * self.grid[1], self.class_token)
        return join_class(self._resize('pos_embed', patches, self.grid, grid), tokens, self.class_token)

    def rope_tables(self, grid: Grid, like: Tensor) -> tuple[Tensor, Tensor]:
        """cos and sin, (h * w, C), on the device of `like`."""
        raise NotImplementedError

    def embed(self, x: Tensor) -> tuple[Stream, Grid]:
        """Patches and class tokens with their positions: the state before the first block, and the grid."""
        x = self.patch_embed(pad_image(x, self.patch_size, self.stride, self.pads_to_stride))
        grid = (x.shape[2], x.shape[3])
        tokens = [getattr(self, name).expand(x.shape[0], -1, -1).to(x.dtype) for name in self._class_names()]
        x = join_class(x.flatten(2).mT, tokens, self.class_token)
        if self.pos_embed is not None:
            x = x + self.positions(grid)
        h = self.pos_drop(x)
        tables = self.rope_tables(grid, h) if self.use_rope else None
        return Stream(h, None, self._wide(self._turn(h, tables)), tables), grid

    def _wide(self, stream: Tensor) -> Tensor:
        """The stream is float32 at least, whatever autocast does."""
        return widen(stream) if self.residual_in_fp32 else stream

    def _turn(self, x: Tensor, tables) -> Tensor:
        """Rotate the patches of a sequence; class tokens have no place and stay."""
        if tables is None:
            return x
        patches, tokens = split_class(x, tables[0].shape[0], self.class_token)
        return join_class(rotate(patches, *tables), tokens, self.class_token)

    def run_block(self, i: int, state: Stream, grid: Grid) -> Stream:
        h, _, stream, tables = state
        h = self._run(self.layers[i], stream, grid, h.dtype)
        if i + 1 == self.depth:
            return Stream(h, stream, None, tables)
        before = self._turn(stream, tables) if self.rope_residual else stream
        return Stream(h, stream, self._wide(before + self.layers[i].drop_path(self._turn(h, tables))), tables)

    def _cut(self, num: int) -> None:
        self.layers = self.layers[:num]
        if self.features_only:  # the norm is the last block's
            self._drop_final_norm()

    def _drop_final_norm(self) -> None:
        if hasattr(self, 'norm_f'):
            del self.norm_f

    def patches(self, sequence: Tensor, grid: Grid) -> Tensor:
        """A sequence (B, L, C) without its class tokens."""
        return split_class(sequence, grid[0] * grid[1], self.class_token)[0]

    def finish(self, state: Stream, grid: Grid) -> Tensor:
        """norm(r + h), (B, L, C), class tokens included."""
        joined = state.residual + self.layers[-1].drop_path(state.mixed)
        return self.final_norm(joined).to(answer_dtype(state.mixed))

    def final_norm(self, x: Tensor) -> Tensor:
        return self.norm_f(x) if hasattr(self, 'norm_f') else x

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """(B, L, C) -> logits (B, num_classes) of the class token or pooled tokens, or the pooled features."""
        if self.class_token is not None and self.global_pool:
            at = class_positions(x.shape[1] - len(self._class_names()), self.class_token)
            x = torch.stack([x[:, p] for p in at]).mean(dim=0)
        elif self.global_pool == 'avg':
            x = x.mean(dim=1)
        elif self.global_pool == 'last':
            x = x[:, -1]
        x = self.head_drop(x)
        pools_logits = self.class_token is None and self.global_pool == 'max'
        if pre_logits:
            return x.amax(dim=1) if pools_logits else x
        logits = self.head(x)
        return logits.amax(dim=1) if pools_logits else logits

    def make_head(self) -> None:
        head = nn.Linear(self.embed_dim, self.num_classes) if self.num_classes else nn.Identity()
        self.head = self._like_the_stem(head)
        self._init_head()

    def _init_head(self) -> None:
        if isinstance(self.head, nn.Linear):
            trunc_normal_(self.head.weight, std=0.02)
            nn.init.zeros_(self.head.bias)

    def adapt_positions(self, state_dict: dict[str, Tensor], drop_class: str | None = None) -> dict[str, Tensor]:
        """Fit a checkpoint's position embedding to this model's grid; its own grid must be square where it differs.

        The row of a class token in the middle is the middle one. (The published resizing splits off row 0 instead,
        which shifts the first half of the image by one token.)

        Args:
            drop_class: where the class token stands in files whose token and row the model leaves out.
        """
        table = state_dict.get('pos_embed')
        if table is None or self.pos_embed is None or table.ndim != 3 or table.shape[1:] == self.pos_embed.shape[1:]:
            return state_dict
        in_file = [name for name in ('cls_token', 'cls_token_head', 'cls_token_tail') if name in state_dict]
        own = list(self._class_names())
        dropped = ['cls_token_head', 'cls_token_tail'] if drop_class == 'both' else ['cls_token']
        if in_file != own and not (drop_class and not own and in_file == dropped):
            return state_dict
        num_patches = table.shape[1] - len(in_file)
        old = self.grid if num_patches == self.grid[0] * self.grid[1] else square_grid(num_patches)
        if old is None:
            return state_dict
        where = drop_class if in_file and not own else self.class_token
        patches, tokens = split_class(table, num_patches, where)
        table = resize_table(patches, old, self.grid)
        kept = {name: value for name, value in state_dict.items() if own or name not in in_file}
        return {**kept, 'pos_embed': join_class(table, tokens, self.class_token) if own else table}
