"""LocalVMamba (*LocalMamba: Visual State Space Model with Windowed Selective Scan*, arXiv 2403.09338).

VMamba v0 whose layers each scan along four of eight directions, with a channel gate on every direction's output.
"""

from collections.abc import Sequence
from types import SimpleNamespace

import torch.nn.functional as F
from torch import Tensor, nn

from mmvssm import scans

from ._backbone import drop_path_rates
from ._graph import one_node
from ._layers import DirectionalScan, LayerNorm, PatchMerging, conv_stem, nchw, resolve_dt_rank
from ._local import BiAttn, gated_and_normed
from ._registry import Family, Variant
from ._search import Choice, Searched, relate_candidates, with_candidates
from ._settings import check_inner
from ._stages import VSSBackbone, VSSBlock, relate_stages, stage_dims
from ._timm import register


class MultiScan(nn.Module):
    """Gates the branches (B, L, K, d), sums and norms them, and gates the tokens.

    Args:
        dim: channels d.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.attn = BiAttn(dim)

    def forward(self, y: Tensor, norm: nn.Module, z: Tensor) -> Tensor:
        """silu(z) norm(sum), of z's shape (B, H, W, d)."""
        return gated_and_normed(y, self.attn(y), norm, z)


class ChosenMultiScan(Choice):
    """Of a supernet: gates the branches (B, L, K, d), weighs and norms them, and gates the tokens.

    Args:
        dim: channels d.
        candidates: the scan orders.
    """

    def __init__(self, dim: int, candidates: Sequence[scans.Order]):
        super().__init__(candidates)
        self.attn = BiAttn(dim)

    def forward(self, y: Tensor, norm: nn.Module, z: Tensor) -> Tensor:  # type: ignore[override]
        """silu(z) norm(sum), of z's shape (B, H, W, d)."""
        return norm(super().forward(y * self.attn(y))).view(z.shape).to(z.dtype) * F.silu(z)


