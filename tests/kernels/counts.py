"""Counts of the Triton kernels' machine instructions at every published width: `python -m tests.kernels.counts`.

No GPU is needed. The scan's counts are static: instructions of a loop over the elements (channel of a chunk) that a
thread holds, so that the sum over kernels is what an element-step issues. An element that several threads hold counts
as often.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from benchmarks import sass

from . import aot
from .mlstm import launches as mlstm
from .selective_scan import launches as scan

VMAMBA = {
    'VMamba-T, S': ((96, 6), (192, 12), (384, 24), (768, 48)),
    'VMamba-B': ((128, 8), (256, 16), (512, 32), (1024, 64)),
}
LOCALVMAMBA = ((192, 6), (384, 12), (768, 24), (1536, 48))
SIZES = ((200, 320), (100, 160), (50, 80), (25, 40))  # of the stages' maps, at 800 x 1280
DTYPES = {'bf16': torch.bfloat16, 'fp32': torch.float32}


@dataclass
class Count:
    """One binary: instructions of an element-step inside loops and outside; registers; bytes of stack and shared."""

    kernel: str
    inside: float
    outside: float
    registers: int
    stack: int
    shared: int

    @property
    def is_forward(self) -> bool:
        return 'gradient' not in self.kernel and 'reverse' not in self.kernel


def count(launch: aot.Launch, target: str = 'sm_90', chunk: int = 16) -> Count:
    """Compile a launch of the selective scan, whose chunks have so many steps, and count."""
    binary, shared = _compiled(launch, target)
    given, threads = launch.arguments, 32 * launch.options['num_warps']
    elements, steps = sass.elements_of(given, threads, chunk)
    inside = sass.of_an_element_step(binary, launch.kernel.__name__, given, threads, chunk)
    outside = binary.outside / (elements * steps)
    return Count(launch.role, inside, outside, binary.registers, binary.stack, shared)


def _compiled(launch: aot.Launch, target: str) -> tuple[sass.Binary, int]:
    compiled = launch.compile(target)
    return sass.read(compiled.asm['cubin']), compiled.metadata.shared


def scans(dtype: str) -> Iterator[tuple[str, dict]]:
    """Name and arguments of each published scan."""
    common = dict(dtype=DTYPES[dtype], merge=True, shared=True, deterministic=False)
    for family, widths in VMAMBA.items():
        for size, (d, R) in zip(SIZES, widths):
            yield f'{family}: d {d}, R {R}, {dtype}', dict(common, N=1, d=d, R=R, size=size)
    for size, (d, R) in zip(SIZES, LOCALVMAMBA):
        yield f'LocalVMamba: d {d}, R {R}, N 16, {dtype}', dict(common, N=16, d=d, R=R, merge=False, size=size)


def scan_counts(arguments: dict, target: str = 'sm_90') -> list[Count]:
    """Of each distinct binary of one scan, forward and backward."""
    launches = scan.record(**arguments, target=target)
    chunk = next((each.arguments['T'] for each in launches if 'T' in each.arguments), 16)  # no T: along rows, columns
    return [count(each, target, chunk) for each in aot.distinct(launches)]


def scan_row(name: str, counts: list[Count]) -> str:
    """One line of the table."""
    cells = [name]
    for group in ([c for c in counts if c.is_forward], [c for c in counts if not c.is_forward]):
        cells.append(' + '.join(f'{c.inside:.1f}' for c in group) + f' = **{sum(c.inside for c in group):.1f}**')
        cells.append(f'{sum(c.outside for c in group):.1f}')
    cells.append(', '.join(str(c.registers) for c in counts))
    cells.append(str(max(c.stack for c in counts)))
    cells.append(f'{max(c.shared for c in counts) / 1024:.0f}')
    return '| ' + ' | '.join(cells) + ' |'


def mlstm_row(launch: aot.Launch, name: str) -> str:
    binary, shared = _compiled(launch, 'sm_90')
    kind = launch.arguments.get('KIND', '')
    loops = ', '.join(f'{len(loop)} ({loop.count("HMMA") + loop.count("HGMMA")})' for loop in binary.loops)
    cells = [name, f'{launch.kernel.__name__} {kind}'.strip(), loops, binary.registers, binary.stack]
    return '| ' + ' | '.join(map(str, (*cells, f'{shared / 1024:.0f}'))) + ' |'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--dtype', choices=DTYPES, nargs='+', default=list(DTYPES))
    parser.add_argument('--only', default='', help='rows whose name contains this')
    chosen = parser.parse_args()
    print(
        '| scan | forward: summary + carry + outputs | outside loops | backward: sweep + carry + gradients '
        '| outside loops | registers | stack | shared, KiB |\n|---|---|---|---|---|---|---|---|'
    )
    for dtype in chosen.dtype:
        for name, arguments in scans(dtype):
            if chosen.only in name:
                print(scan_row(name, scan_counts(arguments)), flush=True)
    print('\n| mLSTM | kernel | instructions of each loop (matrix) | registers | stack | shared, KiB |')
    print('|---|---|---|---|---|---|')
    for dtype in chosen.dtype:
        for dim in (96, 192, 384):
            name = f'ViL, head of {dim}, {dtype}'
            if chosen.only in name:
                for launch in aot.distinct(mlstm.record(dtype=DTYPES[dtype], dim=dim)):
                    print(mlstm_row(launch, name), flush=True)


if __name__ == '__main__':
    main()
