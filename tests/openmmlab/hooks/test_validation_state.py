"""Validations of a run that was stopped: each is made, and early stopping counts as if nothing had been."""

import signal
from pathlib import Path

import pytest

from tests.openmmlab.test_training import losses, run

STOPPED = 128 + signal.SIGTERM
LOOPS = {'epoch': [10, 20], 'iter': [6, 12, 18, 20]}  # where they validate


def validations(folder: Path) -> list[int]:
    path = folder / 'validations'
    return [int(line) for line in path.read_text().split()] if path.exists() else []


@pytest.mark.parametrize(
    ('number', 'loop'),
    [
        (signal.SIGTERM, 'iter'),
        (signal.SIGKILL, 'epoch'),
        pytest.param(signal.SIGTERM, 'epoch', marks=pytest.mark.slow),
        pytest.param(signal.SIGKILL, 'iter', marks=pytest.mark.slow),
    ],
)
def test_one_that_was_cut_short_is_repeated(number, loop, tmp_path):
    arguments = (tmp_path, '--noise', '--loop', loop, '--save-every', 2)
    code = STOPPED if number == signal.SIGTERM else -number
    run(*arguments, '--signal-in-validation', '--signal', int(number), code=code)
    assert validations(tmp_path) == []
    run(*arguments, '--resume')
    assert validations(tmp_path) == LOOPS[loop]


@pytest.mark.parametrize('loop', LOOPS)
def test_one_that_was_about_to_begin_is_made(loop, tmp_path):
    arguments = (tmp_path, '--noise', '--loop', loop)
    run(*arguments, '--signal-at', LOOPS[loop][0] - 1, code=STOPPED)
    assert validations(tmp_path) == []
    run(*arguments, '--resume')
    assert validations(tmp_path) == LOOPS[loop]


def test_a_run_that_goes_on_elsewhere_repeats_none(tmp_path):
    arguments = (tmp_path, '--noise', '--loop', 'iter')
    run(*arguments, '--signal-at', 7, code=STOPPED)
    run(*arguments, '--resume')
    assert validations(tmp_path) == LOOPS['iter']


def test_early_stopping_counts_on(tmp_path):
    arguments = (tmp_path, '--noise', '--loop', 'iter', '--patience', 2)
    run(*arguments, '--signal-at', 13, code=STOPPED)  # the second of its validations brought no progress
    run(*arguments, '--resume')
    assert validations(tmp_path) == [6, 12, 18]
    assert losses(tmp_path)[-1][0] == 17
