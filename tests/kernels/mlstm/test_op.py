"""The mLSTM as an operator: arguments, gradients by differences, torch.library, compile, export, autocast, counts."""

from functools import partial

import pytest
import torch
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from mmvssm.kernels import mlstm, use_backend
from mmvssm.kernels.mlstm import mlstm_recurrent
from tests.kernels.mlstm.common import errors, exactly, make_inputs, with_gradients

DIRECTIONS = pytest.mark.parametrize('reverse', [False, True], ids=['forward', 'reverse'])


@DIRECTIONS
@pytest.mark.parametrize('backend', ['reference', 'blocked'])
def test_gradcheck(backend, reverse):
    inputs = make_inputs(9, 3, batch=1, dtype=torch.float64)
    chunk = None if backend == 'reference' else 4
    assert torch.autograd.gradcheck(partial(mlstm, reverse=reverse, chunk_size=chunk, backend=backend), inputs)


def test_gradient_through_eps_is_exact():
    """With a large eps the stabiliser's own gradient matters."""
    inputs = make_inputs(11, 3, batch=1, dtype=torch.float64)
    found = with_gradients(partial(mlstm, eps=0.3, chunk_size=4), inputs)
    expected = with_gradients(partial(mlstm_recurrent, eps=0.3), inputs)
    assert max(errors(found, expected).values()) < 1e-12


@DIRECTIONS
def test_opcheck(reverse):
    inputs = make_inputs(9, 3)
    torch.library.opcheck(torch.ops.mmvssm.mlstm.default, (*inputs, reverse, 4, 1e-6, 'blocked'))


def test_compiles_for_any_length_without_a_graph_break():
    compiled = torch.compile(partial(mlstm, reverse=True), fullgraph=True, dynamic=True, backend='aot_eager')
    for length in (9, 70):
        inputs = make_inputs(length, 3)
        found = with_gradients(compiled, inputs)
        expected = with_gradients(partial(mlstm, reverse=True), inputs)
        assert max(errors(found, expected).values()) == 0


@DIRECTIONS
def test_export_traces_plain_operations_for_any_length(reverse):
    class Cell(torch.nn.Module):
        def forward(self, q, k, v, i, f):
            return mlstm(q, k, v, i, f, reverse=reverse, chunk_size=16)

    inputs = tuple(x.detach() for x in make_inputs(40, 3))
    program = torch.export.export(Cell(), inputs, dynamic_shapes=[{1: torch.export.Dim.AUTO}] * 5, strict=False)
    assert 'mmvssm' not in str(program.graph)
    for n in (40, 64, 101):
        inputs = tuple(x.detach() for x in make_inputs(n, 3))
        torch.testing.assert_close(program.module()(*inputs), mlstm(*inputs, reverse=reverse), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16], ids=str)
def test_autocast_does_not_reach_inside(dtype):
    inputs = make_inputs(70, 6, dtype=dtype, positive=True)
    outside = with_gradients(mlstm, inputs)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        inside = with_gradients(mlstm, inputs)
    assert max(errors(inside, outside).values()) == 0


def test_gates_may_have_another_dtype():
    q, k, v, i, f = make_inputs(30, 4)
    h = mlstm(q, k, v, i.double(), f.bfloat16())
    grads = torch.autograd.grad(h.sum(), (q, i, f))
    assert [g.dtype for g in grads] == [torch.float32] * 3


def test_any_strides():
    inputs = make_inputs(40, 6)
    strided = tuple(x.detach().movedim(1, 0).contiguous().movedim(0, 1).requires_grad_() for x in inputs)
    assert max(errors(with_gradients(mlstm, strided), with_gradients(mlstm, inputs)).values()) < 1e-6
    expanded = make_inputs(40, 6, batch=1)
    whole = mlstm(*(x.expand(3, *x.shape[1:]) for x in expanded))
    torch.testing.assert_close(whole, mlstm(*expanded).expand_as(whole))


@pytest.mark.parametrize('shape', [(0, 5, 2, 4), (2, 0, 2, 4)], ids=['batch', 'length'])
def test_empty(shape):
    inputs = tuple(torch.zeros(s, requires_grad=True) for s in (shape, shape, shape, shape[:3], shape[:3]))
    found = with_gradients(mlstm, inputs)
    assert found['h'].shape == shape


