"""Training a backbone through mmengine: killed and resumed, and over several processes."""

import multiprocessing
import os
import signal
import socket
from pathlib import Path

import pytest
import torch

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


def losses(folder: Path, rank: int = 0) -> list[tuple[int, float]]:
    lines = (folder / f'losses{rank}').read_text().splitlines()
    return [(int(step), float(loss)) for step, loss in map(str.split, lines)]


def parameters(folder: Path) -> torch.Tensor:
    state = torch.load(folder / 'epoch_2.pth', weights_only=False)['state_dict']
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


@pytest.mark.slow
@pytest.mark.parametrize('backend', ['blocked', 'reference'])
def test_every_backend_trains_alike(backend, whole, tmp_path):
    run(tmp_path, MMVSSM_BACKEND=backend)
    found, expected = (torch.tensor([loss for _, loss in losses(folder)]) for folder in (tmp_path, whole))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_two_processes_train_as_one_does_on_the_same_global_batch(whole, tmp_path):
    with socket.create_server(('localhost', 0)) as server:
        port = server.getsockname()[1]
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
