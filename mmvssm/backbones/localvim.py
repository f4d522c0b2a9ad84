"""LocalVim (*LocalMamba: Visual State Space Model with Windowed Selective Scan*, arXiv 2403.09338).

A plain network of Mamba mixers, each of which reads the tokens in four of eight directions. The direction comes first
here, before the causal convolution, the projections and the scan; so a padded place in a window is a token of value
zero that the convolution and the scan see, not a step that only decays the state.
"""

from collections.abc import Sequence
from functools import reduce
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from timm.layers import trunc_normal_
from torch import Tensor, nn

from mmvssm import scans
from mmvssm.settings import OneOf

from ._graph import one_node
from ._layers import answer_dtype, resolve_dt_rank
from ._local import BiAttn
from ._mamba_stream import (
    Directions,
    RotaryTables,
    Stream,
    StreamBackbone,
    branch,
    relate_stream,
    rotation_tables,
    routes_around_class,
    shrunk_uniform_,
)
from ._registry import Family, Variant
from ._search import Choice, Searched, relate_candidates, with_candidates
from ._single_stride import Grid, resize_table, square_grid
from ._timm import register


@one_node
class MultiMamba(Directions):
    """K Mamba branches on one input projection: read, convolve, scan, write back, gate; the sum is projected out.

    Args:
        dim: channels C; d_inner is `expand` times as many.
        directions: the K scan orders.
        class_token: the sequence has a class token in its middle, which every branch reads at that very step.
        choosing: the directions are candidates, with a logit each (the supernet of a search).
    """

    order_field = 'directions'  # where a layer's orders were given, for errors

    def __init__(
        self,
        dim: int,
        directions: tuple[scans.Order, ...],
        class_token: bool,
        *,
        d_state: int,
        d_conv: int,
        expand: float,
        dt_rank: int | str,
        choosing: bool = False,
    ):
        super().__init__()
        d = int(expand * dim)
        self.directions = directions
        self.class_token = class_token
        self.branch_names = [branch(f'_{k}') for k in range(len(self.directions))]
        self.in_proj = nn.Linear(dim, 2 * d, bias=False)
        self.make_branches(d, d_state, d_conv, resolve_dt_rank(dt_rank, dim))
        self.attn = BiAttn(d)
        self.multi_scan = Choice(directions) if choosing else None
        self.out_proj = nn.Linear(d, dim, bias=False)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        """(B, L, C) -> (B, L, C), the patches in raster order over `grid`."""
        make = routes_around_class if self.class_token else scans.routes
        routes = scans.derived(make, self.directions, *grid, x.device, layer=self)
        x, z = self.in_proj(x).chunk(2, dim=-1)
        y = self.scan_along(x, routes)
        y = y * F.silu(z).unsqueeze(2)  # the gate is per token, so it may as well act after the writing back
        y = y * self.attn(y)
        return self.out_proj(reduce(torch.add, y.unbind(2)) if self.multi_scan is None else self.multi_scan(y))

    def extra_repr(self) -> str:
        return f'directions={self.directions}'


class LocalVim(StreamBackbone):
    """LocalVim (arXiv 2403.09338); classifier, or maps at the patch stride.

    Inputs of any size are padded with zeros at the bottom and right to whole patches.

    Args:
        directions: for each layer (or once for all) a list of any number of scan orders, by name or function (see
            `mmvssm.scans`); the k-th has the k-th parameters. The published ones are out of h, h_flip, v, v_flip, w2,
            w2_flip, w7, w7_flip, in this order; or the path of a file that `mmvssm search` wrote. A layer that is None
            holds all `candidates` and learns which to keep: the supernet of a search.
        candidates: of the layers without directions, by name or function; None is the published eight.
        embed_dim: width C.
        depth: layers.
        patch_size: side of a patch.
        rope: rotate the tokens before every layer.
        rope_residual: rotate the residual stream too.
        dt_init: 'published' (step sizes start at softplus(0)) or 'mamba' (log-uniform in [1e-3, 0.1]).
        **common: see :class:`StreamBackbone`; the class token stands in the middle or is none.
    """

    searched = Searched('directions')
    settings = dict(class_token=OneOf(None, 'middle'))
    key_options = {'rope.': 'rope=True', 'cls_token': "class_token='middle'"}

    @classmethod
    def relate(cls, fields: SimpleNamespace) -> None:
        """Directions for each layer."""
        relate_stream(fields)
        relate_candidates(fields, 'directions', fields.depth)

    def __init__(
        self,
        directions: Sequence | str | None,
        embed_dim: int = 192,
        depth: int = 20,
        patch_size: int = 16,
        rope: bool = True,
        rope_residual: bool = True,
        dt_init: str = 'published',
        candidates: Sequence | None = None,
        **common,
    ):
        super().__init__(rope=rope, rope_residual=rope_residual, **common)
        self.dt_init = dt_init
        layers = with_candidates(scans.layer_orders('directions', directions, depth), candidates or scans.LOCAL_SCAN)
        has_class = self.class_token is not None
        mixers = [
            MultiMamba(embed_dim, orders, has_class, choosing=choosing, **self.mixing) for orders, choosing in layers
        ]
        for i, mixer in enumerate(mixers):
            mixer.order_field = f'directions[{i}]'
        self._assemble(embed_dim, patch_size, patch_size, mixers)
        if rope:
            self.rope = RotaryTables(self.grid, embed_dim, self.pretrained_grid)
        self._init_weights()
        self._prune()

    def _init_weights(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear) and not module.weight.is_meta:
                trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for block in self.layers:
            shrunk_uniform_(block.mixer.out_proj.weight, self.depth)
            block.mixer.init_dt(range(len(block.mixer.directions)) if self.dt_init == 'mamba' else ())
        if self.pos_embed is not None:
            trunc_normal_(self.pos_embed, std=0.02)

    def rope_tables(self, grid: Grid, like: Tensor) -> tuple[Tensor, Tensor]:
        """The stored tables."""
        return self.rope(grid)

    def tap(self, i: int, state: Stream, grid: Grid) -> Tensor:
        """The layer's own output, as published, or the stream after it."""
        h = state.mixed
        return self.patches(h if self.features == 'mixer' else (state.residual + h).to(answer_dtype(h)), grid)


