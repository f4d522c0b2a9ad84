"""Training a backbone through mmengine: killed and resumed, and over several processes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]


def run(*command, code=0, **variables) -> None:
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', **variables}
    result = subprocess.run([sys.executable, '-m', *map(str, command)], cwd=ROOT, env=environment, capture_output=True)
    assert result.returncode == code, result.stderr.decode()


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
    run('tests.openmmlab.trainee', folder)
    return folder


def test_a_killed_and_resumed_run_has_the_same_losses(whole, tmp_path):
    run('tests.openmmlab.trainee', tmp_path, '--die-at', 13, code=-signal.SIGKILL)
    died = losses(tmp_path)
    run('tests.openmmlab.trainee', tmp_path, '--resume')
    resumed = losses(tmp_path)[len(died) :]
    assert died[:10] + resumed == losses(whole)
    assert torch.equal(parameters(tmp_path), parameters(whole))


@pytest.mark.slow
@pytest.mark.parametrize('backend', ['blocked', 'reference'])
def test_every_backend_trains_alike(backend, whole, tmp_path):
    run('tests.openmmlab.trainee', tmp_path, MMVSSM_BACKEND=backend)
    found, expected = (torch.tensor([loss for _, loss in losses(folder)]) for folder in (tmp_path, whole))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_two_processes_train_as_one_does_on_the_same_global_batch(whole, tmp_path):
    launcher = ('torch.distributed.run', '--standalone', '--nproc_per_node', 2, '-m')
    run(*launcher, 'tests.openmmlab.trainee', tmp_path, '--batch-size', 2, '--launcher', 'pytorch')
    both = [(a + b) / 2 for (_, a), (_, b) in zip(losses(tmp_path, 0), losses(tmp_path, 1))]
    expected = torch.tensor([loss for _, loss in losses(whole)])
    assert len(both) == 20
    assert (torch.tensor(both) - expected).abs().max() <= 1e-6 * expected.abs().max()
    difference = (parameters(tmp_path) - parameters(whole)).norm() / parameters(whole).norm()
    assert difference <= 1e-6
