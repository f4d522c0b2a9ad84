"""What the plain (single-stride) families share: LocalVim, Vim and ViL.

A plain network cuts the image into one grid of tokens and keeps it to the end. Its maps all have the patch stride;
a neck (`mmvssm.openmmlab.necks`) makes a pyramid of them. Grids come from the input, never from a square root of the
token count, so any size works; tables learned for another grid are resized.
"""

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import torch
import torch.fx
import torch.nn.functional as F
from torch import Tensor, nn

from mmvssm.kernels.derivatives import transformed
from mmvssm.settings import Int, check_int
from mmvssm.tracing import is_compiling, is_symbolic, largest

from ._backbone import Backbone, resolve_indices
from ._layers import LayerNorm, nchw
from ._settings import check_image_size

Grid = tuple[int, int]
torch.fx.wrap('resize_table')  # it branches on sizes: a node of a graph, not traced


def to_pair(value: int | Sequence[int]) -> Grid:
    """An int or (H, W) as a pair."""
    height, width = (value, value) if isinstance(value, int) else value
    return height, width


def relate_tokens(fields: SimpleNamespace) -> None:
    """Raise a ValueError where arguments of a model of one stride do not go together."""
    resolve_indices(fields.out_indices, fields.depth)
    check_image_size(fields)
    if getattr(fields, 'stride', None) is not None:
        check_int('stride', fields.stride, range(1, fields.patch_size + 1))


def grid_size(size: Grid, patch_size: int, stride: int) -> Grid:
    """Positions of a patch that is moved by `stride` over an image, without padding."""
    height, width = size
    return (height - patch_size) // stride + 1, (width - patch_size) // stride + 1


