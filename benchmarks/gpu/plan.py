"""What is measured: scans and mLSTMs of published models, what checks them, whole models."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.cases import LOCAL, mlstm_inputs, scan_inputs
from mmvssm import scans

DTYPES = {'bf16': torch.bfloat16, 'fp16': torch.float16, 'fp32': torch.float32}
BOTH = ('bf16', 'fp32')


@dataclass(frozen=True)
class Scan:
    """The scan of one stage of a model; `count` blocks have it."""

    name: str
    H: int
    W: int
    d: int
    R: int
    N: int = 1
    orders: tuple[str, ...] = scans.CROSS_SCAN
    merge: bool = True
    batch: int = 2
    count: int = 1
    bias: float = -4.0

    @property
    def kind(self) -> str:
        """Which kernels run it."""
        straight = self.N == 1 and all(order.removesuffix('_flip') in ('h', 'v') for order in self.orders)
        return 'straight scan' if straight else f'scan by tables, {"one state" if self.N == 1 else "states"}'

    @property
    def element_steps(self) -> int:
        """Of all directions."""
        return self.batch * len(self.orders) * self.H * self.W * self.d

    def inputs(self, dtype: str, device: str) -> list[Tensor]:
        """x, dt, A, B, C, D, dt_bias, dt_weight."""
        sizes = self.batch, self.H * self.W, len(self.orders), self.d, self.N, self.R
        return scan_inputs(*sizes, DTYPES[dtype], bias=self.bias, device=device)

    def tables(self, device: str) -> scans.Orders:
        if device != 'meta':
            return scans.orders(self.orders, self.H, self.W, device)
        orders = scans.orders(self.orders, self.H, self.W, 'cpu')
        return orders._replace(index=orders.index.to(device), lengths=orders.lengths.to(device))


@dataclass(frozen=True)
class Lstm:
    """The mLSTM of one block."""

    name: str
    S: int = 4000
    heads: int = 4
    dim: int = 96
    reverse: bool = False
    batch: int = 2
    count: int = 1

    kind = 'mLSTM'

    def inputs(self, dtype: str, device: str) -> list[Tensor]:
        """q, k, v, input gates, forget gates."""
        return mlstm_inputs(self.batch, self.S, self.heads, self.dim, DTYPES[dtype], device)


Work = Scan | Lstm


class Check(NamedTuple):
    """A piece of work that is held against float64."""

    work: Work
    dtype: str

    @property
    def name(self) -> str:
        return f'{self.work.kind}, {self.dtype}: {self.work.name}'

    @property
    def covers(self) -> str:
        return covers(self.work, self.dtype)


def covers(work: Work, dtype: str) -> str:
    """The kernels that a piece of work runs, by a name that checks and timings share."""
    return f'{work.kind}, {dtype}'


@dataclass(frozen=True)
class Net:
    """A whole model: its timm name, torchvision's where timm lacks it, and the kinds of kernels that it runs."""

    label: str
    name: str
    kinds: tuple[str, ...] = ()
    torchvision: str = ''


@dataclass(frozen=True)
class Plan:
    """Everything that a session measures, in the order of its worth.

    Attributes:
        checks: held against float64 before anything is timed; the first of each kind and dtype come first.
        groups: label -> the scans or mLSTMs of a model, which are timed together.
        dtypes: of what is timed.
        nets, dense, square: models, at (batch, height, width) of dense prediction and of classification.
        detectors: configs of which training iterations are timed.
        inside: what else models run at `square`, to be compiled beforehand.
        candidates: tiles that are tried for a kernel.
        backend: what models run on.
    """

    checks: Sequence[Check]
    groups: dict[str, Sequence[Work]]
    nets: Sequence[Net]
    dense: tuple[int, int, int]
    square: tuple[int, int, int]
    dtypes: tuple[str, ...] = BOTH
    detectors: Sequence[str] = ()
    inside: Sequence[Work] = ()
    candidates: int = 12
    backend: str = 'triton'


_MAPS = [(200, 320), (100, 160), (50, 80), (25, 40)]  # of the stages at 800 x 1280
_VMAMBA = [
    Scan(f'stage {i + 1}', *size, 96 << i, 6 << i, count=count)
    for i, (size, count) in enumerate(zip(_MAPS, (2, 2, 8, 2)))
]
_LOCALVMAMBA = [
    Scan(f'stage {i + 1}', *size, 192 << i, 6 << i, 16, LOCAL, merge=False, count=count)
    for i, (size, count) in enumerate(zip(_MAPS, (2, 2, 9, 2)))
]
_VIL = [Lstm('forwards', count=6), Lstm('backwards', reverse=True, count=6)]
_SQUARE = (128, 224, 224)


