"""Whether a compiled kernel is right on this machine, found out at its first use.

A compiler, a driver or a processor that is slightly wrong gives wrong numbers without a word. So the first use of an
operator's compiled backend on a device, in a dtype, runs a problem of a few kilobytes against the float64 definition:
the forward pass, and once gradients are needed theirs. What passed is noted in this process and, where a cache folder
can be written, in a file, so that the next process does not ask again.

The check runs in a thread of its own: no mode of the caller's (autocast, inference mode, fake tensors, counters of
operations, a default device, transforms, tracing) is in force there. It draws no random numbers.

MMVSSM_SELF_CHECK: 'warn' (a kernel that fails gives way to plain PyTorch, with one warning), 'error' or 'off'.
"""

import hashlib
import math
import os
import platform
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import lru_cache
from inspect import isfunction
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from .operators import OPERATORS

MODES = ('warn', 'error', 'off')
LIMITS = {torch.float64: 1e-10, torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 5e-2}  # relative RMS


class SelfCheckError(RuntimeError):
    """A kernel fails its self-check, and MMVSSM_SELF_CHECK=error."""


_import_errors: dict[tuple[str, str], str] = {}
_verdicts: dict[tuple, str] = {}  # '' for what passed, else what is wrong
_given_up: dict[tuple[str, str], str] = {}
_lock = threading.Lock()


def _renew_lock() -> None:
    global _lock
    _lock = threading.Lock()


if hasattr(os, 'register_at_fork'):
    os.register_at_fork(after_in_child=_renew_lock)  # another thread of the parent may have held it


@torch.compiler.assume_constant_result
def import_error(op: str, backend: str) -> str:
    """Why `op`'s compiled `backend` cannot be imported, '' where it can."""
    key = op, backend
    if key not in _import_errors:
        _import_errors[key] = _import_error(*key) if op in OPERATORS else ''
    return _import_errors[key]


def _import_error(op: str, backend: str) -> str:
    try:
        _load(op, backend)
    except ModuleNotFoundError as error:
        return f'{error.name or backend} is not installed'
    except Exception as error:  # whatever a broken package raises
        return f'{backend} cannot be imported ({in_words(error)})'
    return ''


def _load(op: str, backend: str) -> ModuleType:
    load = OPERATORS[op][backend].load
    assert load is not None, f'{op} has no kernels of {backend}'
    return load()


@torch.compiler.assume_constant_result
def trouble(op: str, backend: str, device: torch.device, dtype: torch.dtype, gradients: bool) -> str:
    """Why `op`'s compiled `backend` must not run here, '' where it may.

    Raises:
        ValueError: MMVSSM_SELF_CHECK has an unknown value.
        SelfCheckError: the kernel fails, and MMVSSM_SELF_CHECK=error.
    """
    mode = _mode()
    found = _given_up.get((op, backend), '')
    if not found and mode != 'off' and op in OPERATORS and dtype in LIMITS and _is_real(device, op, backend):
        found = _verdict(op, backend, device, dtype, gradients)
    if found and mode == 'error':
        raise SelfCheckError(found)
    return found


def _mode() -> str:
    mode = os.environ.get('MMVSSM_SELF_CHECK') or 'warn'
    if mode not in MODES:
        raise ValueError(f'MMVSSM_SELF_CHECK={mode!r} is not supported; allowed: {", ".join(MODES)}')
    return mode


def give_up(op: str, backend: str, error: Exception) -> str:
    """Have `trouble` refuse `op`'s `backend` from now on, for the reason returned, if `error` is its fault.

    Raises `error` again if it is not, or with MMVSSM_SELF_CHECK=error.
    """
    if not is_kernels_fault(error) or _mode() == 'error':
        raise error
    return _given_up.setdefault((op, backend), f'its {backend} kernel fails [{_versions(backend)}]: {in_words(error)}')


def given_up() -> dict[tuple[str, str], str]:
    """(operator, backend) -> why it is not used any more; cleared, all are tried again."""
    return _given_up


def is_kernels_fault(error: BaseException) -> bool:
    """Whether an error comes of compiling or launching a kernel, not of its inputs, of memory or of a lost device."""
    if _is_out_of_memory(error) or _is_lost(error):
        return False
    if isinstance(error, (ImportError, OSError, SystemError, subprocess.SubprocessError)):
        return True
    if type(error).__module__.split('.')[0] in ('numba', 'llvmlite', 'triton'):
        return True
    words = str(error).lower()
    return isinstance(error, RuntimeError) and any(word in words for word in _COMPILERS)


_COMPILERS = ('triton', 'active driver', 'passmanager', 'llvm', 'ptxas', 'c compiler')
# After these nothing runs on the device any more, whatever the backend.
_LOST = ('cuda error', 'hip error', 'illegal', 'misaligned', 'unspecified launch', 'device-side')


def _is_lost(error: BaseException) -> bool:
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in _LOST)


def _is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or 'out of memory' in str(error).lower()


def in_words(error: BaseException) -> str:
    """An error in one line."""
    lines = str(error).strip().splitlines() or ['']
    return f'{type(error).__name__}: {lines[0][:200]}'


