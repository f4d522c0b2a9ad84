"""The CPU kernels in processes as users have them: workers of a DataLoader, starts at once, odd numbers of threads."""

import os
import subprocess
import sys

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from mmvssm.kernels import selective_scan

pytest.importorskip('numba')


def scanned(seed: int, backend: str | None = None) -> torch.Tensor:
    """The gradient of a small scan, by the compiled kernels where no other backend is named."""
    generator = torch.Generator().manual_seed(seed)
    x, dt, B, C = (torch.rand(2, 37, *shape, generator=generator) for shape in [(5,), (2, 5), (2, 3), (2, 3)])
    A = -torch.rand(2, 5, 3, generator=generator)
    x.requires_grad_()
    selective_scan(x, dt, A, B, C, backend=backend).square().sum().backward()
    return x.grad


class Scans(Dataset):
    """Samples that are made by a scan, as a teacher's features would be."""

    def __len__(self):
        return 6

    def __getitem__(self, index):
        return scanned(index)


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ('spawn', 'forkserver')]


@pytest.mark.parametrize('context', ['fork', *SLOW])
def test_workers_of_a_loader(context):
    scanned(0)  # a forked worker inherits a pool whose threads are not there
    loader = DataLoader(Scans(), batch_size=3, num_workers=2, multiprocessing_context=context)
    found = torch.cat(list(loader))
    wanted = torch.stack([scanned(i, 'reference') for i in range(6)])
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


START = """
import torch
from tests.kernels.test_processes import scanned
torch.testing.assert_close(scanned(3), scanned(3, 'reference'), rtol=1e-5, atol=1e-6)
print('right')
"""


def started(**variables) -> subprocess.Popen:
    environment = {**os.environ, **variables}
    return subprocess.Popen(
        [sys.executable, '-W', 'error::UserWarning', '-c', START],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def said(process: subprocess.Popen) -> str:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out


def test_two_processes_that_fill_an_empty_cache_at_once(tmp_path):
    both = [started(NUMBA_CACHE_DIR=str(tmp_path)) for _ in range(2)]
    assert [said(process) for process in both] == ['right\n', 'right\n']
    assert said(started(NUMBA_CACHE_DIR=str(tmp_path))) == 'right\n'  # what they left is sound


@pytest.mark.parametrize(
    'variables',
    [
        pytest.param({'NUMBA_NUM_THREADS': '1'}, marks=pytest.mark.slow),
        {'NUMBA_NUM_THREADS': '64'},
        pytest.param({'OMP_NUM_THREADS': '64'}, marks=pytest.mark.slow),
        {'OMP_NUM_THREADS': 'many'},
        pytest.param({'OMP_NUM_THREADS': '0', 'MKL_NUM_THREADS': '-1'}, marks=pytest.mark.slow),
    ],
    ids=lambda variables: ' '.join(f'{name}={value}' for name, value in variables.items()),
)
def test_thread_settings(variables):
    assert said(started(**variables)) == 'right\n'
