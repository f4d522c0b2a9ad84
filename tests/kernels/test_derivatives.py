"""Derivatives beyond one backward pass, of the three operators on their fast paths: those of the definition."""

from collections.abc import Callable
from importlib import import_module
from typing import NamedTuple

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vjp, vmap
from torch.utils._pytree import tree_leaves

from mmvssm import scans
from mmvssm.kernels import mlstm, selective_scan, spectral_filter
from mmvssm.kernels.selective_scan import blocked
from mmvssm.kernels.selective_scan import op as scan_op
from mmvssm.kernels.spectral import blocked as spectral_blocked

mlstm_op = import_module('mmvssm.kernels.mlstm.op')  # the package's attribute of that name is the function


class Problem(NamedTuple):
    """An operator on small float64 tensors, the last of them by the names in `options`; `backend` is the fast one."""

    operator: Callable[..., Tensor]
    tensors: tuple[Tensor, ...]
    backend: str
    options: dict

    def function(self, backend: str | None = None):
        names = self.options.get('names', ())
        fixed = {k: v for k, v in self.options.items() if k != 'names'} | dict(backend=backend or self.backend)

        def run(*tensors):
            first = len(tensors) - len(names)
            return self.operator(*tensors[:first], **dict(zip(names, tensors[first:])), **fixed)

        return run

    def in_batch(self) -> list[bool]:
        """Which tensors have the batch in their first dim."""
        return [self.operator is mlstm or i == 0 or z.dim() == 4 for i, z in enumerate(self.tensors)]


def randn(*shape) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def scan(backend='numba', *, states=1, names=('h', 'w2'), size=(3, 3), rank=2, shared=True, extras=True, **options):
    b, d, K = 2, 3, len(names)
    L = size[0] * size[1]
    x = randn(b, L, d) if shared else randn(b, L, K, d)
    tensors = (x, randn(b, L, K, rank or d), -randn(K, d, states).exp(), randn(b, L, K, states), randn(b, L, K, states))
    some = dict(D=randn(K, d), dt_bias=randn(K, d)) if extras else {}
    if rank:
        some['dt_weight'] = randn(K, d, rank)
    options.update(orders=scans.orders(names, *size), names=tuple(some))
    return Problem(selective_scan, (*tensors, *some.values()), backend, options)


def cell(length=7, **options):
    shape = (2, length, 2, 3)
    tensors = (*(randn(*shape) for _ in range(3)), *(randn(*shape[:3]) for _ in range(2)))
    return Problem(mlstm, tensors, 'blocked', dict(chunk_size=3, **options))


def filtered(transform, weight=(4, 6)):
    return Problem(spectral_filter, (randn(2, 5, 3, 2), randn(2, *weight)), 'auto', dict(transform=transform))


PROBLEMS = {
    'scan': scan,
    'scan, 16 states, no extras, expanded dt': lambda: scan(states=16, extras=False, rank=None, size=(1, 5)),
    'scan, unmerged inputs for each direction': lambda: scan(
        states=2, shared=False, merge=False, names=('w2', 'atrous1')
    ),
    'scan, no softplus': lambda: scan(states=2, softplus=False, extras=False),
    'scan, blocked': lambda: scan('blocked', states=2),
    'mlstm': cell,
    'mlstm, reverse': lambda: cell(reverse=True, eps=0.1),
    'dct': lambda: filtered('dct'),
    'hartley': lambda: filtered('hartley', (5, 3)),
}
MAIN = ('scan', 'mlstm', 'dct')


@pytest.fixture
def problem(request):
    torch.manual_seed(0)
    return PROBLEMS[request.param]()


each = pytest.mark.parametrize('problem', PROBLEMS, indirect=True)
main = pytest.mark.parametrize('problem', MAIN, indirect=True)


