"""One run a folder, and the disk's refusals in words."""

import errno
import multiprocessing
import os
import re
import signal
import time

import pytest
import torch

from mmvssm.openmmlab.work_folder import LOCK, FolderError, in_words, locked
from tests.openmmlab import toy

FORK = multiprocessing.get_context('fork')
HOOK = dict(type='mmvssm.AtomicCheckpointHook', interval=1)


def hold(folder, ready):
    with locked(folder):
        ready.set()
        time.sleep(60)


@pytest.fixture
def other(tmp_path):
    """A process that has the folder."""
    ready = FORK.Event()
    process = FORK.Process(target=hold, args=(tmp_path, ready))
    process.start()
    assert ready.wait(20)
    yield process
    process.kill()


def test_a_second_run_is_told_of_the_first(other, tmp_path):
    with pytest.raises(FolderError, match=rf'another run works in .*: process {other.pid} on .*\n.*--work-dir'):
        toy.runner(tmp_path, dict(checkpoint=HOOK)).train()


def test_the_first_keeps_its_temporary_files(other, tmp_path):
    (tmp_path / '.epoch_1.pth.tmp').write_bytes(b'half')
    with pytest.raises(FolderError):
        toy.runner(tmp_path, dict(checkpoint=HOOK)).train()
    assert (tmp_path / '.epoch_1.pth.tmp').exists()


def test_a_killed_run_lets_go(other, tmp_path):
    os.kill(other.pid, signal.SIGKILL)
    other.join()
    with locked(tmp_path):
        assert (tmp_path / LOCK).read_text().startswith(f'process {os.getpid()} ')


def test_the_same_process_may_ask_twice_and_leaves_nothing(tmp_path):
    with locked(tmp_path), locked(tmp_path):
        pass
    assert not (tmp_path / LOCK).exists()


REFUSALS = {
    'full': (errno.ENOSPC, r'^FOLDER is full: the checkpoint needs \d+\.\d [kM]B, .* are free; REST$'),
    'over quota': (errno.EDQUOT, r'^FOLDER is full: the checkpoint needs \d+\.\d [kM]B, .* are free; REST$'),
    'read-only': (errno.EROFS, '^FOLDER cannot be written to: the file system is read-only; REST$'),
    'not ours': (errno.EACCES, '^FOLDER cannot be written to: permission denied; REST$'),
}


@pytest.mark.parametrize('refusal', REFUSALS)
@pytest.mark.parametrize('before', [0, 1], ids=['first checkpoint', 'second'])
def test_a_failed_save_says_what_is_whole(refusal, before, tmp_path, monkeypatch):
    number, expected = REFUSALS[refusal]
    real, calls = torch.save, []

    def save(*args, **kwargs):
        calls.append(args)
        if len(calls) == before + 1:
            raise OSError(number, os.strerror(number))
        real(*args, **kwargs)

    monkeypatch.setattr(torch, 'save', save)
    rest = 'the one of iteration 6 is whole' if before else 'there is none before it'
    with pytest.raises(FolderError, match=expected.replace('FOLDER', re.escape(str(tmp_path))).replace('REST', rest)):
        toy.runner(tmp_path, dict(checkpoint=HOOK), epochs=2).train()
    left = {path.name for path in tmp_path.iterdir() if path.is_file() and path.suffix != '.py'}
    assert left == ({'epoch_1.pth', 'last_checkpoint'} if before else set())


def test_a_file_in_the_folders_place(tmp_path):
    (tmp_path / 'run').write_text('a file')
    with pytest.raises(FolderError, match=r'run is a file, where a folder is wanted$'), locked(tmp_path / 'run'):
        pass


def test_a_file_in_the_place_of_the_folder_above(tmp_path):
    (tmp_path / 'above').write_text('a file')
    expected = r'above is a file, where a folder is wanted for .*run$'
    with pytest.raises(FolderError, match=expected), locked(tmp_path / 'above' / 'run'):
        pass


def test_a_path_that_is_too_long(tmp_path):
    with pytest.raises(FolderError, match='is too long'), locked(tmp_path / ('x' * 300)):
        pass


def test_other_errors_stay_what_they_are(tmp_path):
    error = OSError(errno.EIO, 'Input/output error')
    assert in_words(error, tmp_path) is error
