"""Compiles Triton kernels without a GPU, for the very launches that an operator makes.

An operator's `triton_op` is run on meta tensors while its kernels are replaced by recorders; what they were called with
becomes the compiler's input, specialised as a launch would be.
"""

import contextlib
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

TARGETS = {
    'sm_80': GPUTarget('cuda', 80, 32),
    'sm_90': GPUTarget('cuda', 90, 32),
    'gfx942': GPUTarget('hip', 'gfx942', 64),
}
_POINTERS = {
    torch.float32: '*fp32', torch.float16: '*fp16', torch.bfloat16: '*bf16', torch.int32: '*i32', torch.int64: '*i64',
}  # fmt: skip
_OPTIONS = ('num_warps', 'num_stages')


@dataclass
class Launch:
    """One launch: the kernel, its grid, its arguments by name, its compile options."""

    kernel: JITFunction
    grid: tuple[int, ...]
    arguments: dict
    options: dict

    def source(self) -> ASTSource:
        signature, constants, attributes = {}, {}, {}
        for i, parameter in enumerate(self.kernel.params):
            name, value = parameter.name, self.arguments[parameter.name]
            plain = parameter.do_not_specialize
            if parameter.is_constexpr or value is None or (isinstance(value, int) and value == 1 and not plain):
                signature[name], constants[(i,)] = 'constexpr', value
                continue
            if isinstance(value, torch.Tensor):
                signature[name] = _POINTERS[value.dtype]
            elif isinstance(value, float):
                signature[name] = 'fp32'
            else:
                signature[name] = 'i32' if -(2**31) <= value < 2**31 else 'i64'
            if isinstance(value, torch.Tensor) or (isinstance(value, int) and value % 16 == 0 and not plain):
                attributes[(i,)] = [['tt.divisibility', 16]]
        return ASTSource(self.kernel, signature, constants, attributes)

    def key(self) -> tuple:
        source = self.source()
        return (self.kernel.__name__, *map(str, (source.signature, source.constants, source.attrs, self.options)))


class _Recorder:
    def __init__(self, kernel: JITFunction, launches: list[Launch]):
        self.kernel, self.launches = kernel, launches

    def __getitem__(self, grid):
        def launch(*args, **kwargs):
            options = {name: kwargs.pop(name) for name in _OPTIONS if name in kwargs}
            arguments = dict(zip(self.kernel.arg_names, args)) | kwargs
            self.launches.append(Launch(self.kernel, grid, arguments, options))

        return launch


@contextlib.contextmanager
def recording(module) -> Iterator[list[Launch]]:
    """Replace the Triton kernels that `module` launches; yields what they are launched with."""
    launches: list[Launch] = []
    kernels = {name: value for name, value in vars(module).items() if isinstance(value, JITFunction)}
    try:
        for name, kernel in kernels.items():
            setattr(module, name, _Recorder(kernel, launches))
        yield launches
    finally:
        for name, kernel in kernels.items():
            setattr(module, name, kernel)


def distinct(launches: list[Launch]) -> list[Launch]:
    return list({launch.key(): launch for launch in launches}.values())


def spills(cubin: bytes) -> dict[str, int]:
    """Bytes of stack and local memory of each kernel in `cubin` that has any."""
    tool = Path(triton.__file__).parent / 'backends/nvidia/bin/cuobjdump'
    with tempfile.NamedTemporaryFile(suffix='.cubin') as file:
        file.write(cubin)
        file.flush()
        text = subprocess.run([tool, '--dump-resource-usage', file.name], capture_output=True, text=True, check=True)
    found = re.findall(r'Function (\w+):\s+REG:\d+ STACK:(\d+) .*?LOCAL:(\d+)', text.stdout)
    assert found, text.stdout
    return {name: int(stack) + int(local) for name, stack, local in found if int(stack) + int(local)}


@triton.jit
def takes_rows(x_ptr, rows_ptr, d, stride):
    """What no kernel should do: the row times the stride in 32 bits."""
    row = tl.load(rows_ptr + tl.program_id(0))
    tl.store(x_ptr + row * stride + d, 0.0)


# Numbers of channels, ranks and states: no product of two of them comes near 2^31.
SMALL = {'%d', '%R', '%dim', '%state_x', '%state_z'}


def narrow_products(ttir: str) -> list[str]:
    """The 32-bit products inside addresses that a large tensor would make wrap: those with a stride or a length."""
    large = set(re.findall(r'(%\w+): i(?:32|64)', ttir[ttir.index('tt.func public') :].split('\n')[0])) - SMALL
    made = {}  # value -> (operation, its operands, its type)
    for line in ttir.splitlines():
        if found := re.match(r'\s*(%\w+) = ([\w.]+) (.*?)(?: : (.*?))?(?: loc\(.*)?$', line):
            name, operation, operands, type_ = found.groups()
            made[name] = operation, re.findall(r'%\w+', operands), type_ or ''

    def upstream(value: str) -> Iterator[tuple]:
        """What `value` comes from. A quotient or a remainder of a program's number is no larger than that."""
        operation, operands, type_ = made.get(value, ('', [], ''))
        if operation not in ('arith.divsi', 'arith.remsi', 'tt.load'):
            yield value, operation, operands, type_
            for operand in operands:
                yield from upstream(operand)

    return sorted(
        {
            f'{name} = {" * ".join(operands)}'
            for operation, operands, _ in made.values()
            if operation == 'tt.addptr'
            for name, operation, operands, type_ in upstream(operands[1])
            if operation == 'arith.muli' and type_.endswith(('i32', 'i32>'))
            if all(made.get(operand, ' ')[0] != 'arith.constant' for operand in operands)  # of chunks: tokens
            if large & {value for operand in operands for value, *_ in upstream(operand)}
        }
    )


def compile_all(record: Callable[[], list[Launch]], target: str) -> tuple[int, list[str], list[str]]:
    """Compile what `record()` launches: how many binaries; in words, which of them spill, and their narrow products."""
    launches = distinct(record())
    bad, narrow = [], []
    for launch in launches:
        binary = triton.compile(launch.source(), target=TARGETS[target], options=launch.options)
        narrow += [f'{launch.kernel.__name__}: {words}' for words in narrow_products(binary.asm['ttir'])]
        if 'cubin' in binary.asm and (spilled := spills(binary.asm['cubin'])):
            constants = {k: v for k, v in launch.arguments.items() if isinstance(v, (int, bool, str)) and k.isupper()}
            bad.append(f'{spilled} with {constants} {launch.options}')
    return len(launches), bad, narrow