def test_runs_are_bitwise_equal():
    inputs = make_inputs(150, 6)
    first = with_gradients(mlstm, inputs)
    for _ in range(5):
        assert all(torch.equal(value, first[name]) for name, value in with_gradients(mlstm, inputs).items())


def test_checkpointing_changes_nothing():
    inputs = make_inputs(40, 6)
    again = with_gradients(lambda *x: checkpoint(mlstm, *x, use_reentrant=False), inputs)
    assert max(errors(again, with_gradients(mlstm, inputs)).values()) == 0


def test_uninitialised_memory_does_not_show(monkeypatch):
    """Outputs are written whole: filled with NaN beforehand, none is left."""
    empty = torch.Tensor.new_empty
    monkeypatch.setattr(torch.Tensor, 'new_empty', lambda self, *a, **k: empty(self, *a, **k).fill_(float('nan')))
    inputs = make_inputs(70, 5)
    found = with_gradients(partial(mlstm, chunk_size=32), inputs)
    assert all(value.isfinite().all() for value in found.values())


def test_multiply_adds_are_those_of_the_causal_half_of_all_pairs():
    q, k, v, i, f = make_inputs(30, 4, batch=2, heads=3)
    with FlopCounterMode(display=False) as counter:
        h = mlstm(q, k, v, i, f)
    assert counter.get_total_flops() // 2 == 2 * 3 * 4 * 30**2
    with FlopCounterMode(display=False) as counter:
        h.sum().backward()
    assert counter.get_total_flops() // 2 == 2 * 3 * 4 * 30**2 * 5 // 2


def test_memory_is_linear_in_the_length():
    """No tensor with two lengths in it: the largest that one call makes grows with the length, not its square."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        size = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            outs = out if isinstance(out, tuple | list) else (out,)
            self.size = max([self.size, *(x.numel() for x in outs if isinstance(x, torch.Tensor))])
            return out

    from mmvssm.kernels.mlstm import blocked
    from mmvssm.kernels.mlstm.gates import gate_terms

    def largest(length: int) -> int:
        q, k, v, i, f = (x.detach() for x in make_inputs(length, 8, batch=1, heads=1))
        options = dict(reverse=False, chunk_size=64, eps=1e-6)
        with torch.no_grad(), Largest() as mode:
            gates = gate_terms(i, f, reverse=False)
            h, normaliser = blocked.forward(q, k, v, gates, **options)
            blocked.backward(h, q, k, v, h, normaliser, gates, **options)
        return mode.size

    assert largest(4096) == 2 * largest(2048)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(q=torch.zeros(2, 5, 8)), 'q must be'),
        (dict(k=torch.zeros(2, 5, 2, 3)), 'k must have shape'),
        (dict(v=torch.zeros(2, 6, 2, 4)), 'v must have shape'),
        (dict(igate=torch.zeros(2, 5)), 'igate must have shape'),
        (dict(fgate=torch.zeros(2, 5, 3)), 'fgate must have shape'),
        (dict(v=torch.zeros(2, 5, 2, 4).double()), 'one floating dtype'),
        (dict(chunk_size=0), 'chunk_size=0'),
        (dict(backend='cuda'), 'backend'),
        (dict(backend='numba'), 'no such backend'),
    ],
    ids=lambda x: next(iter(x)) if isinstance(x, dict) else None,
)
def test_bad_arguments_are_named(change, message):
    q, gate = torch.zeros(2, 5, 2, 4), torch.zeros(2, 5, 2)
    arguments = {**dict(q=q, k=q, v=q, igate=gate, fgate=gate), **change}
    with pytest.raises(ValueError, match=message):
        mlstm(**arguments)


def test_backend_can_be_set_around_calls():
    inputs = make_inputs(12, 3)
    with use_backend('reference'):
        torch.testing.assert_close(mlstm(*inputs), mlstm_recurrent(*inputs), rtol=0, atol=0)
    assert max(errors(with_gradients(mlstm, inputs), exactly(mlstm_recurrent, inputs)).values()) < 1e-4