def wave(*shape: int, phase: float, dtype: torch.dtype = torch.float32) -> Tensor:
    """Values between -1 and 1 for a check's inputs, without a random generator."""
    count = torch.arange(math.prod(shape), dtype=torch.float64, device='cpu')
    return torch.sin(count * 1.7 + phase).view(shape).to(dtype)


def relative_error(found: Tensor, wanted: Tensor) -> float:
    """Root mean square of the difference over that of what is wanted; NaN where `found` has any."""
    found = found.detach().to('cpu', torch.float64)
    return ((found - wanted).norm() / wanted.norm()).item()


def _is_real(device: torch.device, op: str, backend: str) -> bool:
    """Whether kernels run there now: not for fake tensors, interpreted, or while a CUDA graph is captured."""
    if device.type == 'cpu':
        return 'cpu' in OPERATORS[op][backend].fastest_on
    available = getattr(getattr(torch, device.type, None), 'is_available', None)
    if available is None or not available():
        return False
    return not (device.type == 'cuda' and torch.cuda.is_current_stream_capturing())


def _verdict(op: str, backend: str, device: torch.device, dtype: torch.dtype, gradients: bool) -> str:
    module = _load(op, backend)
    key = op, backend, device, dtype, gradients, module.forward, module.backward
    if key not in _verdicts:
        with _lock:
            if key not in _verdicts:
                found = _check(op, backend, device, dtype, gradients)
                if found is None:
                    return ''
                _verdicts[key] = found
    return _verdicts[key]


def _check(op: str, backend: str, device: torch.device, dtype: torch.dtype, gradients: bool) -> str | None:
    """What is wrong, '' for nothing, None where that cannot be told now."""
    module, errors = _load(op, backend), OPERATORS[op].errors
    assert errors is not None, f'{op} has kernels and no check of them'
    machine = _machine(backend, device)
    versions = _versions(backend)
    note = _note(op, backend, machine, versions, dtype, gradients, _functions(module))
    if note and _exists(note):
        return ''
    where = f'on {machine} in {dtype} [{versions}]'
    try:
        found = _in_clean_thread(lambda: errors(module, device, dtype, gradients))
    except _NoThread:
        return None
    except Exception as error:
        if _is_out_of_memory(error):
            return None
        if _is_lost(error):
            raise
        return f'its {backend} kernel fails {where}: {in_words(error)}'
    wrong = {name: error for name, error in found.items() if not error <= LIMITS[dtype]}
    if wrong:
        listed = ', '.join(f'{name} {error:.1e}' for name, error in wrong.items())
        return (
            f'its {backend} kernel gives wrong numbers {where}: relative errors {listed}, at most {LIMITS[dtype]:.0e} '
            'expected; please report this line'
        )
    if note:
        _leave(note)
    return ''


class _NoThread(Exception):
    """No thread can start: a limit, or the interpreter shuts down."""


def _in_clean_thread(function: Callable):
    """function(), in a new thread."""
    future: Future = Future()

    def run() -> None:
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    try:
        threading.Thread(target=run, name='mmvssm-self-check', daemon=True).start()
    except RuntimeError as error:
        raise _NoThread from error
    return future.result()


# What a verdict holds for, and the files that keep it


def _machine(backend: str, device: torch.device) -> str:
    if backend == 'numba':
        from llvmlite import binding

        name = os.environ.get('NUMBA_CPU_NAME') or binding.get_host_cpu_name()
        features = os.environ.get('NUMBA_CPU_FEATURES') or binding.get_host_cpu_features().flatten()
        return f'{name} {platform.machine()} {hashlib.sha256(features.encode()).hexdigest()[:6]}'
    if device.type == 'cpu':
        return f'{platform.processor()} {platform.machine()}'
    return torch.get_device_module(device).get_device_name(device)


def _versions(backend: str) -> str:
    package = getattr(sys.modules.get(backend), '__version__', '?')
    return (
        f'torch {torch.__version__}, {backend} {package}, Python {platform.python_version()}, {platform.system()}, '
        f'kernels {_sources_digest()[:12]}'
    )


@lru_cache(None)
def _sources_digest() -> str:
    """Of all kernel sources; '' where they cannot be read."""
    folder = Path(__file__).parent
    try:
        return hashlib.sha256(b''.join(path.read_bytes() for path in sorted(folder.rglob('*.py')))).hexdigest()
    except OSError:
        return ''


def _functions(module: ModuleType) -> list[str]:
    """Where the functions that a module uses come from: one put in another's place is another kernel."""
    return sorted(f'{name} {f.__module__} {f.__qualname__}' for name, f in vars(module).items() if isfunction(f))


def _note(*key) -> Path | None:
    """The empty file that says that a check with this key was passed; None where there is no place for it."""
    if not _sources_digest():
        return None
    name = hashlib.sha256(repr(key).encode()).hexdigest()
    try:
        cache = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache')
    except RuntimeError:  # no home
        return None
    return cache / 'mmvssm' / 'self_check' / name


def _exists(note: Path) -> bool:
    try:
        return note.exists()
    except OSError:
        return False


def _leave(note: Path) -> None:
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        note.touch()
    except OSError:
        pass
