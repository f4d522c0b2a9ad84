"""The Triton kernels, interpreted on the CPU at tiny sizes, and compiled ahead of time for GPUs that are not there."""

from functools import partial

import pytest
import torch

from tests.kernels.mlstm import workers

pytest.importorskip('triton')

DIRECTIONS = pytest.mark.parametrize('reverse', [False, True], ids=['forward', 'reverse'])
TOLERANCES = {torch.float32: (1e-6, 1e-5), torch.bfloat16: (8e-3, 2e-2), torch.float16: (2e-3, 5e-3)}


def assert_within(found: dict[str, float], dtype: torch.dtype):
    forward, gradient = TOLERANCES[dtype]
    assert not {name: error for name, error in found.items() if not error <= (forward if name == 'h' else gradient)}


@DIRECTIONS
@pytest.mark.parametrize(('length', 'dim'), [(1, 5), (16, 3), (33, 20), (40, 17)], ids=str)
def test_interpreted_kernels_are_the_definition(interpreted, length, dim, reverse):
    run = partial(workers.interpreted_errors, length, dim, torch.float32, reverse, positive=True)
    assert_within(interpreted(run), torch.float32)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16], ids=str)
def test_interpreted_kernels_in_half_precision(interpreted, dtype):
    assert_within(interpreted(partial(workers.interpreted_errors, 33, 20, dtype, True, positive=True)), dtype)


@pytest.mark.parametrize(('mean', 'std'), [(0.0, 20.0), (5.0, 1.0), (-20.0, 1.0)], ids=['std20', 'long', 'closed'])
def test_interpreted_kernels_with_extreme_gates(interpreted, mean, std):
    gates = dict(positive=True, gate_mean=mean, gate_std=std)
    errors = interpreted(partial(workers.interpreted_errors, 40, 5, torch.float32, False, **gates))
    assert_within(errors, torch.float32)


def test_interpreted_kernels_are_repeatable(interpreted):
    assert interpreted(workers.interpreted_is_repeatable)


def test_interpreted_kernels_read_any_strides(interpreted):
    assert interpreted(workers.interpreted_strided_error) < 1e-5


KERNELS = [
    ('sum_chunks', '', False),
    ('sum_chunks', '', True),
    ('carry_states', '', False),
    ('apply_pairs', 'output', True),
    ('apply_pairs', 'shifted', True),
    ('apply_pairs', 'shifted', False),
    ('apply_pairs', 'plain', False),
]
SETTINGS = [
    pytest.param(*kernel, dtype, dim, arch, marks=() if (dtype, dim, arch, kernel[1]) in QUICK else pytest.mark.slow)
    for QUICK in [{(torch.bfloat16, 96, 90, 'output'), (torch.bfloat16, 96, 80, 'plain')}]
    for kernel in KERNELS
    for dtype in TOLERANCES
    for dim in (96, 192, 384)
    for arch in (80, 90)
]


@pytest.mark.parametrize(('kernel', 'kind', 'readers', 'dtype', 'dim', 'arch'), SETTINGS)
def test_kernels_compile_without_spills(compiled, kernel, kind, readers, dtype, dim, arch):
    used = compiled(workers.resources, kernel, kind, readers, dtype, dim, arch)
    assert used['STACK'] == used['LOCAL'] == 0
    assert 0 < used['REG'] <= 255
