"""The selective scan on GPUs: allocation and launches around the Triton kernels. Needs triton; no autograd here."""

import math
from typing import NamedTuple

import torch
import triton
from torch import Tensor

from ..backend import on_its_device
from ..triton_groups import Rows
from .tensors import Tensors
from .triton_backward import Gradients, gradient_sweep, gradients
from .triton_common import Form, Given, Sizes, Table
from .triton_forward import carry, sweep


class Tile(NamedTuple):
    """What one program covers: `rows` (chunks) by `channels`, with `warps` warps; `stages` of load pipelining."""

    rows: int
    channels: int
    warps: int
    stages: int = 1


MAX_STATES = 16  # of one launch; more are scanned in groups, so that every tile fits the registers
CHUNK = 16  # steps; short, so that there are programs enough for a GPU at batch 2
CHECKED_STATES = 1  # of the self-check: each number compiles anew, and most models have this one


def carries_shape(b, d, K, N, S) -> tuple:
    """See `op`."""
    return (b, K, (S + CHUNK - 1) // CHUNK, N, d)


# Tiles by kernel and by the most states they serve. The first one runs; benchmarks/gpu.py times the others.
# `carry` has rows of chunks, never more than there are.
TILES = {
    ('sweep', 1): [Tile(32, 32, 2), Tile(32, 32, 4), Tile(32, 32, 2, 3)],
    ('sweep', 16): [Tile(16, 32, 4), Tile(16, 16, 4)],
    ('gradients', 1): [Tile(16, 32, 4), Tile(16, 32, 8)],
    ('gradients', 8): [Tile(16, 16, 4)],
    ('gradients', 16): [Tile(16, 16, 8)],
    ('carry', 1): [Tile(256, 16, 8), Tile(64, 32, 4)],
    ('carry', 16): [Tile(256, 16, 8), Tile(64, 32, 4)],
}
GRADIENT_PROGRAMS = 1024  # about as many as a GPU holds at once: each owns a scratch, which should stay in the cache


def _row(tensor: Tensor) -> Tensor:
    """`tensor` with its last dimension contiguous."""
    return tensor if tensor.stride(-1) == 1 or tensor.shape[-1] == 1 else tensor.contiguous()


def _float32(tensor: Tensor | None, like: Tensor) -> Tensor:
    """A parameter, contiguous float32; something to point at where it is absent."""
    return like if tensor is None else tensor.detach().to(torch.float32).contiguous()


def _rows(tensor: Tensor) -> Rows:
    """For a kernel; x and y shared by the directions have no stride for them."""
    batch, token, *direction, _ = tensor.stride()
    return Rows(tensor, batch, token, direction[0] if direction else 0)


class _Scan:
    """The arguments that every kernel of one call shares."""

    def __init__(self, tensors: Tensors, softplus: bool):
        x, dt, A, B, C, D, dt_bias, dt_weight, index, _ = tensors
        self.b, self.L, self.d, self.K, self.N = tensors.sizes
        self.steps = index.shape[1]
        self.num_chunks = -(-self.steps // CHUNK)
        self.x, self.dt, self.B, self.C = _row(x), _row(dt), _row(B), _row(C)
        self.A, index = _float32(A, x), _row(index)
        self.given = Given(self.A, *(_float32(z, self.A) for z in (D, dt_bias, dt_weight)))
        self.index = Table(index, index.stride(0))
        self.rank = dt.shape[-1] if dt_weight is not None else 0
        self.sizes = Sizes(self.d, self.rank, self.K, self.steps, self.num_chunks)
        self.form = Form(
            N=self.N,
            NP=self.np,
            T=CHUNK,
            BR=max(16, triton.next_power_of_2(self.rank)) if self.rank else 0,
            HAS_BIAS=dt_bias is not None,
            SOFTPLUS=softplus,
            # matrix instructions spread a 16 x 16 tile over a few warps, and the states' tiles then spill
            PRECISION='ieee' if x.dtype == torch.float32 or self.N > 1 else 'tf32',
        )
        self.has_D = D is not None

    def tile(self, kernel: str) -> Tile:
        return TILES[kernel, min(n for name, n in TILES if name == kernel and n >= self.N)][0]

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

    def run_sweep(self, states, deltas, y, first: int, directions: int, accumulate: bool) -> None:
        """Chunk summaries where y is None, else outputs."""
        tile = self.tile('sweep')
        summary = y is None
        grid = self.b * directions * -(-self.num_chunks // tile.rows) * -(-self.d // tile.channels)
        sweep[(grid,)](
            *_rows(self.x), *_rows(self.dt), *_rows(self.B), *_rows(self.C),
            *(Rows(self.A, 0, 0, 0) if summary else _rows(y)),
            *self.given, *self.index, states, deltas, first, directions, *self.sizes, *self.form,
            BS=tile.rows, BD=tile.channels, HAS_D=self.has_D and not summary, SUMMARY=summary, ACCUMULATE=accumulate,
            num_warps=tile.warps, num_stages=tile.stages,
        )  # fmt: skip

    def run_carry(self, states, deltas, reverse: bool) -> None:
        tile = self.tile('carry')
        rows = min(tile.rows, triton.next_power_of_2(self.num_chunks))
        grid = self.b * self.K * self.N * -(-self.d // tile.channels)
        carry[(grid,)](
            states, deltas, self.A, self.d, self.K, self.num_chunks, -(-self.num_chunks // rows),
            N=self.N, BC=rows, BD=tile.channels, REVERSE=reverse, num_warps=tile.warps, num_stages=tile.stages,
        )  # fmt: skip

    def run_gradient_sweep(self, dy, grads, deltas) -> None:
        tile = self.tile('sweep')
        grid = self.b * self.K * -(-self.num_chunks // tile.rows) * -(-self.d // tile.channels)
        gradient_sweep[(grid,)](
            *_rows(self.dt), *_rows(self.C), *_rows(dy), *self.given, *self.index, grads, deltas,
            *self.sizes, *self.form, BS=tile.rows, BD=tile.channels, num_warps=tile.warps, num_stages=tile.stages,
        )  # fmt: skip

    def run_gradients(
        self, dy, states, grads, outputs, tile: Tile, first, directions, parts, blocks, accumulate, atomic
    ) -> None:
        grid = self.b * directions * parts * -(-self.d // tile.channels)
        history = grads.new_empty(grid, CHUNK, self.np, tile.rows, tile.channels)
        gradients[(grid,)](
            *_rows(self.x), *_rows(self.dt), *_rows(self.B), *_rows(self.C), *_rows(dy), *_rows(outputs[0]),
            *self.given, *self.index, states, grads, history, *Gradients(*outputs[1:]),
            0 if atomic else self.b * self.L, self.L, first, directions, parts, blocks, *self.sizes, *self.form,
            BS=tile.rows, BD=tile.channels, HAS_D=self.has_D, ACCUMULATE=accumulate, ATOMIC=atomic,
            num_warps=tile.warps, num_stages=tile.stages,
        )  # fmt: skip


def _state_groups(tensors: Tensors, softplus: bool) -> list[_Scan]:
    """One scan for each MAX_STATES states; their outputs add up. The first one has the skip."""
    _, _, A, B, C, D, *_ = tensors
    return [
        _Scan(tensors._replace(A=A[..., n], B=B[..., n], C=C[..., n], D=D if n.start == 0 else None), softplus)
        for n in (slice(i, i + MAX_STATES) for i in range(0, A.shape[-1], MAX_STATES))
    ]


def _split_states(carries: Tensor, scans: list[_Scan]) -> list[Tensor]:
    """The memory of all carries as one contiguous piece for each group of states."""
    shapes = [carries_shape(s.b, s.d, s.K, s.N, s.steps) for s in scans]
    return [piece.view(shape) for piece, shape in zip(carries.view(-1).split([math.prod(s) for s in shapes]), shapes)]


@on_its_device
def forward(tensors: Tensors, softplus: bool, merge: bool, out_dtype: torch.dtype, save: bool) -> tuple[Tensor, Tensor]:
    """See `op`."""
    b, L, d, K, N = tensors.sizes
    x = tensors.x
    scans = _state_groups(tensors, softplus)
    one_by_one = merge and K > 1  # directions add to the same tokens
    accumulate = one_by_one or len(scans) > 1
    y = x.new_zeros((b, L, d) if merge else (b, L, K, d), dtype=torch.float32 if accumulate else out_dtype)
    carries = x.new_empty(carries_shape(b, d, K, N, tensors.index.shape[1]), dtype=torch.float32)
    if carries.numel():
        for scan, states in zip(scans, _split_states(carries, scans)):
            scan.enter_chunks(states)
            for first in range(K) if one_by_one else (0,):
                scan.run_sweep(states, states, y, first, 1 if one_by_one else K, accumulate)
    return y.to(out_dtype), carries if save else carries.new_empty(0)


@on_its_device
def backward(dy: Tensor, carries: Tensor, tensors: Tensors, softplus: bool, merge: bool) -> tuple[Tensor, ...]:
    """See `op`. Bitwise-equal over runs where torch.use_deterministic_algorithms asks for it, else by atomics."""
    x, inputs = tensors.x, tensors.differentiable
    scans = _state_groups(tensors, softplus)
    if not carries.numel():
        grads = [x if z is None else z.new_zeros(z.shape) for z in inputs]
    else:
        each = [_group_backward(_row(dy), states, scan) for scan, states in zip(scans, _split_states(carries, scans))]
        joins = (sum, sum, _concatenate, _concatenate, _concatenate, lambda grads: grads[0], sum, sum)
        grads = [join(grads) for join, grads in zip(joins, zip(*each))]
    return tuple(x.new_empty(0) if z is None else g.to(z.dtype).contiguous() for z, g in zip(inputs, grads))


def _concatenate(tensors) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(tensors, dim=-1)


def _group_backward(dy: Tensor, states: Tensor, scan: _Scan) -> tuple[Tensor, ...]:
    """Gradients of x, dt, A, B, C, D, dt_bias, dt_weight, most of them float32."""
    b, L, d, K, N, R = scan.b, scan.L, scan.d, scan.K, scan.N, scan.rank
    grads = torch.zeros_like(states)
    if scan.num_chunks > 1:
        deltas = states.new_empty(b, K, scan.num_chunks, d)
        scan.run_gradient_sweep(dy, grads, deltas)
        scan.run_carry(grads, deltas, True)
    tile = scan.tile('gradients')
    atomic = not torch.are_deterministic_algorithms_enabled()
    shares = 1 if atomic else -(-d // tile.channels)
    one_by_one = scan.x.dim() == 3 and K > 1
    directions = 1 if one_by_one else K
    blocks = -(-scan.num_chunks // tile.rows)
    parts = min(blocks, max(1, GRADIENT_PROGRAMS // (b * directions * -(-d // tile.channels))))
    zeros = states.new_zeros
    dx = zeros(scan.x.shape)
    ddt = zeros(shares, b, L, K, R) if R else scan.dt.new_zeros(scan.dt.shape)
    dB, dC = zeros(shares, b, L, K, N), zeros(shares, b, L, K, N)
    dA, dD, dbias, dweight = (zeros(b, parts, K, *z) for z in ((N, d), (d,), (d,), (R, d)))
    outputs = (dx, ddt, dB, dC, dA, dD, dbias, dweight)
    for first in range(K) if one_by_one else (0,):
        scan.run_gradients(
            dy, states, grads, outputs, tile, first, directions, parts, -(-blocks // parts), one_by_one, atomic
        )
    by_part = [z.sum((0, 1)) for z in (dA, dD, dbias, dweight)]
    return dx, ddt.sum(0) if R else ddt, by_part[0].mT, dB.sum(0), dC.sum(0), by_part[1], by_part[2], by_part[3].mT
