"""Recurrent, quadratic, chunkwise and traced mLSTM are one function, with one gradient."""

from functools import partial

import pytest
import torch

from mmvssm.kernels import mlstm
from mmvssm.kernels.mlstm import mlstm_quadratic, mlstm_recurrent
from tests.kernels.mlstm.common import errors, exactly, make_inputs, with_gradients

DIRECTIONS = pytest.mark.parametrize('reverse', [False, True], ids=['forward', 'reverse'])
LENGTHS = (1, 2, 63, 64, 65, 200)
TOLERANCES = {  # forward, gradients: section 8 of the design
    torch.float64: (1e-11, 1e-11),
    torch.float32: (1e-6, 1e-5),
    torch.bfloat16: (8e-3, 2e-2),
    torch.float16: (2e-3, 5e-3),
}


def assert_close(found, expected, dtype):
    forward, gradient = TOLERANCES[dtype]
    wrong = {k: v for k, v in errors(found, expected).items() if not v <= (forward if k == 'h' else gradient)}
    assert not wrong


@DIRECTIONS
@pytest.mark.parametrize('length', LENGTHS)
def test_quadratic_is_recurrent(length, reverse):
    inputs = make_inputs(length, 7, dtype=torch.float64)
    expected = with_gradients(partial(mlstm_recurrent, reverse=reverse), inputs)
    assert_close(with_gradients(partial(mlstm_quadratic, reverse=reverse), inputs), expected, torch.float64)


@DIRECTIONS
@pytest.mark.parametrize('chunk_size', [1, 16, 64, None], ids=str)
@pytest.mark.parametrize('length', LENGTHS)
def test_blocked_is_recurrent_in_float64(length, chunk_size, reverse):
    inputs = make_inputs(length, 7, dtype=torch.float64)
    expected = with_gradients(partial(mlstm_quadratic, reverse=reverse), inputs)
    found = with_gradients(partial(mlstm, chunk_size=chunk_size, reverse=reverse, backend='blocked'), inputs)
    if length == 1:  # nothing comes before the only token: its forget gate is without effect, up to rounding
        torch.testing.assert_close(found['fgate'], expected['fgate'], rtol=0, atol=1e-14)
        del expected['fgate']
    assert_close(found, expected, torch.float64)


@DIRECTIONS
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize('dim', [5, 96])
def test_blocked_holds_the_error_bounds(dim, dtype, reverse):
    inputs = make_inputs(200, dim, dtype=dtype, positive=True)
    expected = exactly(partial(mlstm_recurrent, reverse=reverse), inputs)
    found = with_gradients(partial(mlstm, chunk_size=48, reverse=reverse, backend='blocked'), inputs)
    assert all(found[name].dtype == dtype for name in found)
    assert_close(found, expected, dtype)


@DIRECTIONS
@pytest.mark.parametrize('std', [10.0, 20.0])
def test_large_gates_in_float64(std, reverse):
    inputs = make_inputs(130, 6, dtype=torch.float64, gate_std=std)
    expected = with_gradients(partial(mlstm_recurrent, reverse=reverse), inputs)
    found = with_gradients(partial(mlstm, chunk_size=32, reverse=reverse, backend='blocked'), inputs)
    assert max(errors(found, expected).values()) < 1e-10


@DIRECTIONS
@pytest.mark.parametrize(
    ('mean', 'std'),
    [(0.0, 10.0), (0.0, 20.0), (5.0, 1.0), (40.0, 5.0), (-20.0, 1.0)],
    ids=['std10', 'std20', 'long', 'open', 'closed'],
)
def test_extreme_gates_in_float32(mean, std, reverse):
    inputs = make_inputs(200, 16, gate_std=std, gate_mean=mean, positive=True)
    expected = exactly(partial(mlstm_recurrent, reverse=reverse), inputs)
    assert_close(with_gradients(partial(mlstm, reverse=reverse, chunk_size=64), inputs), expected, torch.float32)


@DIRECTIONS
@pytest.mark.parametrize('mean', [-20.0, -60.0, -100.0, -1000.0])
def test_gates_all_closed_give_finite_small_results(mean, reverse):
    inputs = make_inputs(70, 6, gate_mean=mean)
    expected = exactly(partial(mlstm_recurrent, reverse=reverse), inputs)
    found = with_gradients(partial(mlstm, reverse=reverse, chunk_size=32, backend='blocked'), inputs)
    for name, value in found.items():
        assert value.isfinite().all()
        # below 1e-38 float32 has fewer digits or none
        torch.testing.assert_close(
            value.double(), expected[name], rtol=1e-4, atol=1e-36 + 1e-7 * float(expected['h'].abs().max())
        )


@pytest.mark.parametrize('length', [1000, 4000])
def test_error_does_not_grow_with_the_length(length):
    """Exponents in float32 would lose four digits here."""
    inputs = make_inputs(length, 8, batch=1, heads=1, positive=True)
    expected = exactly(mlstm_quadratic, inputs)
    assert_close(with_gradients(partial(mlstm, backend='blocked'), inputs), expected, torch.float32)


@DIRECTIONS
def test_reverse_is_the_flipped_sequence(reverse):
    inputs = make_inputs(50, 6)
    flipped = tuple(x.flip(1) for x in inputs)
    torch.testing.assert_close(
        mlstm(*inputs, reverse=reverse, chunk_size=16), mlstm(*flipped, reverse=not reverse, chunk_size=16).flip(1)
    )


def test_eps_stands_beside_the_maximum():
    """One token, q . k too small for the normaliser: h = i v (s q . k) / (max(|s q . k|, exp(-i)) + eps)."""
    q = k = torch.full((1, 1, 1, 4), 0.1, dtype=torch.float64)
    v, gate = torch.ones(1, 1, 1, 4, dtype=torch.float64), torch.full((1, 1, 1), 0.5, dtype=torch.float64)
    weight = 0.02
    expected = weight / (max(weight, torch.exp(-gate).item()) + 0.25)
    for form in (mlstm, mlstm_recurrent, mlstm_quadratic):
        torch.testing.assert_close(form(q, k, v, gate, gate, eps=0.25), torch.full_like(v, expected))


def test_first_forget_gate_has_no_effect():
    inputs = make_inputs(20, 4, dtype=torch.float64)
    other = inputs[4].detach().clone()
    other[:, 0] += 3
    torch.testing.assert_close(mlstm(*inputs), mlstm(*inputs[:4], other))
