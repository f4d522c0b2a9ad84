"""What the Triton tests run in the interpreting worker: one tiny scan against the float64 definition."""

from dataclasses import dataclass

import torch
import triton
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from mmvssm import scans
from mmvssm.kernels.selective_scan import triton_launch
from mmvssm.kernels.selective_scan.op import selective_scan_op
from mmvssm.kernels.selective_scan.reference import selective_scan_reference
from mmvssm.kernels.selective_scan.tensors import Tensors

NAMES = ('x', 'dt', 'A', 'B', 'C', 'D', 'dt_bias', 'dt_weight')


@dataclass(frozen=True)
class Case:
    """One scan; `rank` None is expanded dt, `orders` their names.

    `table`: rows and columns are taken as any other order. `small`: directions run at once, and are summed afterwards.
    """

    orders: tuple[str, ...] = ('h', 'v_flip')
    size: tuple[int, int] = (3, 5)
    batch: int = 1
    channels: int = 5
    states: int = 1
    rank: int | None = 3
    dtype: torch.dtype = torch.float32
    shared: bool = True
    merge: bool = True
    bias: float = 0.0
    optional: bool = True
    softplus: bool = True
    strided: bool = False
    table: bool = False
    small: bool = False


def _shrink(case: Case | None = None) -> None:
    """Tiles so small that tiny inputs fill several of them, raggedly."""
    tile = triton_launch.Tile
    smallest = (2, 8) if hasattr(triton, 'knobs') else (16, 16)  # of tl.dot, which took no smaller ones before
    triton_launch.CHUNK, triton_launch.LONG_CHUNK, triton_launch.FEWEST_CHUNKS = 4, 8, 1
    if case is not None and case.size[0] * case.size[1] > 30:
        smallest, triton_launch.CHUNK, triton_launch.LONG_CHUNK = (16, 16), 16, 64
    triton_launch.TILES = {key: [tile(*smallest, 1)] for key in triton_launch.TILES}
    triton_launch.GRADIENT_PROGRAMS = 4
    triton_launch.SMALL_LAUNCH = 512 if case is not None and case.small else 0


def inputs(case: Case) -> list[Tensor | None]:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        if case.strided:  # every other entry of a larger tensor, last dimension outermost
            wide = torch.randn(shape[-1], *shape[:-1], 2, generator=generator)[..., 0]
            return wide.movedim(0, -1).to(case.dtype)
        return torch.randn(shape, generator=generator).to(case.dtype)

    b, d, K, N = case.batch, case.channels, len(case.orders), case.states
    L = case.size[0] * case.size[1]
    x = draw(b, L, d) if case.shared else draw(b, L, K, d)
    dt = draw(b, L, K, case.rank or d) * 0.5
    A = -(torch.rand(K, d, N, generator=generator) + 0.1)
    bias = torch.randn(K, d, generator=generator) + case.bias if case.optional else None
    skip = torch.randn(K, d, generator=generator) if case.optional else None
    weight = torch.randn(K, d, case.rank, generator=generator) if case.rank else None
    return [x, dt if case.softplus else dt.abs(), A, draw(b, L, K, N), draw(b, L, K, N), skip, bias, weight]


def rms_relative(got: Tensor, want: Tensor) -> float:
    scale = want.pow(2).mean().sqrt().item()
    error = (got.double() - want).pow(2).mean().sqrt().item()
    return error / scale if scale else error


def _given(case: Case, tensors, orders: scans.Orders) -> Tensors:
    return Tensors(*tensors, orders.index, orders.lengths, () if case.table else orders.straight)


