"""Which implementation of an operator runs.

`reference` is the definition, `blocked` plain PyTorch at a sensible speed, `numba` the CPU kernel, `triton` the GPU
kernel. `auto` takes the fastest that can run, and says so once when that is not the fastest there is.
"""

import contextlib
import functools
import os
import threading
import warnings
from collections.abc import Callable
from contextvars import ContextVar

import torch
from torch import Tensor

from .self_check import give_up, import_error, trouble

BACKENDS = ('auto', 'reference', 'blocked', 'numba', 'triton')
COMPILED = ('numba', 'triton')
_FASTEST = {'meta': ('numba',), 'cpu': ('numba',), 'cuda': ('triton',)}
_PLAIN = ('blocked', 'reference')

_everywhere: str | None = None  # what a context takes that chose nothing itself
_here: ContextVar[str | None] = ContextVar('mmvssm_backend', default=None)
_warned: set[str] = set()


class _Traced(threading.local):
    """`_here` again, where torch.compile can read, guard and set it: an attribute of the object, not of the class."""

    def __init__(self):
        self.name: str | None = None


_traced = _Traced()


class SlowKernelWarning(UserWarning):
    """A slower implementation runs than this device could have."""


def check_backend(backend: str, field: str = 'backend') -> str:
    """Return `backend` if it is a known name, else raise a ValueError that names `field` and what is allowed."""
    if backend not in BACKENDS:
        raise ValueError(f'{field}={backend!r} is not supported; allowed: {", ".join(BACKENDS)}')
    return backend


class use_backend:
    """Set the backend of every call that names none: `use_backend('numba')`, or as a context manager.

    As a context manager it holds in this thread or asyncio task alone. A plain call stays: from the main thread for
    every thread that chose nothing itself, from another one for that thread. It outranks the environment variable
    MMVSSM_BACKEND; `backend=` of one call outranks both.
    """

    def __init__(self, name: str):
        global _everywhere
        check_backend(name)
        self._before = _chosen_here(), _everywhere
        _choose_here(name)
        if _in_main_thread():
            _everywhere = name

    def __enter__(self):
        self._restore_everywhere()
        return self

    def __exit__(self, *exc):
        _choose_here(self._before[0])
        self._restore_everywhere()

    def _restore_everywhere(self) -> None:
        global _everywhere
        if _in_main_thread():
            _everywhere = self._before[1]


def _chosen_here() -> str | None:
    return _traced.name if torch.compiler.is_compiling() else _here.get()


def _choose_here(name: str | None) -> None:
    _traced.name = name
    if not torch.compiler.is_compiling():
        _here.set(name)


def _in_main_thread() -> bool:
    """Whether this is the main thread; compiled code does not know which one will run it."""
    return not torch.compiler.is_compiling() and threading.current_thread() is threading.main_thread()


def default_backend() -> str:
    """The backend of a call that names none: `use_backend`'s, else MMVSSM_BACKEND's, else 'auto'."""
    chosen = _chosen_here() or _everywhere
    if chosen is not None:
        return chosen
    return check_backend(os.environ.get('MMVSSM_BACKEND') or 'auto', 'MMVSSM_BACKEND')


def is_exporting() -> bool:
    """Whether a graph of plain ATen operations is wanted (torch.export and so ONNX, torch.jit.trace)."""
    return _in_torch_export() or torch.jit.is_tracing()


def _in_torch_export() -> bool:
    if hasattr(torch.compiler, 'is_exporting'):
        return torch.compiler.is_exporting()
    # torch 2.6: non-strict export sets the flag of is_compiling, strict export is Dynamo's
    return torch.compiler._is_compiling_flag or (torch.compiler.is_dynamo_compiling() and _dynamo_exports())


@torch.compiler.assume_constant_result
def _dynamo_exports() -> bool:
    return torch._dynamo.symbolic_convert.InstructionTranslator.current_tx().export


def no_autocast(tensor: Tensor) -> contextlib.AbstractContextManager:
    """Autocast off for `tensor`'s device, where it has any."""
    if not _has_autocast(tensor.device.type):
        return contextlib.nullcontext()
    return torch.autocast(tensor.device.type, enabled=False)


@torch.compiler.assume_constant_result
def _has_autocast(device_type: str) -> bool:
    return torch.amp.is_autocast_available(device_type)


