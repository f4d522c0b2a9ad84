"""Processor, memory, disk, GPUs, threads, caches and environment variables."""

import os
import platform
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from .finding import NOTE, WARNING, Finding

VARIABLES = (
    'MMVSSM_BACKEND',
    'MMVSSM_SELF_CHECK',
    'MMVSSM_OFFLINE',
    'MMVSSM_DEBUG',
    'OMP_NUM_THREADS',
    'MKL_NUM_THREADS',
    'NUMBA_NUM_THREADS',
    'NUMBA_CACHE_DIR',
    'NUMBA_DISABLE_JIT',
    'TRITON_INTERPRET',
    'TORCH_HOME',
    'HF_HOME',
    'XDG_CACHE_HOME',
    'CUDA_VISIBLE_DEVICES',
    'KMP_AFFINITY',
)
GIB = 1 << 30
LITTLE_MEMORY, LITTLE_DISK = 4, 5  # GiB, below which training is likely to end early


def facts() -> dict[str, Any]:
    """What the machine is, by name; sizes in GiB."""
    total, free = _memory()
    return {
        'system': f'{platform.system()} {platform.release()}, {platform.machine()}',
        'python': f'{platform.python_version()} ({sys.executable})',
        'processor': f'{_processor()}, {_vectors()}',
        'threads': f'torch {torch.get_num_threads()} of {_processors()} processors',
        'memory': f'{free:.1f} of {total:.1f} GiB free' if total else 'unknown',
        'disk here': f'{shutil.disk_usage(".").free / GIB:.1f} GiB free',
        'gpu': _gpus() or 'none',
        'caches': caches(),
        'environment': {name: os.environ[name] for name in VARIABLES if name in os.environ},
    }


def caches() -> dict[str, str]:
    """Folder -> whether it can be written, and what lies in it."""
    home = Path(os.environ.get('XDG_CACHE_HOME') or '~/.cache').expanduser()
    places = {
        'weights (torch)': Path(torch.hub.get_dir()) / 'checkpoints',
        'weights (Hugging Face)': Path(os.environ.get('HF_HOME') or home / 'huggingface'),
        'checked kernels': home / 'mmvssm',
    }
    return {name: f'{folder}, {_state(folder)}' for name, folder in places.items()}


def findings() -> list[Finding]:
    """Little memory or disk, threads that stand in each other's way, folders that cannot be written."""
    found = []
    total, free = _memory()
    if total and free < LITTLE_MEMORY:
        found.append(Finding(WARNING, f'{free:.1f} GiB of memory are free', 'close programs, or take a smaller batch'))
    if (disk := shutil.disk_usage('.').free / GIB) < LITTLE_DISK:
        found.append(Finding(WARNING, f'{disk:.1f} GiB of disk are free here', 'write elsewhere by --work-dir'))
    if torch.get_num_threads() > _processors():
        what = f'torch has {torch.get_num_threads()} threads on {_processors()} processors: they wait for each other'
        found.append(Finding(WARNING, what, f'OMP_NUM_THREADS={_processors()}'))
    elif torch.get_num_threads() == 1 < _processors() and not torch.cuda.is_available():
        remedy = f'unset OMP_NUM_THREADS, or set it to {_processors()}'
        found.append(Finding(NOTE, f'torch has one thread on {_processors()} processors', remedy))
    for name, state in caches().items():
        if 'cannot be written' in state:
            remedy = 'set XDG_CACHE_HOME (TORCH_HOME, HF_HOME) to a folder of yours'
            found.append(Finding(WARNING, f'cache of {name}: {state}', remedy))
    if not torch.cuda.is_available() and shutil.which('nvidia-smi'):
        what = f'there is an NVIDIA driver, and torch {torch.__version__} does not see a GPU'
        found.append(Finding(WARNING, what, 'install a CUDA build of torch that fits the driver (nvidia-smi)'))
    return found


def _processors() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def _processor() -> str:
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(':')[2].strip() for line in lines if line.startswith('model name')), 'unknown')


def _vectors() -> str:
    return torch.backends.cpu.get_cpu_capability()


def _memory() -> tuple[float, float]:
    """GiB in all and free; zeros where the system does not tell."""
    try:
        lines = dict(line.split(':') for line in Path('/proc/meminfo').read_text().splitlines())
        return tuple(int(lines[key].split()[0]) / (1 << 20) for key in ('MemTotal', 'MemAvailable'))  # type: ignore[return-value]
    except (OSError, KeyError, ValueError):
        return 0.0, 0.0


def _gpus() -> list[str]:
    names = []
    for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        free, total = torch.cuda.mem_get_info(i)
        names.append(f'{torch.cuda.get_device_name(i)}, {free / GIB:.1f} of {total / GIB:.1f} GiB free')
    return names


def _state(folder: Path) -> str:
    if not _writable(folder):
        return 'cannot be written'
    if not folder.is_dir():
        return 'empty'
    size = sum(path.stat().st_size for path in folder.rglob('*') if path.is_file() and not path.is_symlink())
    return f'{size / GIB:.2f} GiB'


def _writable(folder: Path) -> bool:
    """Whether files can be made in a folder, or in the nearest one above it that exists."""
    existing = next((place for place in (folder, *folder.parents) if place.exists()), None)
    if existing is None or not existing.is_dir():
        return False
    try:
        with tempfile.TemporaryFile(dir=existing):
            return True
    except OSError:
        return False
