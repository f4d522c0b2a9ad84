"""Which implementation of an operator runs.

`reference` is the definition, `blocked` plain PyTorch at a sensible speed, `numba` the CPU kernel, `triton` the GPU
kernel. `auto` takes the fastest that can run, and says so once when that is not the fastest there is.
"""

import contextlib
import os
import warnings

import torch
from torch import Tensor

BACKENDS = ('auto', 'reference', 'blocked', 'numba', 'triton')
_FASTEST_FIRST = {
    'meta': ('numba', 'blocked', 'reference'),
    'cpu': ('numba', 'blocked', 'reference'),
    'cuda': ('triton', 'blocked', 'reference'),
}

_chosen: str | None = None
_warned: set[str] = set()


class SlowKernelWarning(UserWarning):
    """A slower implementation runs than this device could have."""


def check_backend(backend: str, field: str = 'backend') -> str:
    """Return `backend` if it is a known name, else raise a ValueError that names `field` and what is allowed."""
    if backend not in BACKENDS:
        raise ValueError(f'{field}={backend!r} is not supported; allowed: {", ".join(BACKENDS)}')
    return backend


class use_backend:
    """Set the backend of every call that names none: `use_backend('numba')`, or as a context manager.

    It outranks the environment variable MMVSSM_BACKEND; `backend=` of one call outranks both.
    """

    def __init__(self, name: str):
        global _chosen
        self._previous = _chosen
        _chosen = check_backend(name)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        global _chosen
        _chosen = self._previous


def default_backend() -> str:
    """The backend of a call that names none: `use_backend`'s, else MMVSSM_BACKEND's, else 'auto'."""
    if _chosen is not None:
        return _chosen
    return check_backend(os.environ.get('MMVSSM_BACKEND') or 'auto', 'MMVSSM_BACKEND')


def is_exporting() -> bool:
    """Whether a graph of plain ATen operations is wanted (torch.export and so ONNX, torch.jit.trace)."""
    return torch.compiler.is_exporting() or torch.jit.is_tracing()


def no_autocast(tensor: Tensor) -> contextlib.AbstractContextManager:
    """Autocast off for `tensor`'s device (the meta device has none)."""
    if tensor.device.type == 'meta':
        return contextlib.nullcontext()
    return torch.autocast(tensor.device.type, enabled=False)


def resolve(op: str, tensor: Tensor, backend: str | None, available: dict[str, str]) -> str:
    """Choose the implementation of `op` for `tensor`.

    Args:
        op: name of the operator, for messages.
        tensor: decides the device.
        backend: what the caller asked for; None is `default_backend()`, or 'auto' where that is a kernel that this
            operator has none of (mLSTM on CPUs is matrix products, there is no numba kernel).
        available: what this operator has: name -> '' where it can run here and now, else the reason why not.

    Raises:
        ValueError: the backend is unknown, this operator has none of that name, or it cannot run.
    """
    if backend is None:
        backend = default_backend()
        backend = backend if backend in available else 'auto'
    if check_backend(backend) == 'auto':
        return _fastest(op, tensor, available)
    if backend not in available:
        raise ValueError(f'backend={backend!r}: {op} has no such backend; allowed: auto, {", ".join(available)}')
    if available[backend]:
        raise ValueError(f'backend={backend!r}: {op} cannot use it here: {available[backend]}')
    return backend


def _fastest(op: str, tensor: Tensor, available: dict[str, str]) -> str:
    if is_exporting():
        return 'blocked'
    ranked = [name for name in _FASTEST_FIRST.get(tensor.device.type, ('blocked',)) if name in available]
    name = next(name for name in ranked if not available[name])
    if name != ranked[0]:
        warn_slow_once(op, name, ranked[0], available[ranked[0]])
    return name


@torch.compiler.assume_constant_result
def warn_slow_once(op: str, used: str, faster: str, reason: str) -> None:
    """Warn, the first time this happens, that `op` runs on `used` since `faster` cannot run for `reason`."""
    message = f'{op} falls back to the slow backend {used!r}: {reason}. {faster!r} would be many times faster.'
    if message not in _warned:
        _warned.add(message)
        warnings.warn(message, SlowKernelWarning, stacklevel=2)
