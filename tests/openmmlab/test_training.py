"""Training a backbone through mmengine: killed and resumed, and over several processes."""

import multiprocessing
import os
import shutil
import signal
import socket
from pathlib import Path

import pytest
import torch

from mmvssm.openmmlab.resuming import newest

# each run is a fresh process, forked from one that has imported everything
FORKS = multiprocessing.get_context('forkserver')
FORKS.set_forkserver_preload(['tests.openmmlab.trainee'])


def train(variables: dict[str, str], *arguments) -> None:
    """In the forked process."""
    from tests.openmmlab import trainee

    os.environ.update(variables)
    trainee.main(list(map(str, arguments)))


def start(*arguments, **variables) -> multiprocessing.Process:
    process = FORKS.Process(target=train, args=(variables, *arguments))
    process.start()
    return process


def run(*arguments, code=0, **variables) -> None:
    process = start(*arguments, **variables)
    process.join()
    assert process.exitcode == code


def free_port() -> int:
    with socket.create_server(('localhost', 0)) as server:
        return server.getsockname()[1]


def losses(folder: Path, rank: int = 0) -> list[tuple[int, float]]:
    lines = (folder / f'losses{rank}').read_text().splitlines()
    return [(int(step), float(loss)) for step, loss in map(str.split, lines)]


def parameters(folder: Path) -> torch.Tensor:
    state = torch.load(newest(folder), weights_only=False)['state_dict']
    return torch.cat([value.flatten() for value in state.values()])


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """20 iterations of 4 images in one process, undisturbed."""
    folder = tmp_path_factory.mktemp('whole')
    run(folder)
    return folder


def test_a_killed_and_resumed_run_has_the_same_losses(whole, tmp_path):
    run(tmp_path, '--die-at', 13, code=-signal.SIGKILL)
    died = losses(tmp_path)
    run(tmp_path, '--resume')
    resumed = losses(tmp_path)[len(died) :]
    assert died[:10] + resumed == losses(whole)
    assert torch.equal(parameters(tmp_path), parameters(whole))


# how it runs, where it is killed, where it gets a signal
UNDISTURBED = {
    'by epochs': ('--loop', 'epoch'),
    'by iterations': ('--loop', 'iter', '--save-every', 3),
    'by iterations, endless sampler': ('--loop', 'endless', '--save-every', 3),
    'two workers': ('--loop', 'epoch', '--workers', 2, '--save-every', 3),
    'accumulated gradients': ('--loop', 'iter', '--accumulate', 4, '--save-every', 3),
    'averaged weights': ('--loop', 'iter', '--ema', '--save-every', 3),
    'a seed of its own': ('--loop', 'epoch', '--seed', -1, '--save-every', 3),
}


IN_EVERY_RUN = ('by iterations', 'two workers', 'averaged weights')
CASES = [how if how in IN_EVERY_RUN else pytest.param(how, marks=pytest.mark.slow) for how in UNDISTURBED]


@pytest.mark.parametrize('how', CASES)
def test_killed_stopped_and_resumed_with_noise_is_the_undisturbed_run_to_the_last_bit(how, tmp_path):
    arguments = ('--noise', *UNDISTURBED[how])
    ended, whole = tmp_path / 'ended', tmp_path / 'whole'
    if how == 'a seed of its own':  # the two share the beginning, and so the seed
        run(ended, *arguments, '--signal-at', 2, code=128 + signal.SIGTERM)
        shutil.copytree(ended, whole)
        run(whole, *arguments, '--resume')
    else:
        run(whole, *arguments)
    run(ended, *arguments, *(['--resume'] if ended.exists() else []), '--die-at', 6, code=-signal.SIGKILL)
    run(ended, *arguments, '--resume', '--signal-at', 13, code=128 + signal.SIGTERM)
    run(ended, *arguments, '--resume')
    found, expected = (dict(losses(folder)) for folder in (ended, whole))
    assert found == expected
    assert set(found) == set(range(20))
    assert torch.equal(parameters(ended), parameters(whole))


@pytest.mark.slow
@pytest.mark.parametrize('backend', ['blocked', 'reference'])
def test_every_backend_trains_alike(backend, whole, tmp_path):
    run(tmp_path, MMVSSM_BACKEND=backend)
    found, expected = (torch.tensor([loss for _, loss in losses(folder)]) for folder in (tmp_path, whole))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_two_processes_train_as_one_does_on_the_same_global_batch(whole, tmp_path):
    port = free_port()
    ranks = [
        start(
            *(tmp_path, '--batch-size', 2, '--launcher', 'pytorch'),
            **dict(RANK=str(i), LOCAL_RANK=str(i), WORLD_SIZE='2', MASTER_ADDR='localhost', MASTER_PORT=str(port)),
        )
        for i in range(2)
    ]
    for process in ranks:
        process.join()
    assert [process.exitcode for process in ranks] == [0, 0]
    both = [(a + b) / 2 for (_, a), (_, b) in zip(losses(tmp_path, 0), losses(tmp_path, 1))]
    expected = torch.tensor([loss for _, loss in losses(whole)])
    assert len(both) == 20
    assert (torch.tensor(both) - expected).abs().max() <= 1e-6 * expected.abs().max()
    difference = (parameters(tmp_path) - parameters(whole)).norm() / parameters(whole).norm()
    assert difference <= 1e-6
