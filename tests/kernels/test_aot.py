"""Every Triton kernel compiles for GPUs that are not here, and spills no registers.

An operator joins by a module `tests/kernels/<operator>/launches.py` with `record(**arguments) -> list[Launch]` and the
argument sets FAST and SLOW.
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
def test_compiles_without_spills(compiled, operator, arguments, target):
    count, spilling = compiled(_compile, operator, arguments, target)
    assert count
    assert not spilling
