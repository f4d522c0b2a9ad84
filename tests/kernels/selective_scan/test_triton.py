"""Triton kernels of the selective scan, interpreted on the CPU, against the float64 definition."""

import pytest
import torch

from .interpreted import Case, empty_batch, errors, repeated

FORWARD = {torch.float32: 1e-6, torch.float16: 2e-3, torch.bfloat16: 8e-3}
GRADIENT = {torch.float32: 1e-5, torch.float16: 5e-3, torch.bfloat16: 2e-2}
CASES = {
    'cross scan, one state': Case(orders=('h', 'v', 'h_flip', 'v_flip'), size=(3, 3), channels=2),
    'windows with padding, three states': Case(orders=('w2', 'w2_flip'), states=3, size=(3, 3)),
    'lattices that cover a part': Case(orders=('atrous1', 'atrous2'), size=(3, 5)),
    'one token': Case(size=(1, 1)),
    'a chunk exactly': Case(size=(2, 2)),
    'two channels blocks and two batch elements': Case(orders=('h',), size=(1, 5), batch=2, channels=9),
    'an input for each direction, unmerged': Case(shared=False, merge=False, size=(2, 3)),
    'shared input, unmerged': Case(merge=False, size=(2, 3)),
    'input for each direction, merged': Case(shared=False, size=(2, 3)),
    'expanded dt': Case(rank=None, states=2, size=(2, 3)),
    'no D, no bias': Case(optional=False, size=(2, 3)),
    'no softplus': Case(softplus=False, optional=False, size=(2, 3)),
    'non-contiguous': Case(strided=True, size=(2, 3), states=2),
    'tiny steps': Case(bias=-20.0, size=(2, 3)),
    'huge steps': Case(bias=20.0, size=(2, 3), states=2),
    'float16': Case(dtype=torch.float16, size=(2, 3)),
    'bfloat16': Case(dtype=torch.bfloat16, size=(2, 3), states=2),
    'states in two groups': Case(orders=('h',), states=17, size=(1, 5), channels=2),
    'rank above 16': Case(rank=17, size=(1, 5)),
}


@pytest.mark.parametrize('case', CASES.values(), ids=CASES)
def test_matches_the_definition(interpreted, case):
    result = interpreted(errors, case)
    wrong = {
        name: error for name, error in result.items() if not error <= (FORWARD if name == 'y' else GRADIENT)[case.dtype]
    }
    assert not wrong


def test_bitwise_equal_over_runs(interpreted):
    assert interpreted(repeated, Case(orders=('h',), size=(2, 3), channels=9))


def test_empty_batch(interpreted):
    y, grads, wanted = interpreted(empty_batch)
    assert y == (0, 15, 5)
    assert grads == wanted
