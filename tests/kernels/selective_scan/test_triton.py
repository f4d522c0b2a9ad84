"""Triton kernels of the selective scan, interpreted on the CPU, against the float64 definition."""

import pytest
import torch

from .interpreted import Case, empty_batch, errors, operation_shapes, repeated, same_in_many_launches

FORWARD = {torch.float32: 1e-6, torch.float16: 2e-3, torch.bfloat16: 8e-3}
GRADIENT = {torch.float32: 1e-5, torch.float16: 5e-3, torch.bfloat16: 2e-2}
CROSS = ('h', 'v', 'h_flip', 'v_flip')
CASES = {
    'cross scan, one state': Case(orders=CROSS, size=(3, 3), channels=2),
    'cross scan by its table': Case(orders=CROSS, size=(3, 3), channels=2, table=True),
    'cross scan by its table, at once': Case(orders=CROSS, size=(2, 3), channels=2, table=True, small=True),
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
    'three states, chunks of several groups': Case(orders=('h', 'w2_flip'), states=3, size=(5, 7), channels=17),
    'sixteen states, bf16': Case(orders=('v',), states=16, size=(3, 3), batch=2, dtype=torch.bfloat16),
    'rank above 16, two states': Case(rank=17, states=2, size=(1, 5)),
    'rank above 16': Case(rank=17, size=(1, 5)),
    'rank above 16, by a table': Case(rank=17, size=(1, 5), table=True),
}
STRAIGHT = {
    'a square': Case(orders=CROSS, size=(7, 7), small=True),
    'primes': Case(orders=CROSS, size=(13, 17), batch=2),
    'the last stage of a detector': Case(orders=('h', 'v_flip'), size=(25, 40), small=True),
    'one row': Case(orders=CROSS, size=(1, 19)),
    'one column': Case(orders=CROSS, size=(19, 1), small=True),
    'runs of one step more than a chunk': Case(orders=CROSS, size=(3, 5)),
    'runs of a chunk': Case(orders=CROSS, size=(4, 4)),
    'two tiles of channels and two batch elements': Case(orders=('h', 'v'), size=(3, 5), batch=2, channels=9),
    'one direction': Case(orders=('v_flip',), size=(5, 6)),
    'three directions': Case(orders=('h', 'h_flip', 'v'), size=(5, 3)),
    'one input for each direction, unmerged': Case(orders=CROSS, size=(5, 3), shared=False, merge=False),
    'one input for each direction, merged': Case(orders=CROSS, size=(3, 5), shared=False),
    'a shared input, unmerged': Case(orders=CROSS, size=(3, 5), merge=False, batch=2),
    'a rank that fills its matrix': Case(orders=('h', 'v'), size=(3, 5), rank=16),
    'rank 33': Case(orders=('h',), size=(3, 5), rank=33),
    'no D, no bias': Case(orders=('h', 'v'), size=(3, 5), optional=False),
    'no bias, a rank that fills its matrix': Case(orders=('h', 'v'), size=(3, 5), rank=16, optional=False),
    'no softplus': Case(orders=('h', 'v'), size=(3, 5), softplus=False, optional=False),
    'non-contiguous': Case(orders=('h', 'v'), size=(3, 5), strided=True, batch=2),
    'tiny steps': Case(orders=('h', 'v'), size=(3, 5), bias=-20.0),
    'huge steps': Case(orders=('h', 'v'), size=(3, 5), bias=20.0),
    'tiny steps, bf16': Case(orders=('h', 'v'), size=(3, 5), bias=-20.0, dtype=torch.bfloat16),
    'huge steps, bf16': Case(orders=('h', 'v'), size=(3, 5), bias=20.0, dtype=torch.bfloat16),
    'bf16': Case(orders=CROSS, size=(13, 17), dtype=torch.bfloat16),
    'bf16, a rank that fills its matrix': Case(orders=('h', 'v'), size=(3, 5), rank=16, dtype=torch.bfloat16),
    'fp16': Case(orders=CROSS, size=(13, 17), dtype=torch.float16),
    'small steps, fp16': Case(orders=('h', 'v'), size=(3, 5), bias=-5.0, dtype=torch.float16),
}


SECONDS_LONG = {'primes', 'the last stage of a detector', 'one column', 'fp16'}


@pytest.mark.parametrize(
    'case',
    [pytest.param(c, id=name, marks=[pytest.mark.slow] * (name in SECONDS_LONG)) for name, c in STRAIGHT.items()],
)
def test_straight_runs_match_the_definition(interpreted, case):
    assert not _wrong(interpreted, case)


@pytest.mark.parametrize('case', CASES.values(), ids=CASES)
def test_matches_the_definition(interpreted, case):
    assert not _wrong(interpreted, case)


def _wrong(interpreted, case) -> dict[str, float]:
    """The results beyond the limits."""
    result = interpreted(errors, case)
    return {
        name: error for name, error in result.items() if not error <= (FORWARD if name == 'y' else GRADIENT)[case.dtype]
    }


@pytest.mark.parametrize('small', [False, True], ids=['one direction a launch', 'all at once'])
@pytest.mark.parametrize('table', [False, True], ids=['straight', 'table'])
def test_bitwise_equal_over_runs(interpreted, table, small):
    assert interpreted(repeated, Case(orders=('h', 'v'), size=(2, 3), channels=9, table=table, small=small))


@pytest.mark.parametrize('case', [Case(channels=9), Case(channels=9, states=2)], ids=['one state', 'two states'])
def test_gradients_in_many_launches(interpreted, case):
    """As where neither all programs' scratch nor the sums of all blocks of channels have room."""
    assert interpreted(same_in_many_launches, case)


@pytest.mark.parametrize('rank', [3, None], ids=['straight', 'by a table'])
def test_carries_have_the_shape_that_tracers_expect(interpreted, rank):
    real, fake = interpreted(operation_shapes, Case(orders=('h', 'v'), size=(3, 5), rank=rank))
    assert real == fake


def test_empty_batch(interpreted):
    y, grads, wanted = interpreted(empty_batch)
    assert y == (0, 15, 5)
    assert grads == wanted
