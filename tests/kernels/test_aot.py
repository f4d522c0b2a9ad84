"""Every Triton kernel compiles for GPUs that are not here, spills no registers, and addresses tensors of any size.

An operator joins by a module `tests/kernels/<operator>/launches.py` with `record(**arguments) -> list[Launch]` and the
argument sets FAST, SLOW and MANY, the last of more than 65,535 blocks. What the scans' kernels may cost at each
published width stands in `budgets`.
"""

from functools import partial
from importlib import import_module
from pathlib import Path

import pytest
import torch

from .budgets import BUDGETS, MOST_BINARIES, TRITON

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
    for launch in (launch for arguments in launches.MANY for launch in launches.record(**arguments)):
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
            for target in ('sm_75', 'sm_80', 'sm_86', 'sm_89', 'sm_100', 'gfx90a', 'gfx942', 'gfx1100'):
                own = dict(arguments, dtype=torch.float16) if target == 'sm_75' else arguments  # has no bfloat16
                yield pytest.param(operator, own, target, id=f'{name}-{target}', marks=pytest.mark.slow)
        for name, arguments in module.SLOW.items():
            for target in ('sm_80', 'sm_90'):
                yield pytest.param(operator, arguments, target, id=f'{name}-{target}', marks=pytest.mark.slow)


@pytest.mark.parametrize(('operator', 'arguments', 'target'), _cases())
def test_compiles_without_spills_or_narrow_addresses(compiled, operator, arguments, target):
    count, spilling, narrow = compiled(_compile, operator, arguments, target)
    assert count
    assert not spilling
    assert not narrow


def _counts(name: str) -> tuple[str, list, str]:
    """Triton's version, the counts of a published scan, and its row of the table."""
    from . import aot, counts

    found = counts.scan_counts(dict(counts.scans(name.split()[-1]))[name])
    return aot.triton.__version__, found, counts.scan_row(name, found)


DEFAULT = ('VMamba-T, S: d 96, R 6, bf16', 'VMamba-T, S: d 768, R 48, bf16')


@pytest.mark.parametrize('name', [n if n in DEFAULT else pytest.param(n, marks=pytest.mark.slow) for n in BUDGETS])
def test_stays_within_its_budget(compiled, name):
    """Instructions of an element-step in the loops, forward and backward; registers, spills and shared memory."""
    version, counts, row = compiled(_counts, name)
    if version != TRITON:
        pytest.skip(f'counts are those of Triton {TRITON}')
    budget = BUDGETS[name]
    forward = sum(c.inside for c in counts if c.is_forward)
    backward = sum(c.inside for c in counts if not c.is_forward)
    assert forward <= budget.forward
    assert backward <= budget.backward
    assert max(c.stack for c in counts) <= budget.stack
    assert max(c.registers for c in counts) <= 255
    assert max(c.shared for c in counts) <= 48 * 1024
    assert row in (HERE.parents[1] / 'kernels/README.md').read_text(), f'python -m tests.kernels.counts: {row}'


def _binaries(sizes: list[tuple[int, int]]) -> int:
    """Different binaries that the second stage of VMamba-T takes for images of these sizes."""
    from .aot import distinct
    from .selective_scan.launches import _VMAMBA, record

    maps = [(-(-height // 8), -(-width // 8)) for height, width in sizes]
    return len(distinct([launch for size in maps for launch in record(**dict(_VMAMBA, d=192, R=12, size=size))]))


def test_few_binaries_in_multi_scale_training(compiled):
    """Every rank of a training would stop and compile for each further one."""
    shorter = [(side, side * ratio // 8) for side in (480, 544, 576, 704, 800) for ratio in (8, 9, 11, 13)]
    tiny = [(side, side) for side in (8, 16, 24, 40, 56, 112, 224)]
    assert compiled(_binaries, shorter + tiny) <= MOST_BINARIES


@pytest.mark.parametrize('operator', OPERATORS)
def test_any_number_of_blocks(compiled, operator):
    """CUDA has room for 2^31 - 1 blocks on the first axis of a grid and for 65,535 on the others."""
    for kernel, grids in compiled(_grids, operator).items():
        assert all(first < 2**31 for first, *_ in grids)
        bounded = kernel.endswith('gradients')  # by the scratch of a launch
        assert bounded or all(first > 65_535 for first, *_ in grids)
        assert all(count <= 65_535 for _, *others in grids for count in others)


def test_a_narrow_address_is_noticed(compiled):
    assert compiled(_narrow, 'stride')
    assert not compiled(_narrow, 'd')
