"""Every Triton kernel compiles for GPUs that are not here, spills no registers, and addresses tensors of any size.

An operator joins by a module `tests/kernels/<operator>/launches.py` with `record(**arguments) -> list[Launch]` and the
argument sets FAST, SLOW and MANY, the last of more than 65,535 blocks.
"""

from functools import partial
from importlib import import_module
from pathlib import Path

import pytest

HERE = Path(__file__).parent
OPERATORS = sorted(path.parent.name for path in HERE.glob('*/launches.py'))


def _compile(operator: str, arguments: dict, target: str) -> tuple[int, list[str]]:
    """In the worker, which alone imports Triton."""
    from .aot import compile_all

    launches = import_module(f'.{operator}.launches', __package__)
    return compile_all(partial(launches.record, **arguments), target)


def _grids(operator: str) -> dict[str, set[tuple[int, ...]]]:
    from .aot import JITFunction

    launches = import_module(f'.{operator}.launches', __package__)
    grids: dict[str, set] = {}
    for launch in launches.record(**launches.MANY):
        grids.setdefault(launch.kernel.__name__, set()).add(launch.grid)
    kernels = import_module(f'mmvssm.kernels.{operator}.triton_launch')
    assert set(grids) == {name for name, value in vars(kernels).items() if isinstance(value, JITFunction)}
    return grids


def _narrow(stride: str) -> list[str]:
    """Narrow products of a kernel that takes rows by `stride`, in 32 bits."""
    from . import aot

    source = aot.ast_source(aot.takes_rows, dict(x_ptr='*fp32', rows_ptr='*i32', d='i32', stride='i32'), {})
    return aot.narrow_products(aot.ttir(source, 'sm_90')[0].replace('%stride', f'%{stride}'))


def _cases():
    for operator in OPERATORS:
        module = import_module(f'.{operator}.launches', __package__)
        for name, arguments in module.FAST.items():
            yield pytest.param(operator, arguments, 'sm_90', id=f'{name}-sm_90')
            for target in ('sm_80', 'gfx942'):
                yield pytest.param(operator, arguments, target, id=f'{name}-{target}', marks=pytest.mark.slow)
        for name, arguments in module.SLOW.items():
            for target in ('sm_80', 'sm_90'):
                yield pytest.param(operator, arguments, target, id=f'{name}-{target}', marks=pytest.mark.slow)


@pytest.mark.parametrize(('operator', 'arguments', 'target'), _cases())
def test_compiles_without_spills_or_narrow_addresses(compiled, operator, arguments, target):
    count, spilling, narrow = compiled(_compile, operator, arguments, target)
    assert count
    assert not spilling
    assert not narrow


@pytest.mark.parametrize('operator', OPERATORS)
def test_any_number_of_blocks(compiled, operator):
    """CUDA has room for 2^31 - 1 blocks on the first axis of a grid and for 65,535 on the others."""
    for grids in compiled(_grids, operator).values():
        for first, *others in grids:
            assert 65_535 < first < 2**31
            assert all(count <= 65_535 for count in others)


def test_a_narrow_address_is_noticed(compiled):
    assert compiled(_narrow, 'stride')
    assert not compiled(_narrow, 'd')