def on_its_device(function: Callable) -> Callable:
    """Decorates a function that launches kernels: meanwhile the current device is that of its first tensor."""

    @functools.wraps(function)
    def launch(tensor: Tensor, *args, **kwargs):
        device_of = getattr(getattr(torch, tensor.device.type, None), 'device_of', None)
        with device_of(tensor) if device_of else contextlib.nullcontext():
            return function(tensor, *args, **kwargs)

    return launch


def no_triton(tensor: Tensor) -> str:
    """Why Triton has no kernel for such a tensor, '' where it may have one."""
    on = tensor.device.type
    if on not in ('cuda', 'xpu') and os.environ.get('TRITON_INTERPRET') != '1':
        return f'triton runs on a GPU (or with TRITON_INTERPRET=1), the input is on {on}'
    return 'triton does not compute in float64' if tensor.dtype == torch.float64 else ''


def resolve(op: str, tensor: Tensor, backend: str | None, available: dict[str, str], gradients: bool = True) -> str:
    """Choose the implementation of `op` for `tensor`.

    A compiled one is checked at its first use (see `self_check`); where it fails, a plain one runs with a warning.

    Args:
        op: name of the operator, for messages.
        tensor: decides the device and the dtype.
        backend: what the caller asked for; None is `default_backend()`, or 'auto' where that is a kernel that this
            operator has none of (mLSTM on CPUs is matrix products, there is no numba kernel).
        available: what this operator has: name -> '' where it can run on such a tensor, else the reason why not.
        gradients: whether a backward pass may follow.

    Raises:
        ValueError: the backend is unknown, this operator has none of that name, or it cannot run.
    """
    if backend is None:
        backend = default_backend()
        backend = backend if backend in available else 'auto'
    if check_backend(backend) == 'auto':
        return _fastest(op, tensor, available, gradients)
    if backend not in available:
        raise ValueError(f'backend={backend!r}: {op} has no such backend; allowed: auto, {", ".join(available)}')
    if why := _missing(op, backend, tensor, available, gradients):
        raise ValueError(f'backend={backend!r}: {op} cannot use it here: {why}')
    return _unless_broken(op, backend, tensor, available, gradients)


def _missing(op: str, backend: str, tensor: Tensor, available: dict[str, str], gradients: bool) -> str:
    shapes_alone = tensor.device.type == 'meta' and not gradients  # nothing of a kernel is needed for these
    if available[backend] or backend not in COMPILED or shapes_alone:
        return available[backend]
    return import_error(op, backend)


def _fastest(op: str, tensor: Tensor, available: dict[str, str], gradients: bool) -> str:
    on = tensor.device.type
    plain = next(name for name in _PLAIN if name in available)
    if is_exporting():
        return plain
    if on not in _FASTEST and 'triton' in available:
        warn_slow_once(f'{op} runs on {plain!r}, plain PyTorch and slow: no kernel of it was proven on {on} devices.')
    for name in _FASTEST.get(on, ()):
        if name not in available:
            continue
        if why := _missing(op, name, tensor, available, gradients):
            warn_slow_once(_falls_back(op, plain, name, why))
        else:
            return _unless_broken(op, name, tensor, available, gradients)
    return plain


def _unless_broken(op: str, backend: str, tensor: Tensor, available: dict[str, str], gradients: bool) -> str:
    """`backend`, or a plain one where it is compiled and the self-check found it wanting."""
    if backend not in COMPILED:
        return backend
    dtype = torch.promote_types(tensor.dtype, torch.float32) if backend == 'numba' else tensor.dtype
    if why := trouble(op, backend, tensor.device, dtype, gradients):
        plain = next(name for name in _PLAIN if name in available)
        warn_slow_once(_falls_back(op, plain, backend, why))
        return plain
    return backend


def run_or_fall_back(op: str, backend: str, run: Callable):
    """run(backend), or run('blocked') with the warning where its kernel cannot be compiled or launched."""
    try:
        return run(backend)
    except Exception as error:
        if backend not in COMPILED:
            raise
        warn_slow_once(_falls_back(op, 'blocked', backend, give_up(op, backend, error)))
    return run('blocked')


def _falls_back(op: str, used: str, faster: str, why: str) -> str:
    return f'{op} falls back to the slow backend {used!r}: {why}. {faster!r} would be many times faster.'


@torch.compiler.assume_constant_result
def warn_slow_once(message: str) -> None:
    """Give the SlowKernelWarning `message`, the first time."""
    if message not in _warned:
        _warned.add(message)
        warnings.warn(message, SlowKernelWarning, stacklevel=2)
