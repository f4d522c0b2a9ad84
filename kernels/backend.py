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
from importlib import import_module

import torch
from torch import Tensor

from mmvssm.tracing import is_compiling, is_exporting

from .operators import Implementation, Operator, backend_names
from .self_check import give_up, import_error, trouble

_PROVEN_ON = ('meta', 'cpu', 'cuda')

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
    if backend not in backend_names():
        raise ValueError(f'{field}={backend!r} is not supported; allowed: {", ".join(backend_names())}')
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
    return _traced.name if is_compiling() else _here.get()


def _choose_here(name: str | None) -> None:
    _traced.name = name
    if not is_compiling():
        _here.set(name)


def _in_main_thread() -> bool:
    """Whether this is the main thread; compiled code does not know which one will run it."""
    return not is_compiling() and threading.current_thread() is threading.main_thread()


def default_backend() -> str:
    """The backend of a call that names none: `use_backend`'s, else MMVSSM_BACKEND's, else 'auto'."""
    chosen = _chosen_here() or _everywhere
    if chosen is not None:
        return chosen
    return check_backend(os.environ.get('MMVSSM_BACKEND') or 'auto', 'MMVSSM_BACKEND')


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
    def launch(first: Tensor | tuple[Tensor, ...], *args, **kwargs):
        tensor = first if isinstance(first, Tensor) else first[0]
        device_of = getattr(getattr(torch, tensor.device.type, None), 'device_of', None)
        with device_of(tensor) if device_of else contextlib.nullcontext():
            return function(first, *args, **kwargs)

    return launch


def no_triton(tensor: Tensor) -> str:
    """Why Triton has no kernel for such a tensor, '' where it may have one."""
    on = tensor.device.type
    if on not in ('cuda', 'xpu') and os.environ.get('TRITON_INTERPRET') != '1':
        return f'triton runs on a GPU (or with TRITON_INTERPRET=1), the input is on {on}'
    return 'triton does not compute in float64' if tensor.dtype == torch.float64 else ''


def triton_kernels(package: str) -> Implementation:
    """The row of an operator's Triton kernels, which are in `triton_launch` of its package."""
    return Implementation(
        'triton',
        load=lambda: import_module('.triton_launch', package),
        compiled=True,
        fastest_on=('cuda',),
        why_not=no_triton,
    )


def choose(operator: Operator, tensor: Tensor, backend: str | None, gradients: bool = True) -> str:
    """Choose the implementation of an operator for `tensor`.

    A compiled one is checked at its first use (see `self_check`); where it fails, a plain one runs with a warning.

    Args:
        operator: with its table.
        tensor: decides the device and the dtype.
        backend: what the caller asked for; None is `default_backend()`, or 'auto' where that is a kernel that this
            operator has none of (mLSTM on CPUs is matrix products, there is no numba kernel).
        gradients: whether a backward pass may follow.

    Raises:
        ValueError: the backend is unknown, this operator has none of that name, or it cannot run.
    """
    names = [each.name for each in operator.implementations]
    if backend is None:
        backend = default_backend()
        backend = backend if backend in names else 'auto'
    if check_backend(backend) == 'auto':
        return _fastest(operator, tensor, gradients)
    if backend not in names:
        raise ValueError(f'backend={backend!r}: {operator.name} has no such backend; allowed: auto, {", ".join(names)}')
    if why := _missing(operator, operator[backend], tensor, gradients):
        raise ValueError(f'backend={backend!r}: {operator.name} cannot use it here: {why}')
    return _unless_broken(operator, operator[backend], tensor, gradients)


def _missing(operator: Operator, each: Implementation, tensor: Tensor, gradients: bool) -> str:
    shapes_alone = tensor.device.type == 'meta' and not gradients  # nothing of a kernel is needed for these
    why = each.why_not(tensor)
    if why or not each.compiled or shapes_alone:
        return why
    return import_error(operator.name, each.name)


def _fastest(operator: Operator, tensor: Tensor, gradients: bool) -> str:
    on, op, plain = tensor.device.type, operator.name, operator.plain
    if is_exporting():
        return plain
    if on not in _PROVEN_ON and any('cuda' in each.fastest_on for each in operator.implementations):
        warn_slow_once(f'{op} runs on {plain!r}, plain PyTorch and slow: no kernel of it was proven on {on} devices.')
    for each in operator.implementations:
        if on not in each.fastest_on:
            continue
        if why := _missing(operator, each, tensor, gradients):
            warn_slow_once(_falls_back(op, plain, each.name, why))
        else:
            return _unless_broken(operator, each, tensor, gradients)
    return plain


def _unless_broken(operator: Operator, each: Implementation, tensor: Tensor, gradients: bool) -> str:
    """Its name, or a plain one's where it is compiled and the self-check found it wanting."""
    if not each.compiled:
        return each.name
    on_cpu = tensor.device.type == 'cpu'  # where kernels compute in float32 at least
    dtype = torch.promote_types(tensor.dtype, torch.float32) if on_cpu else tensor.dtype
    if why := trouble(operator.name, each.name, tensor.device, dtype, gradients):
        warn_slow_once(_falls_back(operator.name, operator.plain, each.name, why))
        return operator.plain
    return each.name


def run_or_fall_back(operator: Operator, backend: str, run: Callable):
    """run(backend), or run of the plain one, with the warning, where a kernel cannot be compiled or launched."""
    try:
        return run(backend)
    except Exception as error:
        if not operator[backend].compiled:
            raise
        warn_slow_once(_falls_back(operator.name, operator.plain, backend, give_up(operator.name, backend, error)))
    return run(operator.plain)


def _falls_back(op: str, used: str, faster: str, why: str) -> str:
    return f'{op} falls back to the slow backend {used!r}: {why}. {faster!r} would be many times faster.'


@torch.compiler.assume_constant_result
def warn_slow_once(message: str) -> None:
    """Give the SlowKernelWarning `message`, the first time."""
    if message not in _warned:
        _warned.add(message)
        warnings.warn(message, SlowKernelWarning, stacklevel=2)
