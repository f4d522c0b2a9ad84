"""Signals: a checkpoint, a line, 128 + n."""

import os
import signal
import time

import pytest

from mmvssm.openmmlab.hooks.stop_signal import SIGNALS, StopSignalHook
from mmvssm.openmmlab.resuming import newest
from mmvssm.weights import read_checkpoint
from tests.openmmlab.test_training import free_port, losses, run, start


@pytest.mark.parametrize('number', SIGNALS, ids=lambda number: number.name)
def test_a_signal_saves_and_ends_with_128_and_its_number(number, tmp_path):
    run(tmp_path, '--signal-at', 3, '--signal', int(number), code=128 + number)
    assert newest(tmp_path) == str(tmp_path / 'iter_4.pth')
    assert read_checkpoint(tmp_path / 'iter_4.pth')['meta']['iter'] == 4
    assert [step for step, _ in losses(tmp_path)] == [0, 1, 2, 3]


def test_a_checkpoint_of_a_signal_goes_when_the_next_regular_one_is_there(tmp_path):
    run(tmp_path, '--signal-at', 3, code=143)
    run(tmp_path, '--resume', '--signal-at', 5, code=143)
    assert sorted(path.name for path in tmp_path.glob('*.pth')) == ['iter_6.pth']
    run(tmp_path, '--resume')
    assert sorted(path.name for path in tmp_path.glob('*.pth')) == ['epoch_1.pth', 'epoch_2.pth']


def test_a_checkpoint_of_this_iteration_is_not_written_twice(tmp_path):
    run(tmp_path, '--signal-at', 5, '--save-every', 3, code=143)
    assert sorted(path.name for path in tmp_path.glob('*.pth')) == ['iter_3.pth', 'iter_6.pth']


def test_all_processes_stop_where_one_is_told_to(tmp_path):
    variables = dict(WORLD_SIZE='2', MASTER_ADDR='localhost', MASTER_PORT=str(free_port()))
    arguments = (tmp_path, '--launcher', 'pytorch', '--batch-size', 2, '--signal-at', 3, '--signal-rank', 1)
    ranks = [start(*arguments, **variables, RANK=str(i), LOCAL_RANK=str(i)) for i in range(2)]
    for process in ranks:
        process.join()
    assert [process.exitcode for process in ranks] == [143, 143]
    assert len(losses(tmp_path, 0)) == len(losses(tmp_path, 1)) == 4
    assert read_checkpoint(tmp_path / 'iter_4.pth')['meta']['iter'] == 4


def test_a_second_ctrl_c_ends_at_once(tmp_path):
    process = start(tmp_path, '--sleep', 60)  # an iteration that does not end
    wait_for(lambda: (tmp_path / 'sleeping').exists())
    os.kill(process.pid, signal.SIGINT)
    time.sleep(0.3)
    assert process.is_alive()
    os.kill(process.pid, signal.SIGINT)
    process.join(20)
    assert process.exitcode == 128 + signal.SIGINT
    assert not list(tmp_path.glob('*.pth'))


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, 'nothing happened'
        time.sleep(0.05)


def test_a_signal_that_nohup_ignores_stays_ignored(tmp_path):
    run(tmp_path, '--signal-at', 3, '--signal', int(signal.SIGHUP), '--ignore', int(signal.SIGHUP))
    assert len(losses(tmp_path)) == 20


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
@pytest.mark.parametrize('loop', ['epoch', 'iter'])
def test_workers_of_a_loader_leave_a_signal_to_the_run(number, loop, tmp_path):
    arguments = ('--workers', 2, '--loop', loop, '--signal-at', 3, '--signal', int(number), '--to-group')
    run(tmp_path, *arguments, code=128 + number)
    assert newest(tmp_path) == str(tmp_path / 'iter_4.pth')


def test_a_signal_during_validation_saves_too(tmp_path):
    run(tmp_path, '--noise', '--signal-in-validation', code=143)
    assert newest(tmp_path) == str(tmp_path / 'epoch_1.pth')


def test_a_process_that_is_forked_from_a_run_dies_of_sigterm_as_pools_expect():
    hook = StopSignalHook()
    hook.before_train(None)
    try:
        assert signal.getsignal(signal.SIGTERM) == hook._note
        child = os.fork()
        if not child:
            os._exit(signal.getsignal(signal.SIGTERM) != signal.SIG_DFL)
        assert os.waitpid(child, 0)[1] == 0
        assert signal.getsignal(signal.SIGTERM) == hook._note
    finally:
        hook.restore()