def checkpoint_filter_fn(state_dict: dict[str, Tensor], model: LocalVim) -> dict[str, Tensor]:
    """The released names are this project's; tables of another grid are resized to the model's.

    Rotation tables are constants: a file may lack them, and those of the model's grid stand in.
    """
    state_dict = model.adapt_positions(state_dict)
    computed = rotation_tables(model.grid, model.embed_dim, model.pretrained_grid)
    for name, own in zip(('rope.freqs_cos', 'rope.freqs_sin'), computed if model.use_rope else ()):
        table = state_dict.get(name, own)
        old = square_grid(table.shape[0])
        if table.shape != own.shape and table.shape[1:] == own.shape[1:] and old is not None:
            table = resize_table(table, old, model.grid)
        state_dict = {**state_dict, name: table}
    return state_dict


SEARCHED = [
    line.split()
    for line in """
    h v_flip w7 w7_flip
    h_flip w2_flip w7 w7_flip
    h h_flip v w7
    h h_flip v v_flip
    h h_flip v v_flip
    h h_flip v v_flip
    h_flip v v_flip w7
    h_flip v v_flip w2_flip
    h h_flip v v_flip
    h h_flip v v_flip
    h v v_flip w2
    h v v_flip w2_flip
    h h_flip v_flip w7
    h_flip v v_flip w2
    h h_flip v v_flip
    h v w2 w2_flip
    v v_flip w2 w7
    h h_flip v w2
    h h_flip w2_flip w7
    v v_flip w2 w2_flip
""".strip().splitlines()
]
UNSEARCHED = [['h', 'h_flip', 'w2', 'w2_flip']] * 20


def _all_eight(d: Sequence[str]) -> list[Sequence[str]]:
    return [d[:4], d[4:], d[::2], d[1::2]]


FAMILY = Family(
    LocalVim,
    prefix='localvim_',
    checkpoint_filter_fn=checkpoint_filter_fn,
    variants={
        'localvim_tiny': Variant(
            'LocalVim-T, searched directions, 8.0 M parameters.', embed_dim=192, depth=20, directions=SEARCHED
        ),
        'localvim_tiny_midcls': Variant(
            'LocalVim-T with a class token in the middle and no rotation, 8.0 M parameters.',
            embed_dim=192,
            depth=20,
            directions=SEARCHED,
            class_token='middle',
            rope=False,
        ),
        'localvim_tiny_unsearched': Variant(
            'LocalVim-T with the same four directions in every layer, 8.0 M parameters.',
            embed_dim=192,
            depth=20,
            directions=UNSEARCHED,
        ),
        'localvim_small': Variant(
            'LocalVim-S, searched directions, 27.8 M parameters; the official code gives the next one this name too.',
            embed_dim=384,
            depth=20,
            directions=SEARCHED,
        ),
        'localvim_small_unsearched': Variant(
            'LocalVim-S with the same four directions in every layer, 27.8 M parameters.',
            embed_dim=384,
            depth=20,
            directions=UNSEARCHED,
        ),
        'localvim_tiny_search': Variant(
            "The narrow supernet in which LocalVim-T's directions are searched, 5.5 M parameters.",
            embed_dim=128,
            depth=20,
            directions=None,
        ),
        'test_localvim': Variant(
            'A micro model for tests that meets all eight directions.',
            embed_dim=32,
            depth=4,
            directions=_all_eight(scans.LOCAL_SCAN),
            img_size=64,
        ),
    },
)
register(FAMILY)
