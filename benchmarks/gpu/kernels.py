"""Section `kernels`: each Triton kernel alone, and how near to the machine it comes.

Bytes are those that a kernel issues to the L2 cache (the table of `kernels/README.md`), instructions the static ones of
its loops over the elements that a thread holds, multiplications those of the causal half of a chunk's pairs.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import partial

import torch

from mmvssm.kernels.selective_scan.triton_launch import chunk_sizes

from .launches import Launch, launches_of
from .plan import DTYPES, Lstm, Scan, Work, covers
from .session import Rows, Session

CALLS = 10  # of one kernel in a CUDA graph


def rows(session: Session) -> Rows:
    for dtype in session.plan.dtypes:
        for label, works in session.plan.groups.items():
            for work in works:
                yield f'{label}, {work.name}, {dtype}', partial(each_kernel, session, work, dtype)


def each_kernel(session: Session, work: Work, dtype: str) -> dict[str, dict]:
    """Figures of each kernel of a forward and a backward pass, and how often it is launched."""
    session.require(covers(work, dtype))
    found: dict[str, dict] = {}
    for launch in launches_of(work, dtype, session.clock.device):
        if launch.role in found:
            found[launch.role]['launches'] += 1
            continue
        found[launch.role] = {'ms': session.clock.graph_ms(launch.run, calls=CALLS), 'launches': 1}
        found[launch.role] |= rates(work, dtype, launch, found[launch.role]['ms'] / 1e3)
        with suppress(Exception):  # what cannot be disassembled has its time all the same
            found[launch.role] |= compiled(work, launch, found[launch.role]['ms'] / 1e3)
    return found


def rates(work: Work, dtype: str, launch: Launch, seconds: float) -> dict[str, float]:
    """What a launch does in a second."""
    size = DTYPES[dtype].itemsize
    if isinstance(work, Lstm):
        flops, moved = lstm_work(work, launch, size)
        return {'tflop_s': flops / seconds / 1e12, 'gb_s': moved / seconds / 1e9}
    steps = element_steps(work, launch)
    moved = steps * bytes_a_step(work, launch, size)
    return {'element_steps_s': steps / seconds, 'gb_s': moved / seconds / 1e9}


def element_steps(scan: Scan, launch: Launch) -> int:
    """Of the directions of this launch."""
    share = launch.arguments.get('directions', len(scan.orders))
    return scan.element_steps * share // len(scan.orders)


def bytes_a_step(scan: Scan, launch: Launch, size: int) -> float:
    """Bytes of an element-step; activations of `size` bytes, y and dy float32."""
    given, N, R, T = launch.arguments, scan.N, scan.R, chunk_of(scan)
    result = 8 if given.get('ACCUMULATE') else 4
    wide = given['BD']
    table: dict[str, Callable[[], float]] = {
        'sweep, summary': lambda: size + (R + N) * size / wide + 4 * (N + 1) / T,
        'sweep, outputs': lambda: size + (R + 2 * N) * size / wide + 4 * N / T + result,
        'carry': lambda: 4 * 3 * N / T,
        'carry, reverse': lambda: 4 * 3 * N / T,
        'gradient_sweep': lambda: 4 + (R + N) * size / wide + 4 * (N + 1) / T,
        'gradients': lambda: (
            2 * size + 4 + 3 * (R + N) * size / wide + 4 * (R + 2 * N) / wide + 8 * N / T + result + 8 * N
        ),
        'state_gradients': lambda: (
            3 * size + 8 + (2 * R + 3 * N) * size / wide + 4 * (R + 2 * N) / wide + 8 * N / T + result + 2 * N + 36
        ),
    }
    slopes = 2 * size if launch.name == 'straight_gradients' else 0  # written and read once more
    return table[launch.role.removeprefix('straight_')]() + slopes


def lstm_work(lstm: Lstm, launch: Launch, size: int) -> tuple[int, int]:
    """Operations and bytes of one launch: its inputs once, its outputs once."""
    given, heads, dim = launch.arguments, lstm.batch * lstm.heads, lstm.dim
    tokens = heads * lstm.S * dim
    if launch.name == 'carry_states':
        numbers = heads * given['chunks'] * given['size']
        return 2 * numbers, 8 * numbers
    states = heads * -(-lstm.S // given['CHUNK']) * dim * dim
    if launch.name == 'sum_chunks':
        return 2 * tokens * dim, 2 * size * tokens + 4 * states
    return 2 * tokens * (given['CHUNK'] + dim), 5 * size * tokens + 4 * states


def compiled(work: Work, launch: Launch, seconds: float) -> dict:
    """Registers and spills; of a scan, instructions of an element-step, and their share of what the GPU can issue."""
    binary = launch.run()
    found = {'registers': binary.n_regs, 'spilled': binary.n_spills}
    if isinstance(work, Lstm):
        return found
    from benchmarks import sass

    count = instructions(work, launch, sass.read(binary.asm['cubin']))
    gpu = torch.cuda.get_device_properties(0)
    issued = gpu.multi_processor_count * 4 * gpu.warp_size * gpu.clock_rate * 1e3  # four schedulers, at the boost clock
    return {**found, 'instructions': count, 'issue': count * element_steps(work, launch) / seconds / issued}


def instructions(scan: Scan, launch: Launch, binary) -> float:
    """Of an element-step, inside loops."""
    from benchmarks import sass

    threads = 32 * launch.options['num_warps']
    return sass.of_an_element_step(binary, launch.name, launch.arguments, threads, chunk_of(scan))


def chunk_of(scan: Scan) -> int:
    """Steps of a chunk."""
    return chunk_sizes(scan.H * scan.W, scan.N, ())[1]
