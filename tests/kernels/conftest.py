"""Worker processes for the Triton tests: one interprets the kernels on CPU tensors, one compiles them."""

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest


def _prepare(interpret: bool) -> None:
    """First thing in a worker: Triton reads TRITON_INTERPRET once, when it is imported."""
    os.environ['TRITON_INTERPRET'] = '1' if interpret else '0'
    import torch

    torch.set_num_threads(1)
    if interpret:
        from tests.kernels.interpreter import patch_once

        patch_once()


def _worker(interpret: bool):
    with ProcessPoolExecutor(1, get_context('spawn'), _prepare, (interpret,)) as pool:
        yield lambda function, *args: pool.submit(function, *args).result()


@pytest.fixture(scope='session')
def interpreted():
    """`interpreted(f, *args)`: f's result, in a process where Triton kernels run interpreted."""
    yield from _worker(True)


@pytest.fixture(scope='session')
def compiled():
    """`compiled(f, *args)`: f's result, in a process where Triton kernels are compiled."""
    yield from _worker(False)
