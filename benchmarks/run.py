"""Time the scan kernels of every backend side by side; a result that is not right is not timed.

    python -m benchmarks.run [--shapes core,vmamba_t_512] [--device cuda] [--threads 2] [--json F] [--plot F.png]

`loop` is the scan as the published references write it: one step at a time over (batch, channels, length, states)
tensors, after copying the map along each order, but with a backward pass linear in the length; mLSTM's is its
recurrence. Peers (mamba_ssm, mlstm_kernels, fla) are timed where they import, on a GPU.
"""

import argparse
import json
import platform
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import torch

from benchmarks import peers
from benchmarks.cases import LOOP_LIMIT, MODELS, NAMES, SHAPES, VIL, inputs
from benchmarks.measure import timed
from mmvssm import create_model
from mmvssm.kernels import mlstm, register, selective_scan, use_backend
from mmvssm.profiling.memory import peak_mib
from mmvssm.testing import LIMITS, relative_rms


def wrong(run, tensors, orders, dtype) -> str:
    """What misses the limits on the first channels, which do not depend on the others."""
    few = min(4, tensors[0].shape[-1])
    leaves = [None if z is None else z.detach().clone().requires_grad_() for z in tensors]
    y = run(*leaves, orders)
    dy = torch.randn_like(y)
    grads = dict(zip([n for n, z in zip(NAMES, leaves) if z is not None],
                     torch.autograd.grad(y, [z for z in leaves if z is not None], dy)))  # fmt: skip
    x, dt, A, B, C, D, bias, weight = (None if z is None else z.detach().double() for z in tensors)
    part = [x[..., :few], dt if weight is not None else dt[..., :few], A[:, :few], B, C, D[:, :few], bias[:, :few]]
    part = [z.requires_grad_() for z in part] + [None if weight is None else weight[:, :few].requires_grad_()]
    exact = selective_scan(*part[:7], dt_weight=part[7], orders=orders, backend='blocked')
    names = [n for n in ('x', 'A', 'D', 'dt_bias', 'dt_weight') if grads.get(n) is not None]
    wanted = torch.autograd.grad(exact, [part[NAMES.index(n)] for n in names], dy[..., :few].double())
    cut = {n: grads[n][..., :few] if n == 'x' else grads[n][:, :few] for n in names}
    forward, gradient = LIMITS[dtype]

    errors = {'y': (relative_rms(y[..., :few], exact), forward)}
    errors |= {n: (relative_rms(cut[n], w), gradient) for n, w in zip(names, wanted)}
    return ', '.join(f'{n} {e:.1e}' for n, (e, bound) in errors.items() if not e <= bound)


def floor_bytes(shape, size) -> int:
    """Bytes that a forward must move: x and y once, the low-rank dt, B and C once."""
    b, H, W, d, N, rank, names = shape
    return b * H * W * size * (2 * d + len(names) * ((rank or d) + 2 * N))


def measure(name, call, tensors, device) -> dict:
    """Forward, forward + backward and their peak memory."""
    leaves = [None if z is None else z.detach().clone().requires_grad_() for z in tensors]

    def forward():
        with torch.no_grad():
            call(*tensors)

    def both():
        y = call(*leaves)
        torch.autograd.grad(y, [z for z in leaves if z is not None], torch.ones_like(y), allow_unused=True)

    figures = {'forward_ms': timed(forward, device), 'both_ms': timed(both, device)}
    return {'backend': name, **figures, 'forward_mib': peak_mib(forward, device), 'both_mib': peak_mib(both, device)}


def compare(rows, floor) -> list[dict]:
    """Add to each row the rate at which `floor` bytes would move, and how many times as fast as `loop` it is."""
    right = [row for row in rows if 'wrong' not in row]
    slow = next((row for row in right if row['backend'] == 'loop'), None)
    for row in right:
        row['floor_gb_s'] = floor / row['forward_ms'] / 1e6
        if slow:
            row['times_loop'] = [slow[k] / row[k] for k in ('forward_ms', 'both_ms')]
    return rows


def through(scan, **options):
    return lambda *z: scan(*z[:7], dt_weight=z[7], orders=z[8], **options)


def scan_rows(shape, args) -> list[dict]:
    dtype = getattr(torch, args.dtype)
    tensors, orders = inputs(shape, args.device, dtype)
    b, H, W, d, N, _, names = shape
    backends = ['triton' if args.device == 'cuda' else 'numba', 'blocked']
    with ExitStack() as added:
        for who, peer in peers.installed(peers.SCANS).items() if args.device == 'cuda' else ():
            added.enter_context(register('selective_scan', who, peer))
            backends.append(who)
        if dtype == torch.float32 and b * H * W * d * N * len(names) <= LOOP_LIMIT and not args.no_loop:
            added.enter_context(register('selective_scan', 'loop', peers.loop))
            backends.append('loop')
        rows = []
        for name in backends:
            run = through(selective_scan, backend=name)
            if failed := wrong(run, tensors, orders, dtype):
                rows.append({'backend': name, 'wrong': failed})
            else:
                rows.append(measure(name, lambda *z, run=run: run(*z, orders), tensors, args.device))
    return compare(rows, floor_bytes(shape, tensors[0].element_size()))


