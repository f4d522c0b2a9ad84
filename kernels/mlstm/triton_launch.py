"""The chunkwise mLSTM on GPUs: vectors, memory and launches around the Triton kernels. Needs triton; no autograd."""

import math
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..backend import on_its_device
from ..precision import has_tf32, widened
from .gates import Gates, denominator, denominator_gradients, in_reading_order, in_token_order
from .reference import NEVER
from .triton_kernels import Tokens, Vectors, apply_pairs, carry_states, sum_chunks

LOG2E = math.log2(math.e)
CARRIED = 256  # numbers of a state that one program carries along
INTERPRETED = not isinstance(apply_pairs, triton.JITFunction)


class Tiles(NamedTuple):
    """What one program covers: tokens BT, channels BX of inner products and BZ of results; warps."""

    BT: int
    BX: int
    BZ: int
    warps: int


def chunk_size_for(length: int, dim: int, chosen: int | None) -> int:
    """Tokens of a chunk, a power of two not below 16: more where the states are large, so that they are few."""
    if chosen is not None:
        return max(16, 1 << (chosen.bit_length() - 1))
    return 64 if dim <= 64 else 128 if dim <= 192 else 256


def state_tiles(dim: int, dtype: torch.dtype) -> Tiles:
    """Operands of four bytes fill the registers sooner: smaller tiles, so that none spills."""
    side = max(16, min(64 if dtype == torch.bfloat16 else 32, triton.next_power_of_2(dim)))
    return Tiles(32, side, side, 4)


# Triton 3.2, which comes with torch 2.6, aborts the process when it compiles the wide tiles for Hopper with 8 warps.
WIDE_WARPS = 4 if triton.__version__.startswith('3.2.') else 8


def pair_tiles(dim: int, dtype: torch.dtype) -> Tiles:
    """Tiles of `apply_pairs`."""
    wide = max(16, triton.next_power_of_2(dim))
    if dtype == torch.float32:
        return Tiles(32 if dim > 16 else 16, 16, min(wide, 64), 8 if wide > 32 else 4)
    return Tiles(64 if dim > 16 else 16, min(wide, 32), min(wide, 128), 4 if wide <= 64 else WIDE_WARPS)


def dot_options(dtype: torch.dtype, device: torch.device) -> dict:
    """Operands of the products: bfloat16 as it is, float16 as tf32 (same digits, no overflow), float32 exactly.

    Where a device has no tf32, float16 is multiplied exactly too.
    Triton's interpreter multiplies bfloat16's bit patterns as integers, so there it gets float32.
    """
    if dtype == torch.bfloat16 and not INTERPRETED:
        return dict(DOT=tl.bfloat16, PRECISION='ieee')
    return dict(DOT=tl.float32, PRECISION='tf32' if dtype == torch.float16 and has_tf32(device) else 'ieee')


class State(NamedTuple):
    """States of the chunks, (b * heads, chunks, dim, dim), their normalisers, and whether they are read transposed."""

    matrix: Tensor
    vector: Tensor
    transposed: bool


class Factors(NamedTuple):
    """Vectors (b, heads, S) in reading order, by which products are scaled and shifted; see `apply_pairs`."""

    scale: Tensor
    shift: Tensor
    edge: Tensor
    edge_shift: Tensor


def _tokens(tensor: Tensor) -> Tokens:
    return Tokens(tensor, *tensor.stride()[:3])


