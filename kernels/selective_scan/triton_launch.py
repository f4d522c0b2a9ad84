"""The selective scan on GPUs: allocation and launches around the Triton kernels. Needs triton; no autograd here."""

import math
from collections.abc import Sequence
from itertools import chain, product
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from mmvssm.tracing import largest

from ..backend import on_its_device
from ..precision import has_tf32
from ..triton_groups import Rows, by_rows
from .tensors import Tensors
from .triton_backward import Gradients, Part, gradient_sweep, gradients
from .triton_common import Form, Given, Sizes, Table
from .triton_forward import carry, sweep
from .triton_states_backward import BLOCK, GROUP, Digits, state_gradients
from .triton_straight import Line, Map, Width, straight_gradient_sweep, straight_sweep
from .triton_straight_backward import straight_gradients
from .triton_tensors import add_up, as_float32, concatenate, line, rows, sum_shares

INTERPRETED = not isinstance(sweep, triton.JITFunction)


class Tile(NamedTuple):
    """What one program covers: `rows` (chunks) by `channels`, with `warps` warps; `stages` of load pipelining."""

    rows: int
    channels: int
    warps: int
    stages: int = 1


MAX_STATES = 16  # of one launch; more are scanned in groups, so that every tile fits the registers
CHUNK = 16  # steps at one state; short, so that there are programs enough for a GPU at batch 2
LONG_CHUNK = 64  # the most at more states, of which a chunk keeps as many numbers
FEWEST_CHUNKS = 16  # of a sequence that has steps for them: a tile's
CHECKED_STATES = 1  # of the self-check: each number compiles anew, and most models have this one


def carries_shape(b, d, K, N, S, straight) -> tuple:
    """See `op`."""
    return (b, K, chunk_sizes(S, N, straight if N == 1 else ())[0], N, d)


