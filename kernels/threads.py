"""Threads for compiled kernels that release the GIL.

numba's own pools are not used: one clashes with torch's OpenMP pool after a fork, another aborts the process when two
Python threads call it at once. Here each call splits its tasks over `torch.get_num_threads()` threads of a plain pool,
which any number of callers may share and a forked child makes anew.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch

_pools: dict[int, ThreadPoolExecutor] = {}  # process id -> pool


def _pool() -> ThreadPoolExecutor:
    pid = os.getpid()
    if pid not in _pools:
        _pools[pid] = ThreadPoolExecutor(max_workers=os.cpu_count() or 1, thread_name_prefix='mmvssm')
    return _pools[pid]


def run_tasks(run: Callable[[int, int], None], tasks: int) -> None:
    """Call `run(first, last)` on equal parts of 0 .. tasks - 1, on as many threads as torch has."""
    threads = min(torch.get_num_threads(), tasks)
    bounds = [tasks * i // threads for i in range(threads + 1)] if threads else []
    others = [_pool().submit(run, *bounds[i : i + 2]) for i in range(1, threads)]
    if threads:
        run(*bounds[:2])
    for future in others:
        future.result()