class _Call:
    """One call's sizes and exponents; vectors are (b, heads, S) in reading order."""

    def __init__(self, q: Tensor, gates: Gates, reverse: bool, chunk_size: int):
        self.batch, self.length, self.heads, self.dim = q.shape
        self.reverse, self.chunk = reverse, chunk_size
        self.chunks = triton.cdiv(self.length, chunk_size)
        self.dtype, self.root, self.dots = q.dtype, q.shape[-1] ** -0.5, dot_options(q.dtype, q.device)
        y, M = self.read(gates.y), self.read(gates.M)
        last = torch.arange(1, self.chunks + 1, device=q.device) * chunk_size - 1
        ends = M[..., last.clamp(max=self.length - 1)]
        starts = torch.cat([torch.full_like(ends[..., :1], NEVER), ends[..., :-1]], -1)
        self.decay = torch.exp(starts - ends).float()
        of = torch.arange(self.length, device=q.device) // chunk_size
        self.to_end = torch.exp(y - ends[..., of]).float()
        self.from_start = torch.exp(starts[..., of] - M).float()
        self.M, self.y = _two_floats(M * LOG2E), _two_floats(y * LOG2E)
        self.floor = torch.exp((-self.read(gates.m)).clamp(max=88.0)).float()

    def read(self, x: Tensor) -> Tensor:
        return in_reading_order(x, self.reverse)

    def write(self, x: Tensor) -> Tensor:
        return in_token_order(x, self.reverse)

    def states(
        self, x: Tensor, z: Tensor, weight: Tensor, vector_weight: Tensor, from_end: bool
    ) -> tuple[Tensor, Tensor]:
        """The state before (after if from_end) each chunk, and its normaliser; unset where there is none."""
        tiles = state_tiles(self.dim, self.dtype)
        rows = self.batch * self.heads
        state = x.new_empty(rows, self.chunks, self.dim, self.dim, dtype=torch.float32)
        vector = x.new_empty(rows, self.chunks, self.dim, dtype=torch.float32)
        if self.chunks == 1:
            return state, vector
        grid = rows * (self.chunks - 1) * triton.cdiv(self.dim, tiles.BX) * triton.cdiv(self.dim, tiles.BZ)
        sum_chunks[(grid,)](
            *_tokens(x), *_tokens(z), weight, vector_weight, state, vector,
            self.length, self.dim, self.heads, self.chunks,
            CHUNK=self.chunk, FROM_END=from_end, REVERSE=self.reverse, **self.dots,
            BT=min(tiles.BT, self.chunk), BX=tiles.BX, BZ=tiles.BZ, num_warps=tiles.warps,
        )  # fmt: skip
        for summed, size in ((state, self.dim**2), (vector, self.dim)):
            carry_states[(rows * triton.cdiv(size, CARRIED),)](
                summed, self.decay, size, self.chunks, FROM_END=from_end, BLOCK=CARRIED, num_warps=4
            )
        return state, vector

    def pairs(
        self, kind: str, xyz: tuple[Tensor, Tensor, Tensor], own: Tensor, state: State, factors: Factors, readers: bool,
        eps: float = 0.0,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """The kernel's output (b, S, heads, dim) and, by kind, normaliser (1, b, heads, S) or sums of `own` (2, ..)."""
        tiles = pair_tiles(self.dim, self.dtype)
        BT, columns = min(tiles.BT, self.chunk), triton.cdiv(self.dim, tiles.BZ)
        rows = self.batch * self.heads
        out = own.new_empty(self.batch, self.length, self.heads, self.dim)
        planes = (2, rows, columns) if kind == 'shifted' else (1, rows, 1)
        sums = self.floor.new_empty(*planes, self.length)
        state_strides = (1, self.dim) if state.transposed else (self.dim, 1)
        apply_pairs[(rows * columns * triton.cdiv(self.length, BT),)](
            *(field for tensor in (*xyz, own) for field in _tokens(tensor)),
            *Vectors(self.M, self.y, self.floor, *factors), out, sums, state.matrix, state.vector, *state_strides,
            rows * self.length, self.length, self.dim, self.heads, self.chunks, self.root, eps,
            CHUNK=self.chunk, READERS=readers, KIND=kind, REVERSE=self.reverse, **self.dots,
            BT=BT, BX=tiles.BX, BZ=tiles.BZ, num_warps=tiles.warps,
        )  # fmt: skip
        return out, sums.sum(2).unflatten(1, (self.batch, self.heads))


@on_its_device
def forward(
    q: Tensor, k: Tensor, v: Tensor, gates: Gates, *, reverse: bool, chunk_size: int, eps: float
) -> tuple[Tensor, Tensor]:
    """Output (b, S, heads, dh) of q's dtype and normaliser s q_t . n_t (b, S, heads), float32."""
    q, k, v = _rows(q, k, v)
    call = _Call(q, gates, reverse, chunk_size)
    state, vector = call.states(k, v, call.to_end, call.to_end, from_end=False)
    edge = call.from_start * call.root
    factors = Factors(edge, edge, edge, edge)  # only that of the edge is read
    h, normaliser = call.pairs('output', (q, k, v), q, State(state, vector, False), factors, readers=True, eps=eps)
    return h, call.write(normaliser[0])


@on_its_device
def backward(
    dh: Tensor, q: Tensor, k: Tensor, v: Tensor, h: Tensor, normaliser: Tensor, gates: Gates,
    *, reverse: bool, chunk_size: int, eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of q, k, v (b, S, heads, dh); then, for `gate_gradients`, of log f, k . dk and of m (b, S, heads)."""
    q, k, v, dh = _rows(q, k, v, dh.to(q.dtype))
    call = _Call(q, gates, reverse, chunk_size)
    d_normaliser, dm = denominator_gradients((dh.float() * h.float()).sum(-1), normaliser, gates.m, eps)
    scale = call.read(denominator(normaliser, gates.m, eps).reciprocal().float())
    shift = call.read(d_normaliser.float())
    entering = call.from_start * call.root

    state, vector = call.states(k, v, call.to_end, call.to_end, from_end=False)
    d_state, d_vector = call.states(q, dh, entering * scale, entering * shift, from_end=True)
    factors = Factors(scale, shift, entering * scale, entering * shift)
    dq, q_dq = call.pairs('shifted', (dh, v, k), q, State(state, vector, True), factors, readers=True)
    factors = factors._replace(edge=call.to_end, edge_shift=call.to_end)
    dk, k_dk = call.pairs('shifted', (v, dh, q), k, State(d_state, d_vector, True), factors, readers=False)
    dv, _ = call.pairs('plain', (k, q, dh), k, State(d_state, d_vector, False), factors, readers=False)

    crossing = torch.einsum('rcij,rcij->rc', state[:, 1:], d_state[:, :-1])
    crossing = crossing + torch.einsum('rci,rci->rc', vector[:, 1:], d_vector[:, :-1])
    crossing = widened(crossing.unflatten(0, (call.batch, call.heads)))
    d_log_f = _sum_to_end(widened(q_dq[0]) - widened(k_dk[0]), crossing, call.chunk)
    return dq, dk, dv, call.write(d_log_f), call.write(k_dk.sum(0)), dm


def _sum_to_end(x: Tensor, crossing: Tensor, chunk: int) -> Tensor:
    """Sums of (b, heads, S) from each token to its chunk's end, and `crossing` (b, heads, chunks - 1) beyond it."""
    chunks = crossing.shape[-1] + 1
    padded = torch.nn.functional.pad(x, (0, chunks * chunk - x.shape[-1])).unflatten(-1, (chunks, chunk))
    inside = padded.flip(-1).cumsum(-1).flip(-1)
    return (inside + torch.nn.functional.pad(crossing, (0, 1))[..., None]).flatten(-2)[..., : x.shape[-1]]


def _two_floats(x: Tensor) -> Tensor:
    """float64 as the sum of two float32, (2, ...)."""
    high = x.float()
    return torch.stack([high, (x - high.to(x.dtype)).float()])


def _rows(*tensors: Tensor) -> tuple[Tensor, ...]:
    return tuple(x if x.stride(-1) == 1 else x.contiguous() for x in tensors)
