"""Vim (*Vision Mamba: Efficient Visual Representation Learning with Bidirectional State Space Model*).

arXiv 2401.09417. A plain network of Mamba mixers that read the raster sequence forwards and backwards, with a class
token in the middle.
"""

from collections.abc import Sequence
from types import SimpleNamespace

import torch
import torch.fx
import torch.nn.functional as F
from timm.layers import lecun_normal_, trunc_normal_
from torch import Tensor, nn

from mmvssm import scans
from mmvssm.settings import refuse
from mmvssm.weights import CheckpointError

from ._graph import one_node
from ._layers import answer_dtype, resolve_dt_rank
from ._mamba_stream import (
    Directions,
    RotaryTables,
    Stream,
    StreamBackbone,
    branch,
    convolve_causally,
    relate_stream,
    rotation_tables,
    routes_around_class,
    shrunk_uniform_,
)
from ._registry import Family, Variant
from ._search import Choice, Searched, relate_candidates, with_candidates
from ._single_stride import Grid, grid_size, square_grid
from ._timm import register

RASTER = ('h', 'h_flip')
ROTATION = ('rope.freqs_cos', 'rope.freqs_sin')
torch.fx.wrap('rotation_tables')  # these compute with sizes and dtypes: nodes of a graph, not traced
torch.fx.wrap('answer_dtype')


@one_node
class BiMamba(Directions):
    """Two Mamba branches on one input projection, one for each reading direction; their sum is gated and projected out.

    Nothing is flipped: the second branch's convolution looks ahead, and its scan runs from the last token to the first.
    With other `scan_orders` the branches read the sequence first, a class token in its middle at that very step.

    Args:
        dim: channels C; d_inner is `expand` times as many.
        scan_orders: of the branches, two where they are not `choosing`.
        class_token: the sequence has a class token in its middle (only looked at with other scan orders).
        divide_out: halve the sum of the directions.
        layer_scale: start value of a gain on the output's channels, None for none.
        choosing: the scan orders are candidates, with a logit each (the supernet of a search).
    """

    order_field = 'scan_orders'  # where a layer's orders were given, for errors

    def __init__(
        self,
        dim: int,
        scan_orders: tuple[scans.Order, ...],
        class_token: bool,
        *,
        d_state: int,
        d_conv: int,
        expand: float,
        dt_rank: int | str,
        divide_out: bool,
        layer_scale: float | None,
        choosing: bool = False,
    ):
        super().__init__()
        d = int(expand * dim)
        self.divide_out, self.class_token = divide_out, class_token
        self.scan_orders = scan_orders
        # the published names of the second branch are not quite regular
        published = [branch(''), {**branch('_b'), 'A_log': 'A_b_log'}]
        self.branch_names = [*published, *(branch(f'_{k}') for k in range(2, len(scan_orders)))][: len(scan_orders)]
        self.in_proj = nn.Linear(dim, 2 * d, bias=False)
        self.make_branches(d, d_state, d_conv, resolve_dt_rank(dt_rank, dim))
        self.out_proj = nn.Linear(d, dim, bias=False)
        self.multi_scan = Choice(scan_orders) if choosing else None
        self.gamma = nn.Parameter(torch.full((dim,), layer_scale)) if layer_scale is not None else None

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        """(B, L, C) -> (B, L, C), the patches in raster order over `grid`."""
        x, z = self.in_proj(x).chunk(2, dim=-1)
        in_raster = self.scan_orders == RASTER and self.multi_scan is None
        y = self._both_ways(x) if in_raster else self._along_orders(x, grid)
        y = y * F.silu(z)
        y = self.out_proj(y / 2 if self.divide_out else y)
        return y if self.gamma is None else y * self.gamma

    def _both_ways(self, x: Tensor) -> Tensor:
        ways = zip(self.each('conv'), (False, True))
        u = F.silu(torch.stack([convolve_causally(conv, x, back) for conv, back in ways], dim=2))
        return self.scan(u, scans.orders(RASTER, 1, x.shape[1], x.device))

    def _along_orders(self, x: Tensor, grid: Grid) -> Tensor:
        make = routes_around_class if self.class_token else scans.routes
        y = self.scan_along(x, scans.derived(make, self.scan_orders, *grid, x.device, layer=self))
        return y.sum(dim=2) if self.multi_scan is None else self.multi_scan(y)

    def extra_repr(self) -> str:
        return f'scan_orders={self.scan_orders}'


def kept_class_token(class_token: str | None, keep: bool, features_only: bool) -> str | None:
    """Where the model's class token stands."""
    return class_token if keep or not features_only else None


