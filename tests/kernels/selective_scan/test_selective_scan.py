"""The selective scan's CPU implementations against the float64 definition, and the operator around them."""

import dataclasses
import threading
from dataclasses import dataclass

import pytest
import torch
from torch.library import opcheck
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from mmvssm.kernels import selective_scan
from mmvssm.scans import ATROUS_SCAN, CROSS_SCAN, LOCAL_SCAN, orders

FORWARD = {torch.float32: 1e-6, torch.float16: 2e-3, torch.bfloat16: 8e-3}
GRADIENT = {torch.float32: 1e-5, torch.float16: 5e-3, torch.bfloat16: 2e-2}
FIELDS = ('x', 'dt', 'A', 'B', 'C', 'D', 'dt_bias', 'dt_weight')


@dataclass(frozen=True)
class Case:
    """One problem; `length` in place of a map reads tokens in raster order."""

    names: tuple = CROSS_SCAN
    size: tuple = (7, 7)
    length: int | None = None
    states: int = 1
    channels: int = 20
    rank: int | None = 3
    batch: int = 2
    shared: bool = True
    merge: bool = True
    bias: float = 0.0
    extras: bool = True
    softplus: bool = True
    dtype: torch.dtype = torch.float32

    @property
    def directions(self):
        return 2 if self.length else len(self.names)

    def orders(self):
        return None if self.length else orders(self.names, *self.size)

    def tensors(self):
        """Inputs in `dtype`, parameters in at least float32."""
        generator = torch.Generator().manual_seed(0)
        wide = torch.promote_types(self.dtype, torch.float32)
        b, K, d, N = self.batch, self.directions, self.channels, self.states
        L = self.length or self.size[0] * self.size[1]

        def randn(*shape, dtype=self.dtype):
            return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

        x = randn(b, L, d) if self.shared else randn(b, L, K, d)
        dt = randn(b, L, K, self.rank or d)
        if not self.softplus:
            dt = dt.abs()
        A = -(randn(K, d, N, dtype=wide).exp())
        D, bias = (randn(K, d, dtype=wide), randn(K, d, dtype=wide) + self.bias) if self.extras else (None, None)
        weight = randn(K, d, self.rank, dtype=wide) if self.rank else None
        if weight is not None and not self.softplus:
            weight = weight.abs()
        return [x, dt, A, randn(b, L, K, N), randn(b, L, K, N), D, bias, weight]

    def run(self, backend, tensors):
        *head, weight = tensors
        return selective_scan(
            *head, dt_weight=weight, orders=self.orders(), softplus=self.softplus, merge=self.merge, backend=backend
        )


def outputs(case, backend, tensors, autocast=False):
    """The output and the gradient of every input, by name."""
    leaves = [None if z is None else z.detach().clone().requires_grad_() for z in tensors]
    with torch.autocast('cpu', torch.bfloat16, enabled=autocast):
        y = case.run(backend, leaves)
    given = {name: z for name, z in zip(FIELDS, leaves) if z is not None}
    grads = torch.autograd.grad(y, list(given.values()), incoming(y))
    return {'y': y.detach(), **dict(zip(given, grads))}


def incoming(y):
    """A gradient for y."""
    return torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(y.dtype)


def error(got, wanted):
    """Root-mean-square error relative to the root mean square of what is wanted."""
    return ((got.double() - wanted).norm() / wanted.norm().clamp(min=1e-300)).item()


def wrong(case, backend):
    """Names of results that miss the bounds, with their errors."""
    tensors = case.tensors()
    got = outputs(case, backend, tensors)
    wanted = outputs(case, 'reference', [None if z is None else z.double() for z in tensors])
    errors = {name: error(got[name], wanted[name]) for name in wanted}
    bounds = {name: (FORWARD if name == 'y' else GRADIENT)[case.dtype] for name in errors}
    return {name: e for name, e in errors.items() if not e <= bounds[name]}