def errors(case: Case) -> dict[str, float]:
    """RMS-relative errors of y and of each gradient; NaN where memory stayed unwritten."""
    _shrink(case)
    orders = scans.build(case.orders, *case.size)
    tensors = inputs(case)
    given = _given(case, tensors, orders)
    leaves = [None if t is None else t.double().requires_grad_() for t in tensors]
    want = selective_scan_reference(*leaves, orders, case.softplus, case.merge, torch.float64)
    dy = torch.randn(want.shape, generator=torch.Generator().manual_seed(1)).to(case.dtype)
    grads = torch.autograd.grad(want, [t for t in leaves if t is not None], dy.double())
    torch.use_deterministic_algorithms(True)  # also fills new memory with NaN
    try:
        y, carries = triton_launch.forward(given, case.softplus, case.merge, case.dtype, True)
        exact = triton_launch.backward(dy, carries, given, case.softplus, case.merge)
    finally:
        torch.use_deterministic_algorithms(False)
    present = [name for name, t in zip(NAMES, tensors) if t is not None]
    got = [g for g, t in zip(exact, tensors) if t is not None]
    assert all(g.dtype == t.dtype and g.shape == t.shape for g, t in zip(exact, tensors) if t is not None)
    result = {name: rms_relative(g, w) for name, g, w in zip(present, got, grads)}
    return {'y': rms_relative(y, want.detach()), **result}


def repeated(case: Case) -> bool:
    """Whether forward and deterministic backward agree bit by bit over runs; atomics may round differently."""
    _shrink(case)
    orders = scans.build(case.orders, *case.size)
    tensors = inputs(case)
    given = _given(case, tensors, orders)
    runs = []
    for deterministic in (True, True, False):
        torch.use_deterministic_algorithms(deterministic)
        try:
            y, carries = triton_launch.forward(given, case.softplus, case.merge, torch.float32, True)
            grads = triton_launch.backward(torch.ones_like(y), carries, given, case.softplus, case.merge)
            runs.append((y, *grads))
        finally:
            torch.use_deterministic_algorithms(False)
    same = all(torch.equal(a, b) for a, b in zip(runs[0], runs[1]))
    return same and all(torch.allclose(a, b, rtol=1e-5, atol=1e-6) for a, b in zip(runs[0], runs[2]))


def same_in_many_launches(case: Case) -> bool:
    """Whether deterministic gradients are the same where a launch has one program, and one share at a time."""
    _shrink(case)
    orders = scans.build(case.orders, *case.size)
    given = _given(case, inputs(case), orders)
    limits = triton_launch.SCRATCH, triton_launch.SHARES
    runs = []
    torch.use_deterministic_algorithms(True)
    try:
        y, carries = triton_launch.forward(given, case.softplus, case.merge, torch.float32, True)
        for triton_launch.SCRATCH, triton_launch.SHARES in (limits, (1, 1)):
            runs.append(triton_launch.backward(torch.ones_like(y), carries, given, case.softplus, case.merge))
    finally:
        torch.use_deterministic_algorithms(False)
        triton_launch.SCRATCH, triton_launch.SHARES = limits
    return all(torch.allclose(a, b, rtol=1e-5, atol=1e-6) for a, b in zip(*runs))


def empty_batch() -> tuple:
    """Shapes of the results for a batch of none."""
    case = Case(batch=0)
    orders = scans.build(case.orders, *case.size)
    tensors = inputs(case)
    given = _given(case, tensors, orders)
    y, carries = triton_launch.forward(given, True, True, torch.float32, True)
    grads = triton_launch.backward(y, carries, given, True, True)
    return y.shape, [g.shape for g in grads], [t.shape for t in tensors]


def operation_shapes(case: Case) -> list[list[tuple]]:
    """Shapes of y and the carries, as the operation makes them and as its fake kernel says."""
    _shrink(case)
    orders = scans.build(case.orders, *case.size)
    tables = orders.index, orders.lengths, orders.straight
    options = case.softplus, case.merge, torch.float32, True, 'triton'
    given = (*inputs(case), *tables)
    real = selective_scan_op(*given, *options)
    with FakeTensorMode() as mode:
        fake = selective_scan_op(*(mode.from_tensor(z) if isinstance(z, Tensor) else z for z in given), *options)
    return [[tuple(z.shape) for z in each] for each in (real, fake)]