class Vim(StreamBackbone):
    """Vim (arXiv 2401.09417); classifier, or maps at the patch stride.

    Classifiers drop the pixels at the right and bottom that make no whole patch, as published; feature models pad the
    image with zeros to a multiple of the stride.

    Args:
        embed_dim: width C.
        depth: blocks.
        patch_size: side of a patch.
        stride: between patches, None for their side.
        divide_out: halve the sum of the two directions; the released weights want it, older dense models did not.
        layer_scale: start value of a gain on each block's output, None for none.
        scan_orders: two scan orders of the patches, by name or function (see `mmvssm.scans`), in place of the raster
            sequence both ways, or such a pair (or None) for each block; the first has the forward branch's parameters.
            They go with a class token in the middle or none. Or the path of a file that `mmvssm search` wrote.
        candidates: of the blocks without scan orders: they hold all of these and learn which to keep, the supernet of a
            search. None searches nothing.
        class_token: 'middle' as released, 'first' (the first release), 'both' (ends of the sequence), or None (pool as
            `global_pool` says).
        keep_class_token: keep it in feature models too, for the sequence that the weights were trained on; by default
            they have none, as published.
        dt_init: start of the backward branch's step sizes: 'mamba' as the forward one's, or 'published' (softplus(0)).
        last_feature: with features='residual', what the last block gives: 'mixer', 'add' (the stream) or 'norm' (normed
            too).
        features_only: as everywhere, see :class:`Backbone`.
        **common: see :class:`StreamBackbone`; older weights want rope and rope_residual.
    """

    searched = Searched('scan_orders', count=2)
    undecayed = ('A_log', 'A_b_log', 'D')
    key_options = {'rope.': "class_token='first', rope=True, rope_residual=True, divide_out=False"}
    # the necks that the published dense models keep inside the backbone
    head_prefixes = ('head.', 'norm_f.', 'fpn1.', 'fpn2.', 'fpn3.', 'fpn4.', 'simfp_')

    @classmethod
    def relate(cls, fields: SimpleNamespace) -> None:
        """An even width; orders for each block, and a class token that they can read."""
        relate_stream(fields)
        if fields.embed_dim % 2:
            refuse('embed_dim', fields.embed_dim, 'an even width')
        relate_candidates(fields, 'scan_orders', fields.depth, count=2)
        kept = kept_class_token(fields.class_token, fields.keep_class_token, fields.features_only)
        for name in ('scan_orders', 'candidates'):
            if getattr(fields, name) is not None and kept not in (None, 'middle'):
                raise ValueError(f"{name} with class_token={kept!r} is not supported; allowed: None, 'middle'")

    def __init__(
        self,
        embed_dim: int = 192,
        depth: int = 24,
        patch_size: int = 16,
        stride: int | None = None,
        divide_out: bool = True,
        layer_scale: float | None = None,
        scan_orders: Sequence | str | None = None,
        class_token: str | None = 'middle',
        keep_class_token: bool = False,
        dt_init: str = 'mamba',
        last_feature: str = 'add',
        candidates: Sequence | None = None,
        features_only: bool = False,
        **common,
    ):
        kept = kept_class_token(class_token, keep_class_token, features_only)
        super().__init__(class_token=kept, features_only=features_only, **common)
        self.last_feature, self.dt_init = last_feature, dt_init
        self.pads_to_stride = features_only
        self.dropped_class = (class_token or 'middle') if features_only and not keep_class_token else None
        self.mixing.update(divide_out=divide_out, layer_scale=layer_scale)
        layers = with_candidates(scans.layer_orders('scan_orders', scan_orders, depth, count=2), candidates, RASTER)
        has_class = kept is not None
        mixers = [BiMamba(embed_dim, own, has_class, choosing=choosing, **self.mixing) for own, choosing in layers]
        for i, mixer in enumerate(mixers):
            mixer.order_field = f'scan_orders[{i}]'
        final_norm = self.features == 'residual' and last_feature == 'norm'
        self._assemble(embed_dim, patch_size, patch_size if stride is None else stride, mixers, final_norm)
        if (
            self.use_rope
        ):  # for the state dict alone, so that a file tells; what is computed for the grid at hand is used
            self.rope = RotaryTables(self.grid, embed_dim, self.pretrained_grid)
        self._init_weights()
        self._prune()

    def _init_weights(self) -> None:
        lecun_normal_(self.patch_embed.proj.weight)
        nn.init.zeros_(self.patch_embed.proj.bias)
        for block in self.layers:
            for proj in block.mixer.each('dt_proj'):
                nn.init.zeros_(proj.bias)
            block.mixer.init_dt(range(len(block.mixer.branch_names)) if self.dt_init == 'mamba' else (0,))
            shrunk_uniform_(block.mixer.out_proj.weight, self.depth)
        for name in ('pos_embed', *self._class_names()):
            if getattr(self, name) is not None:
                trunc_normal_(getattr(self, name), std=0.02)
        if not self.features_only:
            self._init_head()

    def rope_tables(self, grid: Grid, like: Tensor) -> tuple[Tensor, Tensor]:
        """Computed for the grid at hand, each side stretched to the pre-training grid."""
        cos, sin = rotation_tables(grid, self.embed_dim, self.pretrained_grid, like.device)
        return cos, sin

    def tap(self, i: int, state: Stream, grid: Grid) -> Tensor:
        """The map of block i, see `features` and `last_feature`."""
        h, stream, joined, _ = state
        if self.features == 'mixer' or (joined is None and self.last_feature == 'mixer'):
            return self.patches(h, grid)
        out = stream + h if joined is None else joined
        if joined is None and self.last_feature == 'norm':
            out = self.final_norm(out)
        return self.patches(out.to(answer_dtype(h)), grid)