@pytest.fixture
def poisoned():
    """Fresh memory holds NaN, so an element that nobody writes shows."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


CASES = {
    'cross scan, one state': Case(),
    'cross scan, two states, 13x17': Case(states=2, size=(13, 17)),
    'cross scan, 16 states, 25x40': Case(states=16, size=(25, 40), batch=1),
    'windows with padding': Case(names=LOCAL_SCAN, states=16, size=(13, 17), channels=5, batch=1),
    'windows, one state': Case(names=('w2', 'w7_flip'), size=(25, 40), batch=1),
    'lattices': Case(names=ATROUS_SCAN, states=16, size=(13, 17)),
    'lattices that cover a part': Case(names=('atrous1', 'atrous3'), size=(7, 7)),
    'one row': Case(names=LOCAL_SCAN, size=(1, 9), states=2),
    'one column': Case(names=(*ATROUS_SCAN, 'w2'), size=(9, 1)),
    'one token': Case(length=1, states=2),
    'two tokens': Case(length=2),
    'length 63': Case(length=63, states=16),
    'length 64': Case(length=64),
    'length 65': Case(length=65, states=2),
    'length 1000': Case(length=1000, channels=9, batch=1),
    'length 1000, 16 states': Case(length=1000, states=16, channels=9, batch=1),
    '64 states, odd rank': Case(states=64, rank=17, size=(3, 5), channels=3),
    'seven states': Case(states=7, size=(3, 5)),
    'several blocks of channels': Case(channels=149, size=(3, 5), states=5, rank=9),
    'expanded dt': Case(rank=None, states=2),
    'inputs for each direction': Case(shared=False, merge=False, names=('h', 'w2_flip')),
    'inputs for each direction, merged': Case(shared=False, states=2),
    'shared input, unmerged': Case(merge=False),
    'no D, no bias': Case(extras=False, states=2),
    'no softplus': Case(softplus=False, states=2, size=(3, 5), bias=4.0),
    'tiny steps': Case(bias=-20.0, states=2),
    'huge steps': Case(bias=20.0, states=16),
    'float16': Case(dtype=torch.float16, states=2),
    'bfloat16': Case(dtype=torch.bfloat16, states=16),
}


@pytest.mark.parametrize('backend', ['numba', 'blocked'])
@pytest.mark.parametrize('case', CASES.values(), ids=CASES)
def test_matches_the_definition(poisoned, case, backend):
    assert not wrong(case, backend)


@pytest.mark.parametrize('threads', [1, 2, 3])
def test_any_number_of_threads(threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert not wrong(Case(channels=50, states=2, batch=1), 'numba')
    finally:
        torch.set_num_threads(before)


def test_blocked_recomputes_segments(monkeypatch):
    from mmvssm.kernels.selective_scan import blocked

    monkeypatch.setattr(blocked, 'SEGMENT_ELEMENTS', 1)
    assert not wrong(Case(size=(13, 17), states=2, channels=5), 'blocked')


def test_zero_steps_hold_the_state():
    """delta 0: nothing decays and nothing enters, y = D x."""
    case = Case(rank=None, softplus=False, states=2)
    x, dt, A, B, C, D, _, _ = case.tensors()
    for backend in ('numba', 'blocked', 'reference'):
        y = case.run(backend, [x, torch.zeros_like(dt), A, B, C, D, None, None])
        torch.testing.assert_close(y, x * D.sum(0), rtol=1e-6, atol=1e-6)


def test_the_definition_is_the_recurrence_of_one_channel():
    x, dt, A, B, C, D, bias, _ = Case(length=5, rank=None, channels=1, batch=1, dtype=torch.float64).tensors()
    h, wanted = 0.0, []
    for t in range(5):
        delta = torch.log1p((dt[0, t, 0, 0] + bias[0, 0]).exp())
        h = (delta * A[0, 0, 0]).exp() * h + delta * B[0, t, 0, 0] * x[0, t, 0]
        wanted.append(C[0, t, 0, 0] * h + D[0, 0] * x[0, t, 0])
    y = selective_scan(x, dt, A, B, C, D, bias, merge=False, backend='reference')
    torch.testing.assert_close(y[0, :, 0, 0], torch.stack(wanted))


@pytest.mark.parametrize('backend', ['reference', 'blocked', 'numba'])
@pytest.mark.parametrize(
    'case',
    [
        Case(states=1, size=(2, 3)),
        Case(names=('w2', 'atrous1'), states=2, size=(3, 3), merge=False, shared=False),
        Case(names=('v_flip',), states=16, size=(1, 3), rank=None),
    ],
    ids=['cross scan, 1 state', 'windows and lattice, 2 states', 'columns, 16 states'],
)
def test_gradcheck(case, backend):
    case = dataclasses.replace(case, channels=2, batch=1, dtype=torch.float64, rank=case.rank and 2)
    tensors = case.tensors()
    given = [i for i, z in enumerate(tensors) if z is not None]

    def run(*leaves):
        every = list(tensors)
        for i, leaf in zip(given, leaves):
            every[i] = leaf
        return case.run(backend, every)

    assert torch.autograd.gradcheck(run, [tensors[i].requires_grad_() for i in given])


def test_bitwise_equal_over_runs(poisoned):
    case = Case(states=2, channels=50, size=(13, 17))
    first = outputs(case, 'numba', case.tensors())
    for _ in range(20):
        again = outputs(case, 'numba', case.tensors())
        assert all(torch.equal(first[name], again[name]) for name in first)


def test_callers_in_several_threads():
    case = Case(states=2, channels=50)
    wanted, results = case.run('numba', case.tensors()), []
    threads = [threading.Thread(target=lambda: results.append(case.run('numba', case.tensors()))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 6
    assert all(torch.equal(y, wanted) for y in results)


@pytest.mark.parametrize('backend', ['numba', 'blocked'])
def test_strides_do_not_matter(backend):
    case = Case(states=2)
    tensors = case.tensors()
    x, dt, A, B, C, D, bias, weight = tensors
    wanted = outputs(case, backend, tensors)
    N = B.shape[-1]
    both = torch.cat([B, C, dt], dim=-1)  # as x_proj's slices come
    loose = [x.mT.contiguous().mT, both[..., 2 * N :], A.mT.contiguous().mT, both[..., :N], both[..., N : 2 * N]]
    leaves = [*loose, D.t().contiguous().t(), bias, weight.mT.contiguous().mT]
    y = case.run(backend, leaves)
    torch.testing.assert_close(y, wanted['y'], rtol=0, atol=0)


@pytest.mark.parametrize('backend', ['numba', 'blocked'])
def test_expanded_inputs_get_summed_gradients(backend):
    case = Case(states=2)
    x, dt, A, B, C, D, bias, weight = case.tensors()
    one = B[:, :, :1].clone().requires_grad_()
    case.run(backend, [x, dt, A, one.expand_as(B), C, D, bias, weight]).sum().backward()
    full = one.detach().expand_as(B).clone().requires_grad_()
    case.run(backend, [x, dt, A, full, C, D, bias, weight]).sum().backward()
    torch.testing.assert_close(one.grad, full.grad.sum(2, keepdim=True))


@pytest.mark.parametrize('backend', ['numba', 'blocked', 'reference'])
def test_empty_batch(backend):
    case = Case(batch=0, states=2)
    leaves = [z.requires_grad_() for z in case.tensors()]
    y = case.run(backend, leaves)
    y.sum().backward()
    assert y.shape == (0, 49, 20)
    assert all(z.grad.shape == z.shape and (z.grad == 0).all() for z in leaves)


def test_nan_is_not_swallowed():
    case = Case(states=2, names=('h',))
    tensors = case.tensors()
    tensors[1][0, 10] = float('nan')
    y = case.run('numba', tensors)
    assert y[0, 10:].isnan().all()
    assert not y[1].isnan().any()
    assert not y[0, :10].isnan().any()


def test_out_dtype():
    x, dt, A, B, C, D, bias, weight = Case(dtype=torch.float16).tensors()
    for backend in ('numba', 'blocked'):
        y = selective_scan(x, dt, A, B, C, D, bias, dt_weight=weight, out_dtype=torch.float32, backend=backend)
        assert y.dtype == torch.float32


# The operator


def operator_arguments(case):
    tensors = [None if z is None else z.requires_grad_() for z in case.tensors()]
    o = orders(case.names, *case.size)
    return (*tensors, o.index, o.lengths, o.straight, case.softplus, case.merge, torch.float32, True, 'numba')


@pytest.mark.parametrize(
    'case',
    [Case(size=(3, 5), states=2), Case(size=(3, 5), rank=None, extras=False, merge=False, shared=False)],
    ids=['everything', 'optional absent'],
)
def test_opcheck(case):
    opcheck(torch.ops.mmvssm.selective_scan.default, operator_arguments(case))


def test_opcheck_backward():
    arguments = operator_arguments(Case(size=(3, 5), states=2))
    y, carries = (z.detach() for z in torch.ops.mmvssm.selective_scan(*arguments))
    tensors = [z.detach() for z in arguments[:8]]
    opcheck(
        torch.ops.mmvssm.selective_scan_backward.default,
        (torch.randn_like(y), carries, *tensors, *arguments[8:13], 'numba'),
    )


@pytest.mark.parametrize('names', [('h', 'v_flip', 'w2', 'atrous1'), CROSS_SCAN], ids=['tables', 'straight'])
def test_compiles_whole_with_symbolic_sizes(names):
    def run(x, dt, A, B, C, D, bias, weight, H, W):
        o = orders(names, H, W)
        return selective_scan(x, dt, A, B, C, D, bias, dt_weight=weight, orders=o)

    torch._dynamo.reset()
    compiled = torch.compile(run, fullgraph=True, dynamic=True, backend='aot_eager')
    for size in ((3, 5), (4, 7)):
        leaves = [z.requires_grad_() for z in Case(size=size, states=2).tensors()]
        wanted = torch.autograd.grad(run(*leaves, *size).sum(), leaves)
        got = torch.autograd.grad(compiled(*leaves, *size).sum(), leaves)
        for g, w in zip(got, wanted):
            torch.testing.assert_close(g, w, rtol=1e-5, atol=1e-6)


def test_exports_to_plain_operations_at_any_length():
    class Scan(torch.nn.Module):
        def forward(self, x, dt, A, B, C, D, bias, weight):
            return selective_scan(x, dt, A, B, C, D, bias, dt_weight=weight)

    per_token = {1: torch.export.Dim.AUTO}
    exported = torch.export.export(
        Scan(),
        tuple(Case(length=30, states=2).tensors()),
        dynamic_shapes=(per_token, per_token, None, per_token, per_token, None, None, None),
        strict=False,
    )
    assert not any('mmvssm' in str(node.target) for node in exported.graph.nodes)
    for L in (40, 100):
        tensors = Case(length=L, states=2).tensors()
        torch.testing.assert_close(exported.module()(*tensors), Scan()(*tensors), rtol=1e-4, atol=1e-4)


def test_autocast_leaves_float32_alone():
    case = Case(states=2)
    wanted = outputs(case, 'numba', case.tensors())
    for backend in ('numba', 'blocked'):
        got = outputs(case, backend, case.tensors(), autocast=True)
        for name in wanted:
            torch.testing.assert_close(got[name], wanted[name], rtol=1e-4, atol=1e-4)


def test_activation_checkpointing():
    case = Case(states=2)
    wanted = outputs(case, 'numba', case.tensors())
    leaves = [z.requires_grad_() for z in case.tensors()]
    y = checkpoint(lambda *z: case.run('numba', z), *leaves, use_reentrant=False)
    y.backward(incoming(y))
    for name, leaf in zip(FIELDS, leaves):
        assert torch.equal(leaf.grad, wanted[name])


def test_flops_follow_the_published_convention():
    case = Case(states=16, batch=2)
    tensors = [z.requires_grad_() for z in case.tensors()]
    with FlopCounterMode(display=False) as counter:
        y = case.run('numba', tensors)
    L, K, d, N, R = 49, 4, 20, 16, 3
    published = 2 * (9 * L * K * d * N + L * K * d + L * K * d * R)  # the scan and dt_proj, of two batch elements
    assert counter.get_total_flops() / 2 == published
    with FlopCounterMode(display=False) as counter:
        y.sum().backward()
    assert counter.get_total_flops() / 2 == 2 * published


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'dt': torch.zeros(2, 49, 4, 5)}, r'dt must have shape \(2, 49, 4, 3\)'),
        ({'B': torch.zeros(2, 49, 4, 2)}, r'B must have shape \(2, 49, 4, 1\)'),
        ({'D': torch.zeros(80)}, r'D must have shape \(4, 20\)'),
        ({'x': torch.zeros(2, 48, 20)}, r'dt must have shape \(2, 48, 4, 3\)'),
        ({'x': torch.zeros(2, 20)}, r'x must be \(b, L, d\)'),
        ({'A': -torch.ones(4, 20, 65)}, 'B must have shape|d_state 65; allowed: 1 to 64'),
        ({'A': -torch.ones(3, 20, 1)}, r'dt must have shape \(2, 49, 3, 3\)'),
    ],
    ids=['dt', 'B', 'D', 'x length', 'x dimensions', 'd_state', 'directions'],
)
def test_wrong_shapes_name_the_field(change, message):
    case = Case()
    tensors = dict(zip(FIELDS, case.tensors())) | change
    with pytest.raises(ValueError, match=message):
        case.run('auto', list(tensors.values()))


def test_orders_of_another_map_are_refused():
    x, dt, A, B, C, *_ = Case(rank=None).tensors()
    with pytest.raises(ValueError, match=r'4 orders of 48 tokens; x and A need 4 of 49'):
        selective_scan(x, dt, A, B, C, orders=orders(CROSS_SCAN, 6, 8))
