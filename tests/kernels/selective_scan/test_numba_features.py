"""The CPU kernels compiled for processors with and without AVX-512, AVX2 and fused multiply-add.

The vector type is sixteen lanes that LLVM cuts to the registers there are, so results differ by rounding alone: where
there is no fused multiply-add, LLVM calls the C library's. aarch64 is the same intermediate code, and not run here.
"""

import json
import platform
import subprocess
import sys

import pytest

numba = pytest.importorskip('numba')

SCRIPT = """
import json, torch
from mmvssm.kernels.selective_scan import check, numba_launch
dtypes = torch.float32, torch.float64
print(json.dumps([check.errors(numba_launch, torch.device('cpu'), dtype, True) for dtype in dtypes[:{count}]]))
"""
LIMITS = [1e-6, 1e-14]


def run(monkeypatch, name: str, count: int) -> list[dict[str, float]]:
    """Errors of the self-check's problem in float32 and float64, in a process that compiles for `name`."""
    if name != 'host':
        monkeypatch.setenv('NUMBA_CPU_NAME', name)
        monkeypatch.setenv('NUMBA_CPU_FEATURES', '')
    command = [sys.executable, '-c', SCRIPT.format(count=count)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def here() -> set[str]:
    from llvmlite import binding

    return {name for name, has in binding.get_host_cpu_features().items() if has}


NEEDED = {'host': set(), 'x86-64-v2': {'sse4.2'}, 'x86-64-v3': {'avx2', 'fma'}, 'x86-64-v4': {'avx512f', 'avx512vl'}}
SLOW = pytest.mark.slow  # each compiles four kernels


@pytest.mark.parametrize(
    ('name', 'count'),
    [
        pytest.param('x86-64-v3', 1, id='AVX2'),
        pytest.param('x86-64-v3', 2, id='AVX2, both precisions', marks=SLOW),
        pytest.param('x86-64-v2', 2, id='no AVX', marks=SLOW),
        pytest.param('x86-64-v4', 2, id='AVX-512', marks=SLOW),
        pytest.param('host', 2, id='this processor', marks=SLOW),
    ],
)
def test_within_the_bounds(monkeypatch, name, count):
    if name != 'host' and platform.machine().lower() not in ('x86_64', 'amd64'):
        pytest.skip('an x86-64 processor')
    if missing := NEEDED[name] - here():
        pytest.skip(f'this processor has no {", ".join(missing)}')
    for errors, limit in zip(run(monkeypatch, name, count), LIMITS):
        assert not {result: error for result, error in errors.items() if not error <= limit}
