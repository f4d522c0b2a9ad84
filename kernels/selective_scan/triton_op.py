"""The selective scan on GPUs: allocation and launches around the Triton kernels. Needs triton; no autograd here."""

from typing import NamedTuple

import torch
import triton
from torch import Tensor

from .triton_backward import gradient_sweep, gradients
from .triton_forward import carry, sweep


class Tile(NamedTuple):
    """What one program covers: `rows` (chunks, or steps) by `channels`, with `warps` warps."""

    rows: int
    channels: int
    warps: int


CHUNK = 16  # steps; short, so that there are programs enough for a GPU at batch 2


def carries_shape(b, d, K, N, S) -> tuple:
    return (b, K, (S + CHUNK - 1) // CHUNK, N, d)


def sweep_tile(N: int) -> Tile:
    return Tile(32, 32, 1) if N == 1 else Tile(16, 32, 4 if N <= 16 else 8)


def gradient_tile(N: int) -> Tile:
    return Tile(16, 32, 2) if N == 1 else Tile(16, 32, 8)


def carry_tile(num_chunks: int) -> Tile:
    return Tile(min(256, triton.next_power_of_2(num_chunks)), 16, 4)


GRADIENT_PROGRAMS = 1024  # about as many as a GPU holds at once: each owns a scratch, which should stay in the cache


def _row(tensor: Tensor) -> Tensor:
    """`tensor` with its last dimension contiguous."""
    return tensor if tensor.stride(-1) == 1 or tensor.shape[-1] == 1 else tensor.contiguous()


def _float32(tensor: Tensor | None, like: Tensor) -> Tensor:
    """A parameter, contiguous float32; something to point at where it is absent."""
    return like if tensor is None else tensor.detach().to(torch.float32).contiguous()


def _strides(tensor: Tensor) -> tuple[int, int, int]:
    """Strides of batch, token and direction; x and y shared by the directions have none for them."""
    b, l, *k, _ = tensor.stride()
    return b, l, k[0] if k else 0


class _Scan:
    """The arguments that every kernel of one call shares."""

    def __init__(self, x, dt, A, B, C, D, dt_bias, dt_weight, index, softplus):
        self.b, self.L, self.d = x.shape[0], x.shape[1], x.shape[-1]
        self.K, _, self.N = A.shape
        self.steps = index.shape[1]
        self.num_chunks = -(-self.steps // CHUNK)
        self.x, self.dt, self.B, self.C = _row(x), _row(dt), _row(B), _row(C)
        self.index = _row(index)
        self.A = _float32(A, x)
        self.D, self.bias, self.weight = (_float32(z, self.A) for z in (D, dt_bias, dt_weight))
        rank = dt.shape[-1] if dt_weight is not None else 0
        self.rank = rank
        self.constants = dict(
            N=self.N,
            BR=max(16, triton.next_power_of_2(rank)) if rank else 0,
            HAS_BIAS=dt_bias is not None,
            SOFTPLUS=softplus,
            PRECISION='ieee' if x.dtype == torch.float32 else 'tf32',
        )
        self.has_D = D is not None

    @property
    def np(self) -> int:
        return triton.next_power_of_2(self.N)

    def run_sweep(self, states, deltas, y, first: int, directions: int, enter: bool, accumulate: bool) -> None:
        """Summaries where y is None, else outputs."""
        tile = sweep_tile(self.N)
        summary = y is None
        y = self.A if summary else y
        grid = self.b * directions * -(-self.num_chunks // tile.rows) * -(-self.d // tile.channels)
        sweep[(grid,)](
            self.x, self.dt, self.A, self.B, self.C, self.D, self.bias, self.weight, self.index, states, deltas, y,
            self.index.stride(0), *_strides(self.x), *_strides(self.dt), *_strides(self.B), *_strides(self.C),
            *((0, 0, 0) if summary else _strides(y)),
            self.d, self.rank, self.K, first, directions, self.steps, self.num_chunks,
            NP=self.np, T=CHUNK, BS=tile.rows, BD=tile.channels, **self.constants, HAS_D=self.has_D and not summary,
            SUMMARY=summary, ENTER=enter, ACCUMULATE=accumulate, num_warps=tile.warps,
        )  # fmt: skip

    def run_carry(self, states, deltas, reverse: bool) -> None:
        tile = carry_tile(self.num_chunks)
        grid = self.b * self.K * self.N * -(-self.d // tile.channels)
        carry[(grid,)](
            states, deltas, self.A, self.d, self.K, self.num_chunks, -(-self.num_chunks // tile.rows),
            N=self.N, BC=tile.rows, BD=tile.channels, REVERSE=reverse, num_warps=tile.warps,
        )  # fmt: skip

    def run_gradient_sweep(self, dy, grads, deltas) -> None:
        tile = sweep_tile(self.N)
        grid = self.b * self.K * -(-self.num_chunks // tile.rows) * -(-self.d // tile.channels)
        gradient_sweep[(grid,)](
            self.dt, self.A, self.C, self.bias, self.weight, self.index, dy, grads, deltas,
            self.index.stride(0), *_strides(self.dt), *_strides(self.C), *_strides(dy),
            self.d, self.rank, self.K, self.steps, self.num_chunks,
            NP=self.np, T=CHUNK, BS=tile.rows, BD=tile.channels, **self.constants, num_warps=tile.warps,
        )  # fmt: skip

    def run_gradients(
        self, dy, states, grads, outputs, tile: Tile, first, directions, parts, blocks, accumulate, atomic
    ) -> None:
        grid = self.b * directions * parts * -(-self.d // tile.channels)
        history = grads.new_empty(grid, CHUNK, self.np, tile.rows, tile.channels)
        gradients[(grid,)](
            self.x, self.dt, self.A, self.B, self.C, self.D, self.bias, self.weight, self.index, dy, states, grads,
            history, *outputs, self.index.stride(0), *_strides(self.x), *_strides(self.dt), *_strides(self.B),
            *_strides(self.C), *_strides(dy), *_strides(outputs[0]), 0 if atomic else self.b * self.L,
            self.L, self.d, self.rank, self.K, first, directions, self.steps, self.num_chunks, parts, blocks,
            NP=self.np, T=CHUNK, BS=tile.rows, BD=tile.channels, **self.constants, HAS_D=self.has_D,
            ACCUMULATE=accumulate, ATOMIC=atomic, num_warps=tile.warps,
        )  # fmt: skip


def forward(x, dt, A, B, C, D, dt_bias, dt_weight, index, lengths, softplus, merge, out_dtype, save):
    """See `op`."""
    scan = _Scan(x, dt, A, B, C, D, dt_bias, dt_weight, index, softplus)
    b, L, d, K = scan.b, scan.L, scan.d, scan.K
    shape = (b, L, d) if merge else (b, L, K, d)
    one_by_one = merge and K > 1
    y = x.new_zeros(shape, dtype=torch.float32 if one_by_one else out_dtype)
    states = x.new_zeros((0,), dtype=torch.float32)
    if b * L * d == 0 or scan.steps == 0:
        return y.to(out_dtype), states.new_zeros(carries_shape(b, d, K, scan.N, scan.steps)) if save else states
    enter = scan.num_chunks > 1
    if enter or save:
        states = x.new_empty(carries_shape(b, d, K, scan.N, scan.steps), dtype=torch.float32)
    if enter:
        deltas = states.new_empty(b, K, scan.num_chunks, d)
        scan.run_sweep(states, deltas, None, 0, K, False, False)
        scan.run_carry(states, deltas, False)
    else:
        states.zero_()
    for first in range(K) if one_by_one else (0,):
        scan.run_sweep(states, states, y, first, 1 if one_by_one else K, enter, one_by_one)
    return y.to(out_dtype), states if save else states.new_empty(0)


def backward(dy, carries, x, dt, A, B, C, D, dt_bias, dt_weight, index, lengths, softplus, merge):
    """See `op`. Bitwise-equal over runs where torch.use_deterministic_algorithms asks for it, else by atomics."""
    scan = _Scan(x, dt, A, B, C, D, dt_bias, dt_weight, index, softplus)
    b, L, d, K, N, R = scan.b, scan.L, scan.d, scan.K, scan.N, scan.rank
    inputs = (x, dt, A, B, C, D, dt_bias, dt_weight)
    if b * L * d == 0 or scan.steps == 0:
        return tuple(x.new_empty(0) if z is None else z.new_zeros(z.shape) for z in inputs)
    dy = _row(dy)
    entering = carries.new_zeros(carries.shape)
    if scan.num_chunks > 1:
        deltas = carries.new_empty(b, K, scan.num_chunks, d)
        scan.run_gradient_sweep(dy, entering, deltas)
        scan.run_carry(entering, deltas, True)
    tile = gradient_tile(N)
    atomic = not torch.are_deterministic_algorithms_enabled()
    shares = 1 if atomic else -(-d // tile.channels)
    shared = x.dim() == 3 and K > 1
    blocks = -(-scan.num_chunks // tile.rows)
    parts = min(blocks, max(1, GRADIENT_PROGRAMS // (b * (1 if shared else K) * -(-d // tile.channels))))
    zeros = carries.new_zeros
    dx = zeros(x.shape) if shared else x.new_zeros(x.shape)
    ddt = zeros(shares, b, L, K, R) if R else dt.new_zeros(dt.shape)
    dB, dC = zeros(shares, b, L, K, N), zeros(shares, b, L, K, N)
    dA, dD, dbias, dweight = (zeros(b, parts, K, *z) for z in ((N, d), (d,), (d,), (R, d)))
    for first in range(K) if shared else (0,):
        scan.run_gradients(
            dy, carries, entering, (dx, ddt, dB, dC, dA, dD, dbias, dweight), tile, first, 1 if shared else K,
            parts, -(-blocks // parts), shared, atomic,
        )  # fmt: skip
    grads = (
        dx, ddt.sum(0) if R else ddt, dA.sum((0, 1)).mT, dB.sum(0), dC.sum(0), dD.sum((0, 1)), dbias.sum((0, 1)),
        dweight.sum((0, 1)).mT,
    )  # fmt: skip
    return tuple(
        x.new_empty(0) if z is None else grad.to(z.dtype).contiguous() for z, grad in zip(inputs, grads)
    )
