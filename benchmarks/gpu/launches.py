"""The Triton launches of a scan or an mLSTM: recorded on meta tensors to be compiled, on real ones to be timed."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor
from triton.runtime import KernelInterface

from mmvssm.kernels.mlstm import triton_launch as mlstm_launch
from mmvssm.kernels.mlstm.gates import gate_terms
from mmvssm.kernels.selective_scan import triton_launch as scan_launch
from mmvssm.kernels.selective_scan.tensors import Tensors

from .plan import Lstm, Scan, Work

OPTIONS = ('num_warps', 'num_stages')


@dataclass
class Launch:
    """One launch: a kernel, its grid, its arguments by name and compile options."""

    kernel: Any
    grid: tuple[int, ...]
    arguments: dict[str, Any]
    options: dict[str, int]

    @property
    def name(self) -> str:
        return self.kernel.__name__

    @property
    def role(self) -> str:
        """The kernel, and what it is compiled for where it serves twice."""
        given = self.arguments
        if 'SUMMARY' in given:
            return f'{self.name}, {"summary" if given["SUMMARY"] else "outputs"}'
        if 'KIND' in given:
            return f'{self.name}, {given["KIND"]}{"" if given["READERS"] else " of keys"}'
        return f'{self.name}, reverse' if given.get('REVERSE') and 'BC' in given else self.name

    def run(self):
        """Launch; returns Triton's compiled kernel, where it compiles."""
        return self.kernel[self.grid](**self.arguments, **self.options)


class Pointer:
    """What a compiler has to know of a tensor; Triton takes it for one."""

    def __init__(self, dtype: torch.dtype, address: int):
        self.dtype, self.address = dtype, address

    def data_ptr(self) -> int:
        return self.address


class Binary(NamedTuple):
    """A launch without its tensors, which travels to another process."""

    module: str
    name: str
    arguments: dict[str, Any]
    options: dict[str, int]


def binary(launch: Launch) -> Binary:
    arguments = {name: _pointer(value) for name, value in launch.arguments.items()}
    return Binary(launch.kernel.fn.__module__, launch.name, arguments, launch.options)


def _pointer(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    offset = value.storage_offset() * value.element_size()  # storages begin at multiples of more than 16
    return Pointer(value.dtype, offset % 16)


def distinct(launches: list[Launch]) -> list[Binary]:
    """What they compile to, each once."""
    found: dict[tuple, Binary] = {}
    for launch in launches:
        each = binary(launch)
        parts = [_specialised(parameter, each.arguments[parameter.name]) for parameter in launch.kernel.params]
        found.setdefault((each.module, each.name, *parts, *each.options.values()), each)
    return list(found.values())


def _specialised(parameter, value: Any) -> Any:
    """What Triton distinguishes of an argument."""
    if isinstance(value, Pointer):
        return value.dtype, value.address == 0
    if isinstance(value, float) and not parameter.is_constexpr:
        return 'float'
    if parameter.is_constexpr or not isinstance(value, int):
        return str(value)
    width = 32 if -(2**31) <= value < 2**31 else 64
    return (width,) if parameter.do_not_specialize else (width, value == 1, value % 16 == 0)


class _Recorder:
    """Stands in a kernel's place."""

    def __init__(self, kernel, launches: list, kind: type[Launch], launch: bool):
        self.kernel, self.launches, self.kind, self.launch = kernel, launches, kind, launch

    def __getitem__(self, grid):
        def launch(*args, **kwargs):
            options = {name: kwargs.pop(name) for name in OPTIONS if name in kwargs}
            arguments = dict(zip(self.kernel.arg_names, args)) | kwargs
            self.launches.append(self.kind(self.kernel, grid, arguments, options))
            if self.launch:
                self.launches[-1].run()

        return launch


Kind = TypeVar('Kind', bound=Launch)


@contextlib.contextmanager
def recording(module, launch: bool, kind: type[Kind] = Launch) -> Iterator[list[Kind]]:  # type: ignore[assignment]
    """What the kernels of `module` are launched with, as `kind`; they are launched as well if `launch`."""
    launches: list[Kind] = []
    kernels = {name: value for name, value in vars(module).items() if isinstance(value, KernelInterface)}
    try:
        vars(module).update({name: _Recorder(kernel, launches, kind, launch) for name, kernel in kernels.items()})
        yield launches
    finally:
        vars(module).update(kernels)


def launches_of(work: Work, dtype: str, device: str = 'meta') -> list[Launch]:
    """The launches of a forward and a backward pass. On the meta device nothing is launched."""
    return (_of_scan if isinstance(work, Scan) else _of_lstm)(work, dtype, device)


def _of_scan(scan: Scan, dtype: str, device: str) -> list[Launch]:
    orders = scan.tables(device)
    given = Tensors(*scan.inputs(dtype, device), orders.index, orders.lengths, orders.straight)
    with recording(scan_launch, device != 'meta') as launches:
        y, carries = scan_launch.forward(given, True, scan.merge, torch.float32, True)  # as models ask for it
        scan_launch.backward(torch.ones_like(y), carries, given, True, scan.merge)
    return launches


def _of_lstm(lstm: Lstm, dtype: str, device: str) -> list[Launch]:
    q, k, v, igate, fgate = lstm.inputs(dtype, device)
    gates = gate_terms(igate, fgate, reverse=lstm.reverse)
    size = mlstm_launch.chunk_size_for(lstm.S, lstm.dim, None)
    options = dict(reverse=lstm.reverse, chunk_size=size, eps=1e-6)
    with recording(mlstm_launch, device != 'meta') as launches:
        h, normaliser = mlstm_launch.forward(q, k, v, gates, **options)
        mlstm_launch.backward(torch.ones_like(h), q, k, v, h, normaliser, gates, **options)
    return launches
