"""Threads for compiled kernels that release the GIL.

numba's own pools are not used: one clashes with torch's OpenMP pool after a fork, another aborts the process when two
Python threads call it at once. Here each call splits its tasks over `torch.get_num_threads()` threads of a plain pool,
which any number of callers may share and a forked child makes anew.
"""

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import torch

_pools: dict[int, ThreadPoolExecutor] = {}  # process id -> pool


def _pool() -> ThreadPoolExecutor:
    pid = os.getpid()
    if pid not in _pools:
        _pools[pid] = ThreadPoolExecutor(max_workers=os.cpu_count() or 1, thread_name_prefix='mmvssm')
    return _pools[pid]


def _start(work: Callable[[], None], count: int) -> list[Future]:
    """Run `work` on up to `count` threads: fewer where none can start (the interpreter shuts down, a limit)."""
    helpers = []
    try:
        for _ in range(count):
            helpers.append(_pool().submit(work))
    except RuntimeError:
        pass
    return helpers


def run_tasks(run: Callable[[int, int], None], tasks: int) -> None:
    """Call `run(first, last)` on equal parts of 0 .. tasks - 1, on as many threads as torch has.

    The caller takes parts like any other thread, so all of them run even where no other thread does. Which parts there
    are depends on torch's number of threads alone, not on who runs them.
    """
    count = min(torch.get_num_threads(), tasks)
    parts = deque((tasks * i // count, tasks * (i + 1) // count) for i in range(count))

    def work() -> None:
        while True:
            try:
                part = parts.popleft()
            except IndexError:
                return
            run(*part)

    helpers = _start(work, count - 1)
    try:
        work()
    finally:
        for helper in helpers:
            if not helper.cancel():
                helper.result()
