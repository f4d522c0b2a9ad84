"""Counts the machine instructions of a CUDA binary: those of its loops, registers, spills, shared memory.

Counts are static. Loops are the ranges that a branch closes backwards; a kernel's hot code is in the innermost ones.
"""

import re
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import triton

# Steps that one turn of each loop of a kernel takes, where that is not one.
STEPS_OF_LOOPS = {'state_gradients': (8, 4, 4, 8)}
TOOLS = Path(triton.__file__).parent / 'backends/nvidia/bin'
_INSTRUCTION = re.compile(r'\s+/\*[0-9a-f]+\*/\s+(?:@!?U?P\d\s+)?([A-Z][\w.]*)\s*(.*?)\s*;')
_BRANCH = re.compile(r'/\*[0-9a-f]+\*/\s+@!?(U?P\d)\s+BRA\S*\s.*`\((\S+?)\)')


@dataclass
class Loop:
    """An innermost loop: its instructions as (name, operands), and how often it runs where that is a constant."""

    instructions: list[tuple[str, str]]
    trips: int | None

    def count(self, name: str) -> int:
        """Instructions whose name begins with `name`."""
        return sum(each.startswith(name) for each, _ in self.instructions)

    def __len__(self) -> int:
        return len(self.instructions)


@dataclass
class Binary:
    """What one kernel was compiled to; `stack` in bytes of a thread: more than none are spills."""

    loops: list[Loop]
    outside: int
    registers: int
    stack: int


def read(cubin: bytes) -> Binary:
    """Disassemble a binary of one kernel."""
    with tempfile.NamedTemporaryFile(suffix='.cubin') as file:
        file.write(cubin)
        file.flush()
        listing = _run('nvdisasm', '-c', file.name)
        usage = _run('cuobjdump', '--dump-resource-usage', file.name)
    (found,) = re.findall(r'Function \w+:\s+REG:(\d+) STACK:(\d+) .*?LOCAL:(\d+)', usage)
    registers, stack, local = map(int, found)
    return Binary(*_loops(listing), registers, stack + local)


def of_an_element_step(binary: Binary, kernel: str, given: Mapping[str, Any], threads: int, chunk: int) -> float:
    """Instructions inside loops of a scan's kernel, for an element-step; outside of them is what `binary` says.

    given: arguments of the launch; chunk: steps of its chunks, of which `carry` has one element for all, a state at a
        time.
    """
    elements, steps = elements_of(given, threads, chunk)
    taken = STEPS_OF_LOOPS.get(kernel, (1,) * len(binary.loops))
    turns = [loop.trips or steps / each for loop, each in zip(binary.loops, taken, strict=True)]
    return sum(len(loop) * n for loop, n in zip(binary.loops, turns)) / (elements * steps)


def elements_of(given: Mapping[str, Any], threads: int, chunk: int) -> tuple[float, int]:
    """Elements (channel of a chunk) that a thread holds, and their steps."""
    if 'BC' in given:  # `carry`
        return given['BC'] * given['BD'] / threads * chunk / given['N'], 1
    return given['BS'] * given['BD'] / threads, chunk


def _run(tool: str, *arguments: str) -> str:
    return subprocess.run([TOOLS / tool, *arguments], capture_output=True, text=True, check=True).stdout


def _loops(listing: str) -> tuple[list[Loop], int]:
    """The innermost loops, and the number of instructions outside them; what follows the last exit is padding."""
    code: list[tuple[str, str]] = []
    labels: dict[str, int] = {}
    closed: list[tuple[int, int, str]] = []
    for line in listing.splitlines():
        if line.startswith('.L_'):
            labels[line.split(':')[0]] = len(code)
        elif found := _INSTRUCTION.match(line):
            code.append((found[1], found[2]))
            branch = _BRANCH.search(line)
            if branch and branch[2] in labels:
                closed.append((labels[branch[2]], len(code), branch[1]))
    innermost = [a for a in closed if not any(b != a and a[0] <= b[0] and b[1] <= a[1] for b in closed)]
    loops = [Loop(code[start:end], _trips(code[start:end], predicate)) for start, end, predicate in innermost]
    last = max((i for i, (name, _) in enumerate(code) if name == 'EXIT'), default=len(code) - 1)
    return loops, last + 1 - sum(map(len, loops))


def _trips(code: list[tuple[str, str]], predicate: str) -> int | None:
    """How often a loop runs: the bound that its counter is compared with, over the counter's step."""
    comparisons = (
        re.match(rf'{predicate}, U?PT, (U?R\d+)(?:\.reuse)?, (0x[0-9a-f]+),', operands)
        for name, operands in reversed(code)
        if 'ISETP' in name and '.EX' not in name and operands.startswith(f'{predicate},')
    )  # .EX is the upper half of a counter of 64 bits
    compared = next(comparisons, None)
    if not compared:
        return None
    counter, bound = compared[1], int(compared[2], 16)
    step = rf'{counter}, (?:U?P\w+, )?{counter}(?:\.reuse)?, (0x[0-9a-f]+)\b'
    steps = [int(found[1], 16) for name, operands in code if 'ADD' in name and (found := re.match(step, operands))]
    return bound // steps[0] if len(steps) == 1 and steps[0] else None