def checkpoint_filter_fn(state_dict: dict[str, Tensor], model: Vim) -> dict[str, Tensor]:
    """The released names are this project's; position embeddings of another grid are resized, rotations recomputed.

    Rotation tables are constants: a file of a model that rotates may lack them, but a file that has them is no other's.

    A table that fits this very image size at another stride is left as it is, and so refused: it belongs to another
    variant. To start a stride-8 model from stride-16 weights, as its authors did, resize the table first::

        state['pos_embed'] = create_model('vim_tiny', pretrained=FILE, img_size=432).state_dict()['pos_embed']

    where 432 = 16 * 27 gives the grid of the stride-8 model at 224.

    Raises:
        mmvssm.weights.CheckpointError: rotation tables of another `pretrained_grid`.
    """
    if model.use_rope:
        check_rotation(state_dict, model)
        own = rotation_tables(model.grid, model.embed_dim, model.pretrained_grid)
        state_dict = {**state_dict, **dict(zip(ROTATION, own))}
    if _has_other_stride(state_dict, model):
        return state_dict
    return model.adapt_positions(state_dict, drop_class=model.dropped_class)


def check_rotation(state_dict: dict[str, Tensor], model: Vim) -> None:
    """Raise a CheckpointError unless the rotation tables of a file, where it has any, are what the model computes."""
    for name in ROTATION:
        table = state_dict.get(name)
        if table is None:
            continue
        rows = table.shape[0]
        grid = model.grid if rows == model.grid[0] * model.grid[1] else square_grid(rows)
        if table.is_meta or grid is None:
            continue
        computed = rotation_tables(grid, model.embed_dim, model.pretrained_grid)[ROTATION.index(name)]
        if table.shape != computed.shape or not torch.allclose(table.float(), computed, rtol=0, atol=1e-2):
            raise CheckpointError(
                f'{name} is not what a model of pretrained_grid={model.pretrained_grid} computes.\n'
                'Set pretrained_grid to the side of the grid of tokens that the file was first trained on.'
            )


def _has_other_stride(state_dict: dict[str, Tensor], model: Vim) -> bool:
    table = state_dict.get('pos_embed')
    if table is None or table.ndim != 3:
        return False
    grid = square_grid(table.shape[1] - ('cls_token' in state_dict))
    others = {16: 8, 8: 16}
    return (
        grid is not None
        and grid != model.grid
        and grid == grid_size(model.img_size, model.patch_size, others.get(model.stride, model.stride))
    )


def _stride8(**numbers) -> dict:
    """Patches of 16 x 16 that overlap by half, from a fine-tuning at four times as many tokens."""
    return dict(stride=8, **numbers)


FAMILY = Family(
    Vim,
    prefix='vim_',
    checkpoint_filter_fn=checkpoint_filter_fn,
    variants={
        'vim_tiny': Variant('Vim-T, 7.1 M parameters.', embed_dim=192, depth=24),
        'vim_tiny_rope': Variant(
            'Vim-T as first released: the class token first, rotations on both streams, no halving, 7.1 M parameters.',
            embed_dim=192,
            depth=24,
            class_token='first',
            rope=True,
            rope_residual=True,
            divide_out=False,
        ),
        'vim_small': Variant('Vim-S, 25.8 M parameters.', embed_dim=384, depth=24),
        'vim_base': Variant('Vim-B, 97.6 M parameters.', embed_dim=768, depth=24),
        'vim_tiny_stride8': Variant('Vim-T+, 7.3 M parameters.', **_stride8(embed_dim=192, depth=24)),
        'vim_small_stride8': Variant('Vim-S+, 26.0 M parameters.', **_stride8(embed_dim=384, depth=24)),
        'test_vim': Variant('A micro model for tests.', embed_dim=48, depth=4, img_size=64),
    },
)
register(FAMILY)
