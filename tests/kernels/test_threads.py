"""The threads of the CPU kernels: every task runs once, whether or not threads can be had."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from mmvssm.kernels import threads


@pytest.fixture(autouse=True)
def _three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def parts(tasks: int) -> list[tuple[int, int]]:
    """The parts that `run_tasks` runs, in order."""
    seen = []
    threads.run_tasks(lambda first, last: seen.append((first, last)), tasks)
    return sorted(seen)


@pytest.mark.parametrize(
    ('tasks', 'expected'), [(0, []), (1, [(0, 1)]), (2, [(0, 1), (1, 2)]), (7, [(0, 2), (2, 4), (4, 7)])], ids=str
)
def test_each_task_runs_once(tasks, expected):
    assert parts(tasks) == expected


def refuse(self, *args, **kwargs):
    raise RuntimeError('cannot schedule new futures after shutdown')


def queue_and_fail(self, *args, **kwargs):
    """What submit does where a thread may not start: the work is queued already."""
    submit(self, *args, **kwargs)
    raise RuntimeError("can't start new thread")


submit = ThreadPoolExecutor.submit


@pytest.mark.parametrize('failing', [refuse, queue_and_fail], ids=['shut down', 'no thread'])
def test_runs_inline_where_no_thread_starts(monkeypatch, failing):
    monkeypatch.setattr(ThreadPoolExecutor, 'submit', failing)
    assert parts(7) == [(0, 2), (2, 4), (4, 7)]


def test_a_busy_pool_does_not_hold_up_the_caller(monkeypatch):
    monkeypatch.setattr(threads, '_pools', {})
    pool, release = threads._pool(), threading.Event()
    for _ in range(pool._max_workers):
        pool.submit(release.wait)
    try:
        assert parts(7) == [(0, 2), (2, 4), (4, 7)]
    finally:
        release.set()


def test_an_error_reaches_the_caller_after_all_parts_ended():
    ended = []

    def run(first, last):
        ended.append(first)
        if first == 2:
            raise FloatingPointError('in one part')

    with pytest.raises(FloatingPointError, match='in one part'):
        threads.run_tasks(run, 7)
    assert len(ended) >= 2


START = """
import os, threading
import torch
from mmvssm.kernels import selective_scan, self_check
torch.set_num_threads(2)
x, dt, A, B = torch.ones(3, 5, 3), torch.ones(3, 5, 2, 3), -torch.ones(2, 3, 2), torch.ones(3, 5, 2, 2)
wanted = selective_scan(x, dt, A, B, B, backend='reference')
selective_scan(x, dt, A, B, B)
def work():
    torch.testing.assert_close(selective_scan(x.requires_grad_(), dt, A, B, B), wanted)
    print('right', flush=True)
"""
LATE = """
def late():
    threading.main_thread().join()
    work()
threading.Thread(target=late).start()
"""
FORKED = """
self_check._lock.acquire()  # as if another thread were in the middle of a check
child = os.fork()
if child == 0:
    work()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.parametrize('script', [LATE, FORKED], ids=['after the main thread', 'in a forked child'])
def test_whole_scan(script):
    pytest.importorskip('numba')
    run = subprocess.run([sys.executable, '-c', START + script], capture_output=True, text=True, timeout=300)
    assert run.stdout == 'right\n', run.stderr