def mlstm_rows(shape, args) -> list[dict]:
    """mLSTM beside its recurrence (`loop`) and the peers that import; fla's nearest operator is another function."""
    dtype = getattr(torch, args.dtype)
    torch.manual_seed(0)
    q, k, v = (torch.randn(*shape, dtype=dtype, device=args.device) for _ in range(3))
    tensors = [q, k, v, *(torch.randn(*shape[:3], dtype=dtype, device=args.device) + shift for shift in (0, 3))]
    runs = {'blocked': partial(mlstm, backend='blocked')}
    if args.device == 'cuda':
        runs = {'triton': partial(mlstm, backend='triton'), **runs, **peers.installed(peers.MLSTMS)}
    if not args.no_loop:
        runs['loop'] = partial(mlstm, backend='reference')
    exact = mlstm(*(z[:, :512].double() for z in tensors), backend='reference')
    bound, rows = max(1e-5, LIMITS[dtype][0]), []
    for name, run in runs.items():
        error = relative_rms(run(*tensors)[:, :512], exact)
        if name.startswith('fla') or error <= bound:
            rows.append(measure(name, run, tensors, args.device))
        else:
            rows.append({'backend': name, 'wrong': f'y {error:.1e}'})
    return compare(rows, sum(z.nbytes for z in (*tensors, v)))


def model_rows(shape, args) -> list[dict]:
    """A backbone's features of one square image, forward: on this project's scan, and on the published loop."""
    name, size = shape
    torch.manual_seed(0)
    net = create_model(name, features_only=True).eval().to(args.device)
    image = torch.randn(1, 3, size, size, device=args.device)
    rows = []
    with use_backend('blocked'), torch.no_grad():
        exact = net(image)

    def forward():
        with torch.no_grad():
            return net(image)

    for who in ('auto',) if args.no_loop else ('auto', 'loop'):
        with register('selective_scan', 'loop', peers.loop), use_backend(who):
            error = max(relative_rms(a, b) for a, b in zip(forward(), exact))
            if not error <= 1e-4:
                rows.append({'backend': who, 'wrong': f'features differ by {error:.1e}'})
                continue
            row = {'backend': who, 'forward_mib': peak_mib(forward, args.device)}
            row['forward_ms'] = timed(forward, args.device, *((10.0, 3) if who == 'auto' else (0.0, 1)))
            rows.append(row)
    if len(rows) == 2 and not any('wrong' in row for row in rows):
        rows[0]['times_loop'] = [rows[1]['forward_ms'] / rows[0]['forward_ms']]
        rows[0]['memory_of_loop'] = rows[0]['forward_mib'] / rows[1]['forward_mib']
    return rows


def show(name, rows) -> None:
    for row in rows:
        if 'wrong' in row:
            print(f'{name:28} {row["backend"]:10} WRONG, not timed: {row["wrong"]}', flush=True)
            continue
        text = f'{name:28} {row["backend"]:10} forward {row["forward_ms"]:9.2f} ms {row["forward_mib"]:7.0f} MiB'
        if 'both_ms' in row:
            text += f'   both {row["both_ms"]:9.2f} ms {row["both_mib"]:7.0f} MiB'
        if 'floor_gb_s' in row:
            text += f'   floor at {row["floor_gb_s"]:6.2f} GB/s'
        if 'times_loop' in row:
            text += '   ' + ' / '.join(f'{ratio:.1f}x' for ratio in row['times_loop']) + ' the loop'
        if 'memory_of_loop' in row:
            text += f', {row["memory_of_loop"]:.2f} of its memory'
        print(text, flush=True)


def plot(results, path) -> None:
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    backends = sorted({row['backend'] for rows in results.values() for row in rows if 'wrong' not in row})
    figure, axes = pyplot.subplots(1, 2, figsize=(12, 0.4 * len(results) + 2), sharey=True)
    for axis, key in zip(axes, ('forward_ms', 'both_ms')):
        for i, backend in enumerate(backends):
            found = [(j, row[key]) for j, rows in enumerate(results.values()) for row in rows
                     if row['backend'] == backend and key in row]  # fmt: skip
            axis.barh(
                [j + 0.8 * i / len(backends) for j, _ in found],
                [t for _, t in found],
                0.8 / len(backends),
                label=backend,
            )
        axis.set(xscale='log', xlabel='forward, ms' if key == 'forward_ms' else 'forward + backward, ms')
    axes[0].set_yticks(range(len(results)), list(results))
    axes[1].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--shapes', default='core,cross', help='prefixes of names, comma-separated; "all" for all')
    parser.add_argument('--device', default='cpu', choices=('cpu', 'cuda'))
    parser.add_argument('--dtype', default='float32', choices=('float32', 'float16', 'bfloat16'))
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--no-loop', action='store_true', help='leave the sequential loop out')
    parser.add_argument('--json', type=Path)
    parser.add_argument('--plot', type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    every = SHAPES | VIL | MODELS
    chosen = [n for n in every if args.shapes == 'all' or n.startswith(tuple(args.shapes.split(',')))]
    if not chosen:
        parser.error(f'--shapes {args.shapes}: none begins so; there are {", ".join(every)}')
    results = {}
    for name in chosen:
        rows = mlstm_rows if name in VIL else model_rows if name in MODELS else scan_rows
        results[name] = rows(every[name], args)
        show(name, results[name])
    if args.json:
        machine = {'machine': platform.processor() or platform.machine(), 'torch': torch.__version__}
        args.json.write_text(json.dumps(machine | {'threads': args.threads, 'results': results}, indent=1))
    if args.plot:
        plot(results, args.plot)


if __name__ == '__main__':
    main()
