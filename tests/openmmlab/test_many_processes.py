"""Several processes, and batches gathered from iterations: lost processes, uneven data, other numbers of them."""

import multiprocessing
import os
import signal
import sys
from pathlib import Path

import pytest
import torch

from mmvssm.openmmlab.loading import fitting_state
from mmvssm.openmmlab.resuming import newest
from mmvssm.weights import read_checkpoint
from tests.openmmlab.test_training import FORKS, free_port, losses, parameters, run, whole  # noqa: F401


def train(variables: dict[str, str], folder: Path, *arguments) -> None:
    """In the forked process; an error goes to FOLDER/errorRANK."""
    from tests.openmmlab import trainee

    os.environ.update(variables)
    try:
        trainee.main([str(folder), *map(str, arguments)])
    except Exception as error:
        (folder / f'error{variables["RANK"]}').write_text(f'{type(error).__name__}: {error}')
        sys.exit(1)


def two(folder: Path, *arguments) -> list[multiprocessing.Process]:
    """Two processes of one run."""
    shared = dict(WORLD_SIZE='2', MASTER_ADDR='localhost', MASTER_PORT=str(free_port()))
    ranks = []
    for rank in '01':
        variables = dict(shared, RANK=rank, LOCAL_RANK=rank)
        ranks.append(FORKS.Process(target=train, args=(variables, folder, *arguments, '--launcher', 'pytorch')))
        ranks[-1].start()
    return ranks


def codes(ranks: list[multiprocessing.Process]) -> list[int | None]:
    for process in ranks:
        process.join(120)
    return [process.exitcode for process in ranks]


def close(a: torch.Tensor, b: torch.Tensor, tolerance: float) -> bool:
    return bool((a - b).norm() <= tolerance * b.norm())


# --- gradients of several iterations ----------------------------------------------------------------------------------


SLOW = [pytest.param(images, marks=pytest.mark.slow) for images in (40, 42)]


@pytest.mark.parametrize('images', [43, *SLOW])  # the last batch of an epoch holds 4, 2 and 3
def test_four_accumulated_iterations_are_a_batch_four_times_as_large(images, tmp_path):
    shared = ('--images', images, '--epochs', 1, '--constant')
    run(tmp_path / 'large', '--batch-size', 4, *shared)
    run(tmp_path / 'gathered', '--batch-size', 1, '--accumulate', 4, *shared)
    assert close(parameters(tmp_path / 'gathered'), parameters(tmp_path / 'large'), 1e-6)


# --- uneven data ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('images', [9, 1])
def test_an_odd_number_of_images_keeps_both_processes_in_step(images, tmp_path):
    assert codes(two(tmp_path, '--images', images, '--batch-size', 2, '--noise')) == [0, 0]
    steps = [[step for step, _ in losses(tmp_path, rank)] for rank in (0, 1)]
    assert steps[0] == steps[1] == list(range(2 * -(-images // 4)))


# --- lost processes ---------------------------------------------------------------------------------------------------


def test_a_stopped_process_ends_the_other_within_the_timeout_with_words(tmp_path):
    zero, one = two(tmp_path, '--signal', int(signal.SIGSTOP), '--signal-at', 3, '--signal-rank', 1, '--timeout', 5)
    zero.join(120)
    one.kill()
    assert zero.exitcode == 1
    said = (tmp_path / 'error0').read_text()
    assert said.startswith('LostProcessError: process 0 of 2: another process of the run has not answered in time')
    assert 'env_cfg.dist_cfg.timeout' in said


def test_an_exception_in_one_process_ends_the_other_with_words(tmp_path):
    assert codes(two(tmp_path, '--raise-at', 3, '--signal-rank', 1)) == [1, 1]
    assert (tmp_path / 'error1').read_text() == 'ValueError: out of luck'
    words = 'LostProcessError: process 0 of 2: another process of the run has ended; what it printed says why'
    assert (tmp_path / 'error0').read_text() == words


def test_a_killed_process_ends_the_other_with_words(tmp_path):
    ranks = two(tmp_path, '--signal', int(signal.SIGKILL), '--signal-at', 3, '--signal-rank', 1)
    assert codes(ranks) == [1, -signal.SIGKILL]
    assert 'another process of the run has ended' in (tmp_path / 'error0').read_text()


# --- another number of processes --------------------------------------------------------------------------------------


def test_two_processes_one_and_two_again_are_the_undisturbed_run(whole, tmp_path):  # noqa: F811
    stop = ('--signal-at', 6), ('--resume', '--signal-at', 13), ('--resume',)
    stopped = 128 + signal.SIGTERM
    assert codes(two(tmp_path, '--batch-size', 2, *stop[0])) == [stopped, stopped]
    run(tmp_path, '--batch-size', 4, *stop[1], code=stopped)
    assert codes(two(tmp_path, '--batch-size', 2, *stop[2])) == [0, 0]
    first, second = losses(tmp_path, 0), dict(losses(tmp_path, 1))
    found = torch.tensor([(loss + second.get(step, loss)) / 2 for step, loss in first])
    expected = torch.tensor([loss for _, loss in losses(whole)])
    assert [step for step, _ in first] == list(range(20))
    assert (found - expected).abs().max() <= 1e-6 * expected.abs().max()
    assert close(parameters(tmp_path), parameters(whole), 1e-6)


# --- sharded parameters -----------------------------------------------------------------------------------------------


def test_a_sharded_run_is_the_run_of_one_process_and_its_checkpoint_loads_in_one(whole, tmp_path):  # noqa: F811
    assert codes(two(tmp_path, '--fsdp', '--batch-size', 2)) == [0, 0]
    both = [(a + b) / 2 for (_, a), (_, b) in zip(losses(tmp_path, 0), losses(tmp_path, 1), strict=True)]
    assert close(torch.tensor(both), torch.tensor([loss for _, loss in losses(whole)]), 1e-6)
    assert close(parameters(tmp_path), parameters(whole), 1e-6)
    from tests.openmmlab.trainee import Model

    model = Model(noise=False)
    model.load_state_dict(fitting_state(model, read_checkpoint(newest(tmp_path)))[0])


@pytest.mark.parametrize(
    'more',
    [pytest.param((), marks=pytest.mark.slow), ('--accumulate', 4)],
    ids=['each iteration', 'four gathered'],
)
def test_a_sharded_run_stopped_and_resumed_is_the_undisturbed_one(more, tmp_path):
    arguments = '--fsdp', '--batch-size', 2, '--noise', *more
    assert codes(two(tmp_path / 'whole', *arguments)) == [0, 0]
    stopped = 128 + signal.SIGTERM
    assert codes(two(tmp_path / 'parts', *arguments, '--signal-at', 6)) == [stopped, stopped]
    assert codes(two(tmp_path / 'parts', *arguments, '--resume')) == [0, 0]
    for rank in (0, 1):
        assert losses(tmp_path / 'parts', rank) == losses(tmp_path / 'whole', rank)
    assert torch.equal(parameters(tmp_path / 'parts'), parameters(tmp_path / 'whole'))