def chunk_sizes(steps: int, N: int, straight: Sequence[int]) -> tuple[int, int]:
    """Chunks of an order of `steps` and steps of a chunk; those of the order with most, where rows end them."""
    if straight:
        H, W, _ = straight
        return largest(H * -(-W // CHUNK), W * -(-H // CHUNK)), CHUNK
    if N == 1:
        return -(-steps // CHUNK), CHUNK
    block = BLOCK.value
    length = -(-steps // (largest(-(-steps // LONG_CHUNK), FEWEST_CHUNKS) * block)) * block
    return -(-steps // length), length


ANY_RANK = 1 << 30
# Tiles by kernel and by the most states they serve, those of straight runs by the highest rank: the ones with the
# fewest instructions and no spills. The first one runs; benchmarks.gpu times others. `carry` has rows of chunks.
TILES = {
    ('straight_sweep', 32): [Tile(16, 32, 1), Tile(32, 32, 2)],
    ('straight_sweep', ANY_RANK): [Tile(16, 64, 2), Tile(32, 64, 4)],
    ('straight_gradient_sweep', 31): [Tile(16, 32, 1), Tile(32, 32, 2)],
    ('straight_gradient_sweep', ANY_RANK): [Tile(32, 64, 4)],
    ('straight_gradients', 16): [Tile(16, 16, 1)],
    ('straight_gradients', 31): [Tile(16, 32, 2)],
    ('straight_gradients', ANY_RANK): [Tile(16, 64, 8)],
    ('straight_gradients, float32', 16): [Tile(16, 16, 1)],
    ('straight_gradients, float32', 31): [Tile(16, 32, 4)],
    ('straight_gradients, float32', ANY_RANK): [Tile(16, 32, 8)],
    ('sweep', 1): [Tile(32, 32, 2), Tile(32, 32, 4), Tile(32, 32, 2, 3)],
    ('sweep', 16): [Tile(16, 32, 4), Tile(16, 16, 4)],
    ('gradient_sweep', 1): [Tile(32, 32, 2), Tile(32, 32, 4), Tile(32, 32, 2, 3)],
    ('gradient_sweep', 16): [Tile(16, 32, 4), Tile(16, 16, 4)],
    ('gradients', 1): [Tile(16, 32, 4), Tile(16, 32, 8)],
    ('gradients', 16): [Tile(2, 16, 1)],
    ('carry', 1): [Tile(256, 16, 8), Tile(64, 32, 4)],
    ('carry', 16): [Tile(256, 16, 8), Tile(64, 32, 4)],
}
FEW_CHUNKS = 32  # of which `carry` takes fewer at a time: two binaries for all sizes of a map
SMALL_LAUNCH = 512  # programs; stages 3 and 4 of VMamba-T at 2 x 800 x 1280 have 384 and 192 a direction
GRADIENT_PROGRAMS = 1024  # about as many as a GPU holds at once: each owns a scratch, which should stay in the cache
SCRATCH = 64 << 20  # bytes of all programs' of a launch; more programs come in several launches
SHARES = 64 << 20  # bytes of the sums over channels of blocks that run at once without atomics, or one such share


def _tile(kernel: str, size: int) -> Tile:
    return TILES[kernel, min(n for name, n in TILES if name == kernel and n >= size)][0]


class _Scan:
    """The arguments that every kernel of one call shares."""

    def __init__(self, tensors: Tensors, softplus: bool):
        x, dt, A, B, C, D, dt_bias, dt_weight, index, *_ = tensors
        self.straight = tensors.straight
        self.b, self.L, self.d, self.K, self.N = tensors.sizes
        self.steps = index.shape[1]
        self.num_chunks, self.chunk = chunk_sizes(self.steps, self.N, self.straight)
        self.x, self.dt, self.B, self.C = by_rows(x), by_rows(dt), by_rows(B), by_rows(C)
        self.A, index = as_float32(A, x), by_rows(index)
        self.given = Given(self.A, *(as_float32(z, self.A) for z in (D, dt_bias, dt_weight)))
        self.index = Table(index, index.stride(0))
        half = x.dtype != torch.float32
        self.rank = dt.shape[-1] if dt_weight is not None else 0
        self.sizes = Sizes(self.d, self.rank, self.K, self.steps, self.chunk, self.num_chunks)
        self.form = Form(
            N=self.N,
            NP=self.np,
            BR=max(16, triton.next_power_of_2(self.rank)) if self.rank else 0,
            HAS_BIAS=dt_bias is not None,
            SOFTPLUS=softplus,
            # matrix instructions spread a 16 x 16 tile over a few warps, and the states' tiles then spill
            PRECISION='tf32' if half and self.N == 1 and self.rank > 16 and has_tf32(x.device) else 'ieee',
        )
        self.digits = _digits(x)
        self.has_D = D is not None

    def tile(self, kernel: str) -> Tile:
        return _tile(kernel, self.N)

    @property
    def np(self) -> int:
        return triton.next_power_of_2(self.N)

    def enter_chunks(self, states) -> None:
        """Fill `states` with what enters each chunk."""
        if self.num_chunks == 1:
            states.zero_()
        else:
            deltas = states.new_empty(self.b, self.K, self.num_chunks, self.d)
            self.run_sweep(states, deltas, None, 0, self.K, False)
            self.run_carry(states, deltas, False)

    def gradients_entering_chunks(self, dy: Tensor, states: Tensor) -> Tensor:
        """a g of the step after each chunk."""
        if self.num_chunks == 1:
            return torch.zeros_like(states)
        grads, deltas = torch.empty_like(states), states.new_empty(self.b, self.K, self.num_chunks, self.d)
        self.run_gradient_sweep(dy, grads, deltas)
        self.run_carry(grads, deltas, True)
        return grads

    @property
    def is_small(self) -> bool:
        """Whether one direction would leave most of a GPU idle: all run at once then, and are summed afterwards."""
        tile = self.tile('sweep')
        return self.b * -(-self.num_chunks // tile.rows) * -(-self.d // tile.channels) <= SMALL_LAUNCH

    def outputs(self, shape: tuple, accumulate: bool, dtype: torch.dtype = torch.float32) -> Tensor:
        """Memory that kernels write tokens to, or add them to; an order need not have every token."""
        return self.x.new_zeros(shape, dtype=dtype)

    def run_sweep(self, states, deltas, y, first: int, directions: int, accumulate: bool) -> None:
        """Chunk summaries where y is None, else outputs."""
        tile = self.tile('sweep')
        summary = y is None
        grid = self.b * directions * -(-self.num_chunks // tile.rows) * -(-self.d // tile.channels)
        sweep[(grid,)](
            *rows(self.x), *rows(self.dt), *rows(self.B), *rows(self.C),
            *(Rows(self.A, 0, 0, 0) if summary else rows(y)),
            *self.given, *self.index, states, deltas, first, directions, *self.sizes, *self.form,
            BS=tile.rows, BD=tile.channels, HAS_D=self.has_D and not summary, SUMMARY=summary, ACCUMULATE=accumulate,
            num_warps=tile.warps, num_stages=tile.stages,
        )  # fmt: skip

    def run_carry(self, states, deltas, reverse: bool) -> None:
        tile = self.tile('carry')
        rows = tile.rows if self.num_chunks > FEW_CHUNKS else min(tile.rows, FEW_CHUNKS)
        grid = self.b * self.K * self.N * -(-self.d // tile.channels)
        carry[(grid,)](
            states, deltas, self.A, self.d, self.K, self.num_chunks, -(-self.num_chunks // rows),
            N=self.N, BC=rows, BD=tile.channels, REVERSE=reverse, num_warps=tile.warps, num_stages=tile.stages,
        )  # fmt: skip

    def run_gradient_sweep(self, dy, grads, deltas) -> None:
        tile = self.tile('gradient_sweep')
        grid = self.b * self.K * -(-self.num_chunks // tile.rows) * -(-self.d // tile.channels)
        gradient_sweep[(grid,)](
            *rows(self.dt), *rows(self.C), *rows(dy), *self.given, *self.index, grads, deltas,
            *self.sizes, *self.form, BS=tile.rows, BD=tile.channels, num_warps=tile.warps, num_stages=tile.stages,
        )  # fmt: skip

    def scratch_bytes(self, tile: Tile) -> int:
        """Of one program of `run_gradients`."""
        states = 1 if self.N == 1 else self.np / GROUP.value + 2
        return int(4 * states * self.chunk * tile.rows * tile.channels)

    def run_gradients(
        self, dy, states, grads, outputs, tile: Tile, this: Part, programs, partial, accumulate, atomic
    ) -> None:
        scratch = grads.new_empty(programs * self.scratch_bytes(tile) // 4)
        kernel = gradients if self.N == 1 else state_gradients
        kernel[(programs,)](
            *rows(self.x), *rows(self.dt), *rows(self.B), *rows(self.C), *rows(dy), *rows(outputs[0]),
            *self.given, *self.index, states, grads, scratch, *Gradients(*outputs[1:]),
            partial, self.L, *this, *self.sizes, *self.form, *([] if self.N == 1 else (*self.digits, self.rank)),
            BS=tile.rows, BD=tile.channels, HAS_D=self.has_D, ACCUMULATE=accumulate, ATOMIC=atomic,
            num_warps=tile.warps, num_stages=tile.stages,
        )  # fmt: skip


class _StraightScan(_Scan):
    """One state along rows and columns."""

    def __init__(self, tensors: Tensors, softplus: bool):
        super().__init__(tensors, softplus)
        H, W, codes = self.straight
        self.map = Map(H, W, codes, self.chunk, self.num_chunks)
        self.lines = [line(tensor) for tensor in (self.x, self.dt, self.B, self.C)]
        digits = self.digits
        self.width = Width(
            d=self.d,
            K=self.K,
            R=self.rank,
            BR=self.form.BR,
            DEGREE=digits.DEGREE,
            DOT=digits.DOT,
            CALLED=digits.CALLED,
            SPLIT=digits.SPLIT,
            PRECISION='ieee',
            HAS_BIAS=self.form.HAS_BIAS,
            SOFTPLUS=softplus,
        )

    def outputs(self, shape: tuple, accumulate: bool, dtype: torch.dtype = torch.float32) -> Tensor:
        """As before; here an order has every token."""
        return super().outputs(shape, accumulate, dtype) if accumulate else self.x.new_empty(shape, dtype=dtype)

    def tile(self, kernel: str) -> Tile:
        if kernel == 'carry':
            return super().tile(kernel)
        exact = kernel == 'gradients' and self.x.dtype == torch.float32
        return _tile(f'straight_{kernel}, float32' if exact else f'straight_{kernel}', self.rank)

    def run_sweep(self, states, deltas, y, first: int, directions: int, accumulate: bool) -> None:
        tile = self.tile('sweep')
        summary = y is None
        grid = self.b * directions * -(-self.num_chunks // tile.rows) * -(-self.d // tile.channels)
        straight_sweep[(grid,)](
            *chain(*self.lines), *(Line(self.A, 0, 0) if summary else line(y)), *self.given,
            states, deltas, self.L, first, directions, *self.map, *self.width, BS=tile.rows,
            BD=tile.channels, HAS_D=self.has_D and not summary, SUMMARY=summary, ACCUMULATE=accumulate,
            num_warps=tile.warps, num_stages=tile.stages,
        )  # fmt: skip

    def run_gradient_sweep(self, dy, grads, deltas) -> None:
        tile = self.tile('gradient_sweep')
        grid = self.b * self.K * -(-self.num_chunks // tile.rows) * -(-self.d // tile.channels)
        straight_gradient_sweep[(grid,)](
            *self.lines[1], *self.lines[3], *line(dy), *self.given, grads, deltas, self.L, *self.map, *self.width,
            BS=tile.rows, BD=tile.channels, num_warps=tile.warps, num_stages=tile.stages,
        )  # fmt: skip

    def scratch_bytes(self, tile: Tile) -> int:
        """Of states in float32, of gradients in the type that multiplies them."""
        return (4 + self._grad_type.itemsize) * self.chunk * tile.rows * tile.channels

    @property
    def _grad_type(self) -> torch.dtype:
        return torch.bfloat16 if tl.bfloat16 == self.digits.GRAD_DOT else torch.float32

    def run_gradients(
        self, dy, states, grads, outputs, tile: Tile, this: Part, programs, partial, accumulate, atomic
    ) -> None:
        history = grads.new_empty(programs, self.chunk, tile.rows, tile.channels)
        slopes = torch.empty_like(history, dtype=self._grad_type)
        digits = self.digits
        straight_gradients[(programs,)](
            *chain(*self.lines), *line(dy), *line(outputs[0]), *self.given,
            states, grads, history, slopes, *Gradients(*outputs[1:]), partial, self.L, *this, *self.map, *self.width,
            BS=tile.rows, BD=tile.channels, GRAD_DOT=digits.GRAD_DOT, GRAD_CALLED=digits.GRAD_CALLED,
            GRAD_PRECISION=digits.GRAD_PRECISION, HAS_D=self.has_D, ACCUMULATE=accumulate, ATOMIC=atomic,
            num_warps=tile.warps, num_stages=tile.stages,
        )  # fmt: skip


def _digits(x: Tensor) -> Digits:
    """With what precision a scan of x is computed.

    float16 would overflow in gradients, which are multiplied as float32, if in TF32, whose digits are float16's.
    """
    dtype = x.dtype
    dot = {torch.bfloat16: tl.bfloat16, torch.float16: tl.float16, torch.float32: tl.float32}[dtype]
    grad_dot = tl.bfloat16 if dtype == torch.bfloat16 else tl.float32
    return Digits(
        DEGREE={torch.bfloat16: 3, torch.float16: 4, torch.float32: 8}[dtype],
        DOT=dot,
        CALLED=_called(dot),
        SPLIT=dtype != torch.float32,
        GRAD_DOT=grad_dot,
        GRAD_CALLED=_called(grad_dot),
        GRAD_PRECISION='tf32' if dtype == torch.float16 and has_tf32(x.device) else 'ieee',
    )


def _called(dot: tl.dtype) -> tl.dtype:
    """Triton's interpreter multiplies bfloat16's bit patterns as integers; there rounded numbers become float32."""
    return tl.float32 if INTERPRETED else dot


def _state_groups(tensors: Tensors, softplus: bool) -> list[_Scan]:
    """One scan for each MAX_STATES states; their outputs add up. The first one has the skip."""
    _, _, A, B, C, D, *_ = tensors
    if tensors.straight and A.shape[-1] == 1 and tensors.dt_weight is not None:
        return [_StraightScan(tensors, softplus)]
    tensors = tensors._replace(straight=())
    states = A.shape[-1]
    each = -(-states // -(-states // MAX_STATES)) if states else 1
    return [
        _Scan(tensors._replace(A=A[..., n], B=B[..., n], C=C[..., n], D=D if n.start == 0 else None), softplus)
        for n in (slice(i, i + each) for i in range(0, states, each))
    ]


def _split_states(carries: Tensor, scans: list[_Scan]) -> list[Tensor]:
    """The memory of all carries as one contiguous piece for each group of states."""
    shapes = [carries_shape(s.b, s.d, s.K, s.N, s.steps, s.straight) for s in scans]
    return [piece.view(shape) for piece, shape in zip(carries.view(-1).split([math.prod(s) for s in shapes]), shapes)]


@on_its_device
def forward(tensors: Tensors, softplus: bool, merge: bool, out_dtype: torch.dtype, save: bool) -> tuple[Tensor, Tensor]:
    """See `op`."""
    b, L, d, K, N = tensors.sizes
    x = tensors.x
    scans = _state_groups(tensors, softplus)
    one_by_one = merge and K > 1 and not scans[0].is_small  # directions add to the same tokens
    apart = merge and K > 1 and not one_by_one
    accumulate = one_by_one or len(scans) > 1
    wide = (b, L, K, d) if apart or not merge else (b, L, d)
    y = scans[0].outputs(wide, accumulate, torch.float32 if accumulate or apart else out_dtype)
    carries = x.new_empty(carries_shape(b, d, K, N, tensors.index.shape[1], scans[0].straight), dtype=torch.float32)
    if carries.numel():
        for scan, states in zip(scans, _split_states(carries, scans)):
            scan.enter_chunks(states)
            for first in range(K) if one_by_one else (0,):
                scan.run_sweep(states, states, y, first, 1 if one_by_one else K, accumulate)
    y = y.sum(2) if apart else y
    return y.to(out_dtype), carries if save else carries.new_empty(0)


@on_its_device
def backward(dy: Tensor, carries: Tensor, tensors: Tensors, softplus: bool, merge: bool) -> tuple[Tensor, ...]:
    """See `op`. Bitwise-equal over runs where torch.use_deterministic_algorithms asks for it, else by atomics."""
    x, inputs = tensors.x, tensors.differentiable
    scans = _state_groups(tensors, softplus)
    if not carries.numel():
        grads = [x if z is None else z.new_zeros(z.shape) for z in inputs]
    else:
        each = [
            _group_backward(by_rows(dy), states, scan) for scan, states in zip(scans, _split_states(carries, scans))
        ]
        joins = (add_up, add_up, concatenate, concatenate, concatenate, lambda grads: grads[0], add_up, add_up)
        grads = [join(grads) for join, grads in zip(joins, zip(*each))]
    return tuple(x.new_empty(0) if z is None else g.to(z.dtype).contiguous() for z, g in zip(inputs, grads))


def _group_backward(dy: Tensor, states: Tensor, scan: _Scan) -> tuple[Tensor, ...]:
    """Gradients of x, dt, A, B, C, D, dt_bias, dt_weight, most of them float32."""
    b, L, d, K, N, R = scan.b, scan.L, scan.d, scan.K, scan.N, scan.rank
    grads = scan.gradients_entering_chunks(dy, states)
    tile = scan.tile('gradients')
    atomic = not torch.are_deterministic_algorithms_enabled()
    blocks, blocks_d = -(-scan.num_chunks // tile.rows), -(-d // tile.channels)
    shares = 1 if atomic else min(blocks_d, max(1, SHARES // (4 * b * L * K * (R + 2 * N))))
    at_once = blocks_d if atomic else shares
    shared = scan.x.dim() == 3 and K > 1
    one_by_one = shared and not scan.is_small
    directions = 1 if one_by_one else K
    most = max(1, GRADIENT_PROGRAMS // (b * directions * at_once))
    each = -(-blocks // most)  # blocks of a part
    parts = -(-blocks // each)
    zeros = states.new_zeros
    apart = shared and not one_by_one
    dx = scan.outputs((b, L, K, d) if apart else scan.x.shape, one_by_one)
    ddt = zeros(shares, b, L, K, R) if R else scan.dt.new_zeros(scan.dt.shape)
    dB, dC = zeros(shares, b, L, K, N), zeros(shares, b, L, K, N)
    dA, dD, dbias, dweight = (zeros(b, parts, K, *z) for z in ((N, d), (d,), (d,), (R, d)))
    outputs = (dx, ddt, dB, dC, dA, dD, dbias, dweight)
    limit = max(1, SCRATCH // scan.scratch_bytes(tile))
    for first, first_d in product(range(K) if one_by_one else (0,), range(0, blocks_d, at_once)):
        wide = min(at_once, blocks_d - first_d)
        programs = b * directions * parts * wide
        for start in range(0, programs, limit):
            this = Part(first, directions, parts, each, first_d, wide, start)
            size = min(limit, programs - start), b * L if shares > 1 else 0
            scan.run_gradients(dy, states, grads, outputs, tile, this, *size, one_by_one, atomic)
    by_part = [z.sum((0, 1)) for z in (dA, dD, dbias, dweight)]
    dx = dx.sum(2) if apart else dx
    ddt = sum_shares(ddt) if R else ddt
    dB, dC = sum_shares(dB), sum_shares(dC)
    return dx, ddt, by_part[0].mT, dB, dC, by_part[1], by_part[2], by_part[3].mT
