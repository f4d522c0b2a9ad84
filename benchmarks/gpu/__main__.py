"""Everything that needs a GPU, in eight minutes of one: check, time, compare, tune; the most valuable figures first.

    python -m benchmarks.gpu                                    on a bare GPU: torch and triton are enough
    python -m benchmarks.gpu --cache FOLDER                     the same with kernels compiled beforehand, by
    python -m benchmarks.gpu --compile-only --target cuda:90 --cache FOLDER
    python -m benchmarks.gpu --table work_dirs/gpu/results.json --into kernels/BENCHMARKS.md
    python -m benchmarks.gpu --dry-run                          all of it in miniature on a CPU; nothing is timed

Results are kept after every row in results.json. Nothing wrong is timed; a row that fails, or takes its process with
it, costs itself. Other packages (timm, mamba_ssm, mlstm_kernels, fla, mmdet) are measured where they import.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

from . import table
from .supervisor import supervise


def main(arguments: list[str] | None = None) -> int:
    args = parse(arguments)
    if args.table:
        return table.main(args.table, args.into)
    if args.cache:
        os.environ['TRITON_CACHE_DIR'] = str(args.cache.resolve())
    if args.compile_only:
        return compile_only(args.target, args.cache)
    if args.end:
        return measure(args)
    return session(args)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        'python -m benchmarks.gpu', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--out', type=Path, default=Path('work_dirs/gpu'), help='folder of the results')
    parser.add_argument('--minutes', type=float, default=8.0)
    parser.add_argument('--cache', type=Path, help='folder of compiled kernels')
    parser.add_argument('--compile-only', action='store_true', help='fill --cache for --target; needs no GPU')
    parser.add_argument('--target', default='cuda:90', help='cuda:90, hip:gfx942, ...')
    parser.add_argument('--dry-run', action='store_true')
    parser.add_argument('--table', type=Path, metavar='JSON', help='print the tables of a session')
    parser.add_argument('--into', type=Path, metavar='FILE', help='write them between the markers of a file')
    parser.add_argument('--end', type=float, help=argparse.SUPPRESS)  # of a process that measures
    args = parser.parse_args(arguments)
    if args.compile_only and not args.cache:
        parser.error('--compile-only needs --cache FOLDER')
    return args


def session(args: argparse.Namespace) -> int:
    """Processes that measure, and their results as tables."""
    file, end = args.out / 'results.json', time.time() + 60 * args.minutes
    if file.exists():
        file.replace(args.out / 'results.before.json')
    command = [sys.executable, '-m', 'benchmarks.gpu', *sys.argv[1:], '--end', str(end)]
    status = supervise(command, file, end)
    if file.exists():
        results = json.loads(file.read_text())
        (args.out / 'models.csv').write_text(table.as_csv(results))
        print('\n'.join(table.not_measured(results)))
    return status


def measure(args: argparse.Namespace) -> int:
    os.environ['MMVSSM_SELF_CHECK'] = 'off'  # it would compile kernels of its own, and all are checked here
    if args.dry_run:
        os.environ['TRITON_INTERPRET'] = '1'
    import torch

    from .clock import Clock
    from .plan import FULL, TINY
    from .sections import measure
    from .session import Session

    if not (args.dry_run or torch.cuda.is_available()):
        raise SystemExit('benchmarks.gpu: no GPU that torch can use is here; nothing was measured')
    plan, clock = (TINY, Clock('cpu', dry=True)) if args.dry_run else (FULL, Clock())
    measure(Session(args.out / 'results.json', args.end, plan, clock), args.cache)
    return 0


def compile_only(target: str, cache: Path) -> int:
    os.environ['TRITON_STORE_BINARY_ONLY'] = '1'  # a tenth of the size
    from . import precompile
    from .plan import FULL
    from .sections import binaries, tile_binaries

    chosen = precompile.parse_target(target)
    cache.mkdir(parents=True, exist_ok=True)
    precompile.relocate(cache)
    found = precompile.compile_all([*binaries(FULL), *tile_binaries(FULL)], chosen, precompile.workers())
    precompile.pack(cache, chosen)
    print(json.dumps({**found, 'made_by': precompile.stamp(chosen)}, indent=1))
    return 1 if found['failed'] else 0


if __name__ == '__main__':
    raise SystemExit(main())
