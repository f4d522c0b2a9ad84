"""The gated, normed sum: the definition, its derivatives, Triton's kernels interpreted."""

import pytest
import torch

from mmvssm.kernels import gated_norm
from mmvssm.testing import LIMITS
from tests.kernels.gated_norm import workers

SHAPES = [(2, 33, 3, 20), (1, 1, 1, 1), (3, 40, 4, 17), (1, 7, 5, 64)]


def within(errors: list[float], dtype: torch.dtype) -> bool:
    forward, gradient = LIMITS[dtype]
    return errors[0] <= forward and max(errors[1:]) <= gradient


@pytest.mark.parametrize('shape', SHAPES, ids=str)
def test_interpreted_kernels_are_the_definition(interpreted, shape):
    pytest.importorskip('triton')
    assert within(interpreted(workers.errors, torch.float32, shape), torch.float32)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16], ids=str)
def test_interpreted_kernels_in_half_precision(interpreted, dtype):
    pytest.importorskip('triton')
    assert within(interpreted(workers.errors, dtype, SHAPES[0]), dtype)


def test_interpreted_kernels_read_any_strides(interpreted):
    pytest.importorskip('triton')
    assert within(interpreted(workers.errors, torch.float32, SHAPES[0], True), torch.float32)


def test_interpreted_kernels_repeat_bitwise(interpreted):
    pytest.importorskip('triton')
    assert interpreted(workers.repeats, torch.float32, SHAPES[2])


def test_no_batch(interpreted):
    pytest.importorskip('triton')
    options = (torch.float32, (0, 7, 2, 5), False)
    found = interpreted(workers.results, *options, 'triton')
    assert [z.shape for z in found] == [z.shape for z in workers.results(*options, 'blocked')]


def test_plain_form_is_the_definition():
    plain, wanted = (workers.results(torch.float64, SHAPES[0], True, b, wide=True) for b in ('blocked', 'reference'))
    torch.testing.assert_close(plain, wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize('backend', ['blocked', 'reference'])
def test_gradients(backend):
    leaves = [z.requires_grad_() for z in workers.problem(torch.float64, (2, 3, 2, 4))[0]]
    assert torch.autograd.gradcheck(lambda *z: gated_norm(*z, backend=backend), leaves)
    assert torch.autograd.gradgradcheck(lambda *z: gated_norm(*z, backend=backend), leaves)


@pytest.mark.parametrize('field', ['gate', 'weight', 'bias', 'z'])
def test_wrong_shapes_are_refused(field):
    shapes = dict(y=(2, 3, 2, 4), gate=(2, 2, 4), weight=(4,), bias=(4,), z=(2, 3, 4)) | {field: (5,)}
    with pytest.raises(ValueError, match=f'{field} must have shape'):
        gated_norm(**{name: torch.ones(shape) for name, shape in shapes.items()})
