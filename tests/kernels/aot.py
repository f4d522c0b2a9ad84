"""Compiles Triton kernels without a GPU, for the very launches that an operator makes.

An operator's `triton_launch` is run on meta tensors while its kernels are replaced by recorders; what they were called
with becomes the compiler's input, specialised as a launch would be.
"""

import contextlib
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import torch
import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

from benchmarks.gpu import launches as recorded

try:  # Triton 3.2, which comes with torch 2.6
    from triton.backends.compiler import AttrsDescriptor
except ImportError:
    AttrsDescriptor = None

TARGETS = {
    **{f'sm_{number}': GPUTarget('cuda', number, 32) for number in (75, 80, 86, 89, 90, 100)},
    'gfx90a': GPUTarget('hip', 'gfx90a', 64),
    'gfx942': GPUTarget('hip', 'gfx942', 64),
    'gfx1100': GPUTarget('hip', 'gfx1100', 32),
}
_POINTERS = {
    torch.float32: '*fp32', torch.float16: '*fp16', torch.bfloat16: '*bf16', torch.int32: '*i32', torch.int64: '*i64',
}  # fmt: skip


def ast_source(kernel: JITFunction, types: dict[str, str], constants: dict, divisible: Iterable[str] = ()) -> ASTSource:
    """What Triton compiles: the types of some arguments, the values of the others, and which are multiples of 16."""
    index = kernel.arg_names.index
    if AttrsDescriptor is None:
        signature = {name: types.get(name, 'constexpr') for name in kernel.arg_names}
        attributes = {(index(name),): [['tt.divisibility', 16]] for name in divisible}
        return ASTSource(kernel, signature, {(index(name),): value for name, value in constants.items()}, attributes)
    properties = {'tt.divisibility': [index(name) for name in divisible]}
    attributes = AttrsDescriptor.from_dict(dict(cls='AttrsDescriptor', arg_properties=properties))
    return ASTSource(kernel, types, constants, attributes)


def ttir(source: ASTSource, target: str, **options) -> tuple[str, dict]:
    """Triton's own code with the arguments under their names, and everything that it was compiled to."""
    binary = triton.compile(source, target=TARGETS[target], options=options)
    names = [name for name in source.fn.arg_names if source.signature.get(name, 'constexpr') != 'constexpr']
    text = binary.asm['ttir']
    unnamed = re.findall(r'%arg\d+(?=: )', re.search(r'tt\.func public .*', text)[0])  # Triton 3.2 says %arg0, %arg1
    given = dict(zip(unnamed, names))
    return re.sub(r'%arg\d+', lambda found: f'%{given[found[0]]}' if found[0] in given else found[0], text), binary.asm


class Launch(recorded.Launch):
    """A launch, and what Triton compiles of it."""

    def source(self) -> ASTSource:
        types, constants, divisible = {}, {}, []
        for parameter in self.kernel.params:
            name, value = parameter.name, self.arguments[parameter.name]
            plain = parameter.do_not_specialize
            if parameter.is_constexpr or value is None or (isinstance(value, int) and value == 1 and not plain):
                constants[name] = value
                continue
            if isinstance(value, torch.Tensor):
                types[name] = _POINTERS[value.dtype]
            elif isinstance(value, float):
                types[name] = 'fp32'
                continue
            else:
                types[name] = 'i32' if -(2**31) <= value < 2**31 else 'i64'
            if isinstance(value, torch.Tensor):
                value = value.storage_offset() * value.element_size()  # storages begin at multiples of more
            if value % 16 == 0 and not plain:
                divisible.append(name)
        return ast_source(self.kernel, types, constants, divisible)

    def compile(self, target: str):
        """Triton's compiled kernel."""
        return triton.compile(self.source(), target=TARGETS[target], options=self.options)

    def key(self) -> tuple:
        source = self.source()
        return self.kernel.__name__, source.hash(), str(self.options)


@contextlib.contextmanager
def recording(module, target: str) -> Iterator[list[Launch]]:
    """Replace the Triton kernels that `module` launches; yields what they are launched with on `target`."""
    asked = getattr(module, 'has_tf32', None)
    with recorded.recording(module, launch=False, kind=Launch) as found:
        try:
            if asked is not None:
                module.has_tf32 = lambda device: target.startswith('sm_') or target == 'gfx942'
            yield found
        finally:
            if asked is not None:
                module.has_tf32 = asked


# Bytes of a thread's stack that are known: these have 255 registers as others, but ptxas needs more for them.
KNOWN_SPILLS = {'sm_75': 512, 'sm_80': 128}
# Likewise of single kernels, more than the target's: what lives across loops (in them sm_90 has one access, at d 1536
# in float32), most of it at ranks that no published model of 16 states has, and on sm_80.
KNOWN_OF_KERNELS = {
    ('straight_gradients', 'sm_90'): 8,
    ('state_gradients', 'sm_90'): 160,
    ('state_gradients', 'sm_80'): 432,
}


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


# Numbers of channels, ranks and states, steps of a chunk: no product of two of them comes near 2^31. A map's sides,
# whose product is the number of its tokens: tables are int32. Directions: bits.
SMALL = {'%d', '%R', '%T', '%dim', '%state_x', '%state_z', '%H', '%W', '%codes'}
SMALL |= {'%blocks', '%blocks_d', '%first_d', '%parts', '%start', '%first', '%directions'}  # of a launch, see `Part`


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


def compile_all(record: Callable[..., list[Launch]], target: str) -> tuple[int, list[str], list[str]]:
    """Compile what `record()` launches: how many binaries; in words, which of them spill, and their narrow products."""
    launches = distinct(record(target=target))
    bad, narrow = [], []
    for launch in launches:
        text, compiled = ttir(launch.source(), target, **launch.options)
        narrow += [f'{launch.kernel.__name__}: {words}' for words in narrow_products(text)]
        spilled = spills(compiled['cubin']) if 'cubin' in compiled else {}
        if sum(spilled.values()) > max(
            KNOWN_SPILLS.get(target, 0), KNOWN_OF_KERNELS.get((launch.kernel.__name__, target), 0)
        ):
            constants = {k: v for k, v in launch.arguments.items() if isinstance(v, (int, bool, str)) and k.isupper()}
            bad.append(f'{spilled} with {constants} {launch.options}')
    return len(launches), bad, narrow