def assert_same(found, expected):
    for a, b in zip(tree_leaves(found), tree_leaves(expected), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
    assert any(leaf.abs().max() > 1e-3 for leaf in tree_leaves(expected))


def loss(f):
    return lambda *tensors: f(*tensors).sin().sum()


def every(tensors) -> tuple[int, ...]:
    return tuple(range(len(tensors)))


def leaves(tensors) -> list[Tensor]:
    return [z.clone().requires_grad_() for z in tensors]


@each
def test_forward_mode_by_differences(problem):
    f = problem.function()
    options = dict(check_forward_ad=True, check_batched_grad=True, check_batched_forward_grad=True, fast_mode=True)
    assert torch.autograd.gradcheck(f, leaves(problem.tensors), **options)


@each
def test_second_derivatives_by_differences(problem):
    f = problem.function()
    assert torch.autograd.gradgradcheck(f, leaves(problem.tensors), check_fwd_over_rev=True, fast_mode=True)


def directional(f, t):
    return jvp(f, t, tuple(z.cos() for z in t))[1]


def dual_numbers(f, t):
    with forward_ad.dual_level():
        return forward_ad.unpack_dual(f(*(forward_ad.make_dual(z, z.cos()) for z in t))).tangent


def per_sample(f, t):
    """Gradients of every tensor for each of three inputs x."""
    x = torch.stack([t[0], 1.1 * t[0], 0.9 * t[0]], 1)
    return vmap(grad(loss(f), argnums=every(t)), in_dims=(1, *[None] * (len(t) - 1)))(x, *t[1:])


def through_vmap(f, t):
    stacked = tuple(torch.stack([z, 1.1 * z], -1) for z in t)
    return grad(lambda *z: vmap(f, in_dims=-1)(*z).sin().sum(), argnums=every(t))(*stacked)


def outer_autograd(f, t):
    given = leaves(t)
    y = vmap(f, in_dims=(None,) * (len(t) - 1) + (0,))(*given[:-1], torch.stack([given[-1], 0.9 * given[-1]]))
    return torch.autograd.grad(y.sin().sum(), given)


def transposed(f, t):
    """The directional derivative of a backward pass whose forward pass was before."""
    y, pull = vjp(f, *t)
    return jvp(pull, (y.sin(),), (y.cos(),))[1]


def third_order(f, t):
    given, y = leaves(t), loss(f)
    for _ in range(2):
        first = torch.autograd.grad(y(*given), given, create_graph=True)
        y = lambda *_, first=first: sum(z.square().sum() for z in first)  # noqa: E731
    return torch.autograd.grad(y(), given)


WAYS = {
    'jvp': directional,
    'dual numbers': dual_numbers,
    'grad': lambda f, t: grad(loss(f), argnums=every(t))(*t),
    'jacrev': lambda f, t: jacrev(f, argnums=1)(*t),
    'jacfwd': lambda f, t: jacfwd(f, argnums=1)(*t),
    'hessian': lambda f, t: hessian(loss(f), argnums=len(t) - 1)(*t),
    'jvp of jvp': lambda f, t: directional(lambda *z: directional(loss(f), z), t),
    'grad of jvp': lambda f, t: grad(lambda *z: directional(loss(f), z), argnums=every(t))(*t),
    'grad of grad': lambda f, t: grad(lambda *z: grad(loss(f))(*z).square().sum(), argnums=every(t))(*t),
    'jvp of a pullback': transposed,
    'per-sample gradients': per_sample,
    'vmap of vmap': lambda f, t: vmap(lambda a: vmap(lambda z: f(a, *t[1:-1], z))(torch.stack([t[-1], t[-1].cos()])))(
        torch.stack([t[0], t[0].sin()])
    ),
    'grad of vmap': through_vmap,
    'autograd of vmap': outer_autograd,
    'third order': third_order,
}


@pytest.mark.parametrize('way', WAYS)
@main
def test_equals_the_definition(problem, way):
    found, expected = (WAYS[way](problem.function(backend), problem.tensors) for backend in (None, 'reference'))
    assert_same(found, expected)


@main
def test_of_a_compiled_function(problem):
    torch._dynamo.reset()
    f, t = problem.function(), problem.tensors
    compiled = torch.compile(f, backend='aot_eager')
    assert_same(directional(compiled, t), directional(f, t))


@pytest.mark.parametrize(('problem', 'way'), [('scan', 'grad'), ('mlstm', 'jvp')], indirect=['problem'], ids=str)
def test_compiled(problem, way):
    torch._dynamo.reset()
    f = problem.function()
    compiled = torch.compile(lambda *t: WAYS[way](f, t), fullgraph=True, backend='aot_eager')
    assert_same(compiled(*problem.tensors), WAYS[way](f, problem.tensors))


def test_blocked_in_several_segments(monkeypatch):
    monkeypatch.setattr(blocked, 'SEGMENT_ELEMENTS', 1)
    problem = scan('blocked', names=('h',), size=(13, 11), states=2)
    for way in ('jvp', 'grad', 'grad of grad'):
        found, expected = (WAYS[way](problem.function(name), problem.tensors) for name in ('blocked', 'reference'))
        assert_same(found, expected)


@pytest.mark.parametrize('transform', ['dct', 'hartley'])
def test_filter_by_fft(transform, monkeypatch):
    monkeypatch.setattr(spectral_blocked, 'MATMUL_LIMIT', {transform: 0})
    problem = filtered(transform)
    for way in ('jvp', 'per-sample gradients', 'hessian'):
        found, expected = (WAYS[way](problem.function(name), problem.tensors) for name in ('auto', 'reference'))
        assert_same(found, expected)


@pytest.mark.parametrize('way', ['grad', 'per-sample gradients', 'grad of vmap', 'jacrev'])
@pytest.mark.parametrize('problem', ['scan', 'mlstm'], indirect=True)
def test_reverse_mode_runs_the_kernels(problem, way, monkeypatch):
    """The plain forms are for other derivatives."""
    monkeypatch.setattr(scan_op, 'selective_scan_blocked', None)
    monkeypatch.setattr(mlstm_op, 'mlstm_traced', None)
    WAYS[way](problem.function(), problem.tensors)


@main
def test_training_keeps_and_runs_no_more(problem):
    """A backward pass that nobody differentiates saves nothing."""
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda z: (saved.append(z), z)[1], lambda z: z):
        y = problem.function()(*leaves(problem.tensors)).sum()
        forward = len(saved)
        y.backward()
    tables = {'selective_scan': 3, 'mlstm': 2, 'spectral_filter': 2}  # carries, order; outputs; the resizing matrices
    assert forward == len(saved) == len(problem.tensors) + tables[problem.operator.__name__]


