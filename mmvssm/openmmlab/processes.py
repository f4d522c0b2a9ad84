"""Runs of several processes: how each finds the others, under Slurm and without a GPU too; what is said of lost ones.

mmengine takes for granted that the launcher has set its variables and that there are GPUs; and where a process is gone,
the others end with a traceback of gloo or NCCL.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from collections.abc import Callable

from mmengine.device import get_device
from mmengine.dist import get_rank, get_world_size
from mmengine.dist import utils as dist_utils
from mmengine.runner import FlexibleRunner, Runner

from mmvssm.errors import UsageError

PORTS = (20_000, 20_000)  # the first, and how many: below those that systems hand out
GONE = re.compile(r'connection (was )?(closed|reset)|broken pipe|remote process exited|socket (is )?closed', re.I)
SILENT = re.compile(r'timed out|timeout|wait timeout', re.I)
OF_GROUPS = re.compile(r'gloo|nccl|ProcessGroup|TCPStore|rank \d+', re.I)


class LostProcessError(UsageError):
    """Another process of the run has ended, or does not answer."""


@functools.cache
def install() -> None:
    """Put it around mmengine's launchers and runners; idempotent."""
    dist_utils._init_dist_slurm = _slurm(dist_utils._init_dist_slurm)
    dist_utils._init_dist_pytorch = _pytorch(dist_utils._init_dist_pytorch)
    for cls in (Runner, FlexibleRunner):
        for name in ('train', 'val', 'test'):
            setattr(cls, name, _telling(getattr(cls, name)))


def _pytorch(init: Callable) -> Callable:
    @functools.wraps(init)
    def init_dist_pytorch(backend: str, *args, **kwargs) -> None:
        _require('pytorch', 'torchrun or tools/dist_train.sh', ('RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT'))
        os.environ.setdefault('LOCAL_RANK', '0')
        init(backend, *args, **kwargs)

    return init_dist_pytorch


def _slurm(init: Callable) -> Callable:
    @functools.wraps(init)
    def init_dist_slurm(backend: str, port: int | None = None, **kwargs) -> None:
        _require('slurm', 'srun or tools/slurm_train.sh', ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_NODELIST'))
        os.environ.setdefault('MASTER_ADDR', _first_host(os.environ['SLURM_NODELIST']))
        if port is None and 'MASTER_PORT' not in os.environ:  # two jobs may share a node
            first, count = PORTS
            os.environ['MASTER_PORT'] = str(first + int(os.environ.get('SLURM_JOB_ID', 0)) % count)
        if get_device() not in ('cpu', 'mps'):
            init(backend, port, **kwargs)
            return
        if port is not None:
            os.environ['MASTER_PORT'] = str(port)
        local = os.environ.get('SLURM_LOCALID', os.environ['SLURM_PROCID'])
        os.environ.update(RANK=os.environ['SLURM_PROCID'], WORLD_SIZE=os.environ['SLURM_NTASKS'], LOCAL_RANK=local)
        dist_utils._init_dist_pytorch(backend, **kwargs)

    return init_dist_slurm


def _require(launcher: str, starters: str, names: tuple[str, ...]) -> None:
    """The launcher has said who this process is.

    Raises:
        UsageError: it has not.
    """
    if missing := [name for name in names if name not in os.environ]:
        raise UsageError(f'--launcher {launcher} wants to be started by {starters}: {", ".join(missing)} not set')


def _first_host(nodes: str) -> str:
    """Slurm's 'gpu[3-5],gpu9' -> 'gpu3', as `scontrol` sees it.

    Raises:
        UsageError: there is no `scontrol` here, or it refuses.
    """
    if shutil.which('scontrol') is None:
        raise UsageError('--launcher slurm asks scontrol for the first host, and it is not here: set MASTER_ADDR')
    done = subprocess.run(['scontrol', 'show', 'hostname', nodes], capture_output=True, text=True, check=False)
    if done.returncode or not done.stdout.strip():
        raise UsageError(f'scontrol show hostname {nodes}: {done.stderr.strip() or "no answer"}\nset MASTER_ADDR')
    return done.stdout.split()[0]


def _telling(method: Callable) -> Callable:
    """Losses of other processes in words; two mmengine runners may share a method, which is wrapped once."""

    @functools.wraps(method)
    def wrapped(self, *args, **kwargs):
        try:
            return method(self, *args, **kwargs)
        except RuntimeError as error:
            if get_world_size() == 1 or (words := lost_in_words(error)) is None:
                raise
            raise LostProcessError(f'process {get_rank()} of {get_world_size()}: {words}') from error

    return wrapped


def lost_in_words(error: RuntimeError) -> str | None:
    """What an error of a process group says of the other processes; None where it says something else."""
    text = str(error)
    if not OF_GROUPS.search(text):
        return None
    if GONE.search(text):
        return 'another process of the run has ended; what it printed says why'
    if SILENT.search(text):
        return (
            'another process of the run has not answered in time: it hangs, was stopped or is much slower\n'
            'env_cfg.dist_cfg.timeout in the config is the time to wait, in seconds'
        )
    return None
