"""Is one source tree as fast as another? Both run by turns, so that what else the machine does meets both.

    python -m benchmarks.compare TREE_A TREE_B [--rounds 7] [--threads 1] [--cases scan,model]

Prints the median over the rounds of time A / time B for each case: above 1, B is faster.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import torch

MODELS = ('vmamba_tiny_s1l8', 'localvmamba_tiny', 'efficientvmamba_tiny', 'vil2_tiny', 'vim_tiny', 'heracles_small')


def cases() -> Iterator[tuple[str, Callable[[], object]]]:
    """Name and call of each, made of public functions alone: the trees may be far apart."""
    from mmvssm import create_model, scans
    from mmvssm.kernels import mlstm, selective_scan, spectral_filter

    torch.manual_seed(0)
    for states in (1, 16):
        K, d, L = 4, 192, 28 * 28
        x, low = torch.randn(2, L, d), torch.randn(2, L, K, 6 + 2 * states)
        dt, B, C = low.split([6, states, states], dim=-1)
        A, D, bias, weight = -torch.rand(K, d, states), torch.ones(K, d), torch.randn(K, d) - 4, torch.randn(K, d, 6)
        given = [z.detach().requires_grad_() for z in (x, dt, A, B, C, D, bias)]
        options = dict(dt_weight=weight, orders=scans.orders(scans.CROSS_SCAN, 28, 28))
        yield f'scan N={states}', lambda g=given, o=options: selective_scan(*g, **o).sum().backward()
    q = [torch.randn(2, 196, 4, 96, requires_grad=True) for _ in range(3)] + [torch.randn(2, 196, 4) for _ in range(2)]
    yield 'mlstm', lambda: mlstm(*q).sum().backward()
    image, gains = torch.randn(4, 56, 56, 32, requires_grad=True), torch.randn(32, 56, 56)
    yield 'spectral', lambda: spectral_filter(image, gains).sum().backward()
    for name in MODELS:
        model, picture = create_model(name, features_only=True).eval(), torch.randn(1, 3, 160, 160)
        yield f'model {name} forward', lambda m=model, p=picture: _without_gradients(m, p)
        yield f'model {name} step', lambda m=model, p=picture: sum(y.mean() for y in m(p)).backward()


def _without_gradients(model: torch.nn.Module, image: torch.Tensor) -> None:
    with torch.no_grad():
        model(image)


def work(threads: int, wanted: tuple[str, ...]) -> None:
    """A worker: times the case that each line of its input names, after once warming up."""
    torch.set_num_threads(threads)
    calls = {name: call for name, call in cases() if name.startswith(wanted)}
    for call in calls.values():
        call()
    print(json.dumps(list(calls)), flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        calls[line.strip()]()
        print(time.perf_counter() - start, flush=True)


def start(tree: str, args: argparse.Namespace) -> subprocess.Popen:
    command = [
        sys.executable,
        os.path.abspath(__file__),
        '--work',
        '--threads',
        str(args.threads),
        '--cases',
        args.cases,
    ]
    environment = os.environ | {'PYTHONPATH': os.path.abspath(tree), 'OMP_NUM_THREADS': str(args.threads)}
    return subprocess.Popen(
        command, cwd=tree, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def ask(worker: subprocess.Popen, name: str) -> float:
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(name + '\n')
    worker.stdin.flush()
    return float(worker.stdout.readline())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('trees', nargs='*', metavar='TREE')
    parser.add_argument('--rounds', type=int, default=7)
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--cases', default='', help='beginnings of names, comma-separated; all by default')
    parser.add_argument('--work', action='store_true', help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        return work(args.threads, tuple(args.cases.split(',')))
    if len(args.trees) != 2:
        parser.error('give two source trees')
    workers = [start(tree, args) for tree in args.trees]
    names = [json.loads(worker.stdout.readline()) for worker in workers][1]
    ratios = {name: [] for name in names}
    for _ in range(args.rounds):
        for name, found in ratios.items():
            first, second = (ask(worker, name) for worker in workers)
            found.append(first / second)
    for name, found in ratios.items():
        print(f'{name:36} {statistics.median(found):6.3f}  ({min(found):.3f} to {max(found):.3f})')
    print(f'smallest median: {min(map(statistics.median, ratios.values())):.3f}')
    for worker in workers:
        worker.stdin.close()


if __name__ == '__main__':
    main()
