"""The two scripts that start several processes: torchrun, and Slurm through stand-ins for `srun` and `scontrol`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmvssm.demo import shapes
from tests.openmmlab.test_training import free_port

ROOT = Path(__file__).parents[2]
CONFIG = """
_base_ = ['mmvssm::demo/mask_rcnn_localvmamba_demo.py']
model = dict(backbone=dict(_delete_=True, type='mmvssm.VMamba', arch='test_vmamba', out_indices=(0, 1, 2, 3)),
    neck=dict(in_channels=[16, 24, 32, 40]))
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False)
val_dataloader = dict(num_workers=0, persistent_workers=False)
train_cfg = dict(max_epochs=1, val_interval=5)
default_hooks = dict(checkpoint=dict(interval=1))
"""
# takes its options off, and starts the rest once a task as Slurm does
SRUN = """#!/usr/bin/env bash
while [[ $1 == --* ]]; do if [ "$1" = --ntasks ]; then tasks=$2; fi; shift 2; done
for ((i = 0; i < tasks; i++)); do
    SLURM_JOB_ID=7 SLURM_PROCID=$i SLURM_LOCALID=$i SLURM_NTASKS=$tasks SLURM_NODELIST='node[1-1]' "$@" & jobs+=($!)
done
for job in "${jobs[@]}"; do wait "$job" || code=$?; done
exit "${code:-0}"
"""


@pytest.fixture
def arguments(tmp_path):
    """Of `mmvssm train`, behind the config."""
    data = shapes.write(tmp_path / 'data', train=4, val=2)
    (tmp_path / 'c.py').write_text(CONFIG)
    return ['--data', str(data), '--work-dir', str(tmp_path / 'w'), '--auto-scale-lr']


def ran(tmp_path, *command, **variables) -> str:
    for name, text in (('srun', SRUN), ('scontrol', '#!/usr/bin/env bash\necho localhost\n')):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    path = f'{tmp_path}:{os.environ["PATH"]}'
    env = {**os.environ, 'PATH': path, 'PYTHONPATH': str(ROOT), 'PYTHON': sys.executable, **variables}
    done = subprocess.run(['bash', *command], cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_slurm_starts_a_process_a_task(arguments, tmp_path):
    script = str(ROOT / 'tools/slurm_train.sh')
    printed = ran(tmp_path, script, 'partition', 'job', 'c.py', *arguments, GPUS='2', MASTER_PORT=str(free_port()))
    assert '2 processes x 2 images = batch 4, learning rate 0.000375 (scaled by 0.25 from a batch of 16)' in printed
    assert (tmp_path / 'w/epoch_1.pth').is_file()


@pytest.mark.slow
def test_torchrun_starts_a_process_a_gpu(arguments, tmp_path):
    printed = ran(tmp_path, str(ROOT / 'tools/dist_train.sh'), 'c.py', '2', *arguments, PORT=str(free_port()))
    assert '2 processes x 2 images = batch 4' in printed
    assert (tmp_path / 'w/epoch_1.pth').is_file()


@pytest.mark.parametrize('script', ['dist_train.sh', 'slurm_train.sh'])
def test_without_arguments_a_script_says_what_it_takes(script):
    done = subprocess.run(['bash', str(ROOT / 'tools' / script)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith('usage: ')