def _at_square() -> list[Work]:
    batch, height, width = _SQUARE
    found: list[Work] = [replace(lstm, S=height * width // 256, batch=batch) for lstm in _VIL]
    for stages in (_VMAMBA, _LOCALVMAMBA):
        found += [replace(s, H=height >> i + 2, W=width >> i + 2, batch=batch) for i, s in enumerate(stages)]
    return found


def _checks() -> list[Check]:
    """Published widths on maps that fit float64; odd sizes; long memory."""
    tables, ragged = ('h', 'v_flip', 'w2', 'w7'), ('w2', 'w7_flip')
    first = [
        Scan('VMamba, d 384', 50, 80, 384, 24),
        Lstm('4,000 tokens'),
        Scan('LocalVMamba, d 768', 25, 40, 768, 24, 16, tables, merge=False),
        Scan('by tables, one state', 25, 40, 192, 12, 1, (*tables[:2], *ragged)),
    ]
    more = [
        Scan('VMamba, d 96, directions in turn', 200, 320, 96, 6),
        Scan('VMamba, d 192', 100, 160, 192, 12),
        Scan('VMamba, d 768', 25, 40, 768, 48),
        Scan('VMamba-B, d 128', 50, 80, 128, 8),
        Scan('LocalVMamba, d 192', 50, 80, 192, 6, 16, tables, merge=False),
        Scan('LocalVMamba, d 1536', 13, 17, 1536, 48, 16, tables, merge=False),
        Lstm('4,000 tokens, backwards', reverse=True),
        Lstm('197 tokens, heads of 192', S=197, dim=192),
        Lstm('1,000 tokens, heads of 384', S=1000, heads=2, dim=384),
    ]
    odd = [
        Scan('7 x 7, d 40', 7, 7, 40, 3),
        Scan('7 x 7, d 40, steps of 20', 7, 7, 40, 3, bias=20.0),
        Scan('7 x 7, d 40, steps of 2e-9', 7, 7, 40, 3, bias=-20.0),
        Scan('1 x 63, two directions', 1, 63, 33, 3, orders=('h', 'h_flip')),
        Scan('1 x 1', 1, 1, 96, 6),
        Scan('5 states', 1, 65, 32, 2, 5, ('v',)),
        Scan('40 states, three groups', 9, 11, 24, 2, 40, ('w7', 'v')),
        Scan('atrous, 16 states', 25, 40, 64, 4, 16, scans.ATROUS_SCAN),
    ]
    found = [Check(work, dtype) for dtype in BOTH for work in first]
    found += [Check(work, dtype) for dtype in BOTH for work in more]
    return found + [Check(work, 'fp32') for work in odd] + [Check(work, 'fp16') for work in first]


FULL = Plan(
    _checks(),
    {'VMamba-T': _VMAMBA, 'LocalVMamba-T': _LOCALVMAMBA, 'ViL-T': _VIL},
    (
        Net('VMamba-T', 'vmamba_tiny_s1l8', ('straight scan',)),
        Net('Swin-T', 'swin_tiny_patch4_window7_224', torchvision='swin_t'),
        Net('ConvNeXt-T', 'convnext_tiny', torchvision='convnext_tiny'),
        Net('LocalVMamba-T', 'localvmamba_tiny', ('scan by tables, states',)),
        Net('ViT-S', 'vit_small_patch16_224'),
        Net('ViL-T', 'vil2_tiny', ('mLSTM',)),
    ),
    dense=(2, 800, 1280),
    square=_SQUARE,
    inside=_at_square(),
    detectors=('mask_rcnn_vmamba_t', 'mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py', 'mask_rcnn_localvmamba_t'),
)
_SMALL = (
    Scan('tiny', 2, 3, 5, 2, orders=('h', 'v'), batch=1),
    Lstm('tiny', S=5, heads=1, dim=4, batch=1),
    Scan('tiny', 2, 3, 4, 2, 2, ('h', 'w2'), merge=False, batch=1),
)
TINY = Plan(
    [Check(work, 'fp32') for work in _SMALL],
    {label: [work] for label, work in zip(('VMamba', 'ViL', 'LocalVMamba'), _SMALL)},
    (Net('VMamba', 'test_vmamba', ('straight scan',)), Net('nothing', 'no_such_model')),
    dense=(1, 32, 32),
    square=(1, 32, 64),
    dtypes=('fp32',),
    candidates=1,
    backend='blocked',  # the interpreter takes half a minute for a model
)