def pad_image(x: Tensor, patch_size: int, stride: int, to_stride: bool = True) -> Tensor:
    """Zeros at the bottom and right of (B, C, H, W), up to a multiple of `stride` and to one patch at least.

    `to_stride=False` pads images smaller than a patch alone; what does not divide is left to the convolution to drop.
    """
    pads = []
    for length in (x.shape[3], x.shape[2]):
        target = -(-length // stride) * stride if to_stride else length
        pads += [0, largest(target, patch_size) - length]
    return F.pad(x, pads) if is_compiling() or any(pads) else x


def resize_table(table: Tensor, old: Grid, new: Grid) -> Tensor:
    """A per-token table (..., h * w, C) of the grid `old`, for the grid `new`.

    Bicubic, corners not aligned, no antialias, as all the published code does it. Equal grids return the table itself;
    half types are interpolated in float32.
    """
    if not is_compiling() and tuple(old) == tuple(new):  # a traced size stays symbolic
        return table
    flat = table.reshape(-1, *old, table.shape[-1]).permute(0, 3, 1, 2)
    wide = flat if flat.dtype == torch.float64 else flat.float()
    resized = F.interpolate(wide, size=tuple(new), mode='bicubic', align_corners=False)
    return resized.to(table.dtype).permute(0, 2, 3, 1).reshape(*table.shape[:-2], new[0] * new[1], table.shape[-1])


def square_grid(num_tokens: int) -> Grid | None:
    """The side of a square table, as a pair; None where the count is no square."""
    side = int(num_tokens**0.5 + 0.5)
    return (side, side) if side * side == num_tokens else None


def as_map(tokens: Tensor, grid: Grid) -> Tensor:
    """Tokens (B, h * w, C) as a map (B, C, h, w), see `nchw`."""
    return nchw(tokens.unflatten(1, grid))


class TableResizer:
    """`resize_table` that remembers the last result of each table while gradients are off.

    A stored result is used only if the table still holds the values it was made from, however these were changed
    (training, loading, an EMA swap through `.data`). The comparison would make an accelerator wait, and there the
    interpolation itself is cheaper, so only the CPU remembers.
    """

    def __init__(self):
        self._made: dict[str, tuple] = {}

    def __call__(self, name: str, table: Tensor, old: Grid, new: Grid) -> Tensor:
        if is_symbolic(new[0]) or table.device.type != 'cpu' or transformed() or type(table.data) is not Tensor:
            return resize_table(table, old, new)
        if tuple(old) == tuple(new) or (table.requires_grad and torch.is_grad_enabled()):
            return resize_table(table, old, new)
        grid, source, result = self._made.get(name, (None, None, None))
        if grid != new or source.dtype != table.dtype or not torch.equal(source, table):
            with torch.inference_mode(False), torch.no_grad():  # a result made in inference mode is no use elsewhere
                source = table.detach().clone()
                result = resize_table(source, old, new)
            self._made[name] = (new, source, result)
        return result


def last_of_quarters(depth: int) -> tuple[int, ...]:
    """The last block of each quarter of the network (LocalVim's 4, 9, 14, 19; Vim's 5, 11, 17, 23)."""
    return tuple(sorted({max(depth * (quarter + 1) // 4 - 1, 0) for quarter in range(4)}))


class PlainBackbone(Backbone):
    """A patch embedding and `depth` blocks on one token grid; every block's output can be a map.

    A subclass calls `_finish_plain` at the end of its constructor and implements

        embed(x) -> (state, grid)              tokens with their positions, in whatever form the first block takes
        run_block(i, state, grid) -> state
        tap(i, state, grid) -> (B, h * w, C)   the map of block i
        finish(state, grid) -> tokens          what `forward_features` returns

    Out-norms are named `outnorm_{j}`, j counting the maps that are returned.
    """

    settings = dict(patch_size=Int(1, 64))
    output_fmt = 'NLC'
    fresh_prefixes = ('outnorm_',)
    first_conv = 'patch_embed.proj'
    classifier_name = 'head'
    block_path = 'layers.{}'

    def _finish_plain(
        self, depth: int, embed_dim: int, stride: int, taps: Sequence[int] | None = None, norm_eps: float = 1e-5
    ) -> None:
        """Set feature_info and out-norms; `taps` are the blocks that `out_indices=None` means."""
        self.depth = depth
        table = [dict(num_chs=embed_dim, reduction=stride, module=self.block_path.format(i)) for i in range(depth)]
        if self._wanted is None:
            self._wanted = taps or last_of_quarters(depth)
        self._finish(table)
        if self.out_norms:
            for j in range(len(self.out_indices)):
                self.add_module(f'outnorm_{j}', LayerNorm(embed_dim, eps=norm_eps))

    def out_norm(self, i: int, tokens: Tensor) -> Tensor:
        """The out-norm of block i's map, where the model has one."""
        if self.out_norms and i in self.out_indices:
            return getattr(self, f'outnorm_{self.out_indices.index(i)}')(tokens)
        return tokens

    def enter(self, x: Tensor) -> tuple[Any, Grid]:
        return self.embed(x)

    def step(self, i: int, state: tuple[Any, Grid]) -> tuple[Any, Grid]:
        inner, grid = state
        return self.run_block(i, inner, grid), grid

    def output(self, i: int, state: tuple[Any, Grid]) -> Tensor:
        return self.tap(i, *state)

    def as_nchw(self, output: Tensor, state: tuple[Any, Grid]) -> Tensor:
        return as_map(output, state[1])

    def leave(self, state: tuple[Any, Grid]) -> Tensor:
        return self.finish(*state)

    def stem_items(self) -> list[nn.Module | nn.Parameter]:
        """What acts before the first block."""
        names = ('patch_embed', 'pos_embed', 'pos_drop', 'cls_token', 'cls_token_head', 'cls_token_tail')
        return [item for name in names if (item := getattr(self, name, None)) is not None]

    def stage_groups(self) -> Iterator[list[nn.Module]]:
        yield from ([block] for block in self.layers)
        yield from ([] for _ in range(self.num_kept, self.depth))

    @torch.jit.ignore
    def no_weight_decay(self) -> set[str]:
        """State matrices and skips, and what marks positions."""
        marks = ('pos_embed', 'cls_token')
        return super().no_weight_decay() | {n for n, _ in self.named_parameters() if n.startswith(marks)}

    @torch.jit.ignore
    def group_matcher(self, coarse: bool = False) -> dict:
        """Parameter groups in order of depth, for layer-wise learning-rate decay."""
        return dict(
            stem=r'^patch_embed|^pos_embed|^cls_token',
            blocks=[(r'^layers\.(\d+)', None), (r'^norm_f|^head|^outnorm', (99999,))],
        )