@one_node
class LocalSS2D(DirectionalScan):
    """Selective scan of a (B, H, W, C) map along the layer's own directions, or along its candidates."""

    order_field = 'directions'  # where a layer's orders were given, for errors

    def __init__(
        self,
        dim: int,
        d_state: int,
        ssm_ratio: float,
        dt_rank: int | str,
        directions: tuple[scans.Order, ...],
        choosing: bool,
    ):
        d_inner = int(ssm_ratio * dim)
        rank = resolve_dt_rank(dt_rank, dim)
        super().__init__(d_inner, d_state, rank, len(directions))
        self.directions = directions
        self.in_proj = nn.Linear(dim, 2 * d_inner, bias=False)
        self.conv2d = nn.Conv2d(d_inner, d_inner, 3, padding=1, groups=d_inner)
        self.multi_scan = ChosenMultiScan(d_inner, directions) if choosing else MultiScan(d_inner)
        self.out_norm = LayerNorm(d_inner)
        self.out_proj = nn.Linear(d_inner, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[1:3]
        x, z = self.in_proj(x).chunk(2, dim=-1)
        x = F.silu(self.conv2d(nchw(x)).permute(0, 2, 3, 1))
        orders = scans.orders(self.directions, height, width, x.device, layer=self)
        y = self.scan(x.flatten(1, 2), orders, merge=False)
        return self.out_proj(self.multi_scan(y, self.out_norm, z))

    def extra_repr(self) -> str:
        return f'directions={self.directions}'


class LocalVMamba(VSSBackbone):
    """LocalVMamba (arXiv 2403.09338); classifier, or maps at strides 4, 8, 16, 32.

    Args:
        directions: for each layer (or once for all) a list of any number of scan orders, by name or function (see
            `mmvssm.scans`); the k-th has the k-th parameters. The published ones are out of h, h_flip, v, v_flip, w2,
            w2_flip, w7, w7_flip, in this order; or the path of a file that `mmvssm search` wrote. A layer that is None
            holds all `candidates` and learns which to keep: the supernet of a search.
        candidates: of the layers without directions, by name or function; None is the published eight.
        depths: blocks of each stage.
        dims: widths; an int doubles from stage to stage.
        d_state: states of a channel.
        ssm_ratio: inner over outer width.
        dt_rank: 'auto' is ceil(width / 16).
        patch_size: of the stem's convolution.
        **common: see :class:`HierarchicalBackbone`; `out_norms` adds the official LayerNorms.
    """

    searched = Searched('directions')

    @classmethod
    def relate(cls, fields: SimpleNamespace) -> None:
        """Widths and directions for each stage and layer."""
        relate_stages(fields, fields.patch_size, 'dims')
        check_inner(fields, 'ssm_ratio', min(stage_dims(fields.dims, len(fields.depths))))
        relate_candidates(fields, 'directions', sum(fields.depths))

    def __init__(
        self,
        directions: Sequence | str | None,
        depths: Sequence[int] = (2, 2, 9, 2),
        dims: int | Sequence[int] = 96,
        d_state: int = 16,
        ssm_ratio: float = 2.0,
        dt_rank: int | str = 'auto',
        patch_size: int = 4,
        candidates: Sequence | None = None,
        **common,
    ):
        super().__init__(**common)
        dims = stage_dims(dims, len(depths))
        given = scans.layer_orders('directions', directions, sum(depths))
        layers = enumerate(with_candidates(given, candidates or scans.LOCAL_SCAN))
        rates = iter(drop_path_rates(self.drop_path_rate, sum(depths)))

        def block(dim: int) -> VSSBlock:
            layer, (orders, choosing) = next(layers)
            op = LocalSS2D(dim, d_state, ssm_ratio, dt_rank, orders, choosing)
            op.order_field = f'directions[{layer}]'
            return VSSBlock(dim, op, next(rates))

        self._assemble(
            stem=conv_stem(self.in_chans, dims[0], patch_size),
            stages=[[block(dim) for _ in range(depth)] for dim, depth in zip(dims, depths)],
            downsamples=[PatchMerging(a, b) for a, b in zip(dims[:-1], dims[1:])],
            dims=dims,
            stem_stride=patch_size,
        )


def checkpoint_filter_fn(state_dict: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """The released names are this project's."""
    return state_dict


def _lists(text: str) -> list[list[str]]:
    return [line.split() for line in text.strip().splitlines()]


TINY_DIRECTIONS = _lists("""
    h h_flip w7 w7_flip
    h_flip v_flip w2 w2_flip
    h_flip v_flip w2_flip w7
    h_flip v v_flip w2
    h h_flip v_flip w2_flip
    h_flip v_flip w2 w2_flip
    h w2_flip w7 w7_flip
    h h_flip v v_flip
    h v_flip w7 w7_flip
    h_flip v w2 w7_flip
    v v_flip w2 w7_flip
    h h_flip v_flip w2_flip
    v_flip w2_flip w7 w7_flip
    h_flip v_flip w2_flip w7_flip
    h_flip v w7 w7_flip
""")

SMALL_DIRECTIONS = _lists("""
    h v v_flip w7_flip
    h h_flip v w7
    h_flip v v_flip w7
    h_flip v w2_flip w7
    h_flip v w2_flip w7
    h_flip v_flip w2 w7_flip
    h_flip v v_flip w7
    h v v_flip w7
    h v v_flip w7
    h v v_flip w7_flip
    h h_flip v v_flip
    h v v_flip w2
    v v_flip w2_flip w7
    h h_flip v w2
    h_flip v v_flip w7_flip
    h h_flip v v_flip
    h v v_flip w7_flip
    h v v_flip w7_flip
    h h_flip v_flip w7
    h_flip v_flip w2_flip w7
    h_flip v v_flip w7_flip
    v v_flip w7 w7_flip
    h v v_flip w7_flip
    h_flip v v_flip w2
    h v v_flip w2_flip
    h h_flip v w7
    h h_flip w7 w7_flip
    h v_flip w2 w2_flip
    h v_flip w2 w7
    h v v_flip w7_flip
    h_flip v w2_flip w7
    h_flip v_flip w7 w7_flip
    h v w7 w7_flip
""")


def _all_eight(d: Sequence[str]) -> list[Sequence[str]]:
    return [d[:4], d[4:], d[::2], d[1::2], d[4:]]


FAMILY = Family(
    LocalVMamba,
    prefix='localvmamba_',
    checkpoint_filter_fn=checkpoint_filter_fn,
    variants={
        'localvmamba_tiny': Variant(
            'LocalVMamba-T, searched directions, 25.5 M parameters.',
            depths=(2, 2, 9, 2),
            dims=96,
            directions=TINY_DIRECTIONS,
        ),
        'localvmamba_small': Variant(
            'LocalVMamba-S, searched directions, 49.7 M parameters.',
            depths=(2, 2, 27, 2),
            dims=96,
            directions=SMALL_DIRECTIONS,
        ),
        'localvmamba_tiny_search': Variant(
            "The narrow supernet in which LocalVMamba-T's directions are searched, 4.6 M parameters.",
            depths=(2, 2, 9, 2),
            dims=32,
            directions=None,
        ),
        'localvmamba_small_search': Variant(
            "The narrow supernet in which LocalVMamba-S's directions are searched, 9.1 M parameters.",
            depths=(2, 2, 27, 2),
            dims=32,
            directions=None,
        ),
        'test_localvmamba': Variant(
            'A micro model for tests that meets all eight directions.',
            depths=(1, 1, 2, 1),
            dims=(16, 32, 48, 64),
            directions=_all_eight(scans.LOCAL_SCAN),
        ),
    },
)
register(FAMILY)