@main
def test_autocast_does_not_reach_inside(problem):
    f, t = problem.function(), tuple(z.float() for z in problem.tensors)
    if problem.operator is spectral_filter:
        t = (t[0], torch.randn(2, 5, 3))  # resizing the weight is not the operator's
    for way in ('jvp', 'grad', 'grad of grad'):
        expected = WAYS[way](f, t)
        with torch.autocast('cpu', dtype=torch.bfloat16):
            assert_same(WAYS[way](f, t), expected)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16], ids=str)
@main
def test_half_types(problem, dtype):
    """Gradients have the type of what they belong to, and its digits."""
    t = tuple(z.to(dtype if batch else torch.float32) for z, batch in zip(problem.tensors, problem.in_batch()))
    f = problem.function()
    for way in ('jvp', 'grad'):
        found, expected = WAYS[way](f, t), WAYS[way](f, tuple(z.double() for z in t))
        for a, b in zip(tree_leaves(found), tree_leaves(expected), strict=True):
            assert (a - b).norm() < 2e-2 * b.norm()
    assert [g.dtype for g in WAYS['grad'](f, t)] == [z.dtype for z in t]


@main
def test_empty_batch(problem):
    f, t = problem.function(), tuple(z[:0] if batch else z for z, batch in zip(problem.tensors, problem.in_batch()))
    assert directional(f, t).shape[0] == 0
    assert all(g.shape == z.shape and not g.any() for g, z in zip(WAYS['grad'](f, t), t))


def test_no_token():
    t = tuple(z[:, :0] for z in cell().tensors)
    assert directional(mlstm, t).shape == (2, 0, 2, 3)


def test_tables_made_inside_a_transform_do_not_belong_to_it():
    def f(x):
        return (x * scans.orders(('v', 'w2_flip'), 5, 9).lengths.sum()).sum()

    vmap(grad(f))(torch.ones(2, 3))
    weight = torch.ones(1, 4, 4)
    grad(lambda w: spectral_filter(torch.ones(1, 6, 11, 1), w).sum())(weight)
    orders = scans.orders(('v', 'w2_flip'), 5, 9)
    assert not any(torch._C._functorch.is_functorch_wrapped_tensor(z) for z in (orders.index, orders.lengths))
    assert spectral_filter(torch.ones(1, 6, 11, 1), weight.requires_grad_()).sum().backward() is None
