"""Everything that needs a GPU, in one call of under nine minutes: check, tune, time, compare, measure whole models.

    python -m benchmarks.gpu [--out FOLDER] [--minutes 8.5]

Checks every Triton kernel against the float64 definition and times nothing that is wrong. Times are of the GPU alone
(CUDA graphs), so that Python's launch costs do not hide the kernels. Peers (mamba_ssm, mlstm_kernels, fla) are timed
where they import. `results.json` holds all figures.
"""

import argparse
import json
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from benchmarks import peers
from benchmarks.cases import LOCALVMAMBA, STAGES, VMAMBA, mlstm_inputs, scan_inputs
from benchmarks.measure import event_ms, graph_ms
from mmvssm import create_model, scans
from mmvssm.kernels import mlstm, register, selective_scan, use_backend
from mmvssm.testing import LIMITS, relative_rms


class Session:
    """Prints and keeps figures; knows how much time is left."""

    def __init__(self, minutes: float, out: Path):
        self.end, self.out, self.results = time.monotonic() + 60 * minutes, out, {}

    def report(self, section: str, name: str, **figures) -> None:
        self.results.setdefault(section, {})[name] = figures
        text = '  '.join(f'{k} {v:.4g}' if isinstance(v, float) else f'{k} {v}' for k, v in figures.items())
        print(f'[{section}] {name}: {text}', flush=True)
        self.out.mkdir(parents=True, exist_ok=True)
        (self.out / 'results.json').write_text(json.dumps(self.results, indent=1, default=str))

    @contextmanager
    def section(self, name: str, needs: float = 20):
        """Run a section if `needs` seconds are left; what fails is reported and does not stop the others."""
        left = self.end - time.monotonic()
        if left < needs:
            self.report('skipped', name, seconds_left=left)
            yield False
            return
        try:
            yield True
        except Exception as error:  # a failed section must not cost the figures of the others
            self.report('failed', name, error=f'{type(error).__name__}: {error}'[:500])
        self.report('seconds', name, used=left - (self.end - time.monotonic()))
        torch.cuda.empty_cache()


def run_scan(scan, tensors, orders, **options) -> Tensor:
    *arguments, weight = tensors
    return scan(*arguments, dt_weight=weight, orders=orders, **options)


def scan_errors(H, W, d, N, orders, dtype, bias=-4.0) -> tuple[float, float]:
    """Worst RMS-relative error of the output and of the gradients against the float64 definition."""
    tensors, table = scan_inputs(2, H, W, d, N, orders, dtype, grad=True, bias=bias)
    exact = [t.detach().double().requires_grad_() for t in tensors]
    want = run_scan(selective_scan, exact, table, backend='reference')
    dy = torch.randn_like(want).to(dtype)
    wanted = torch.autograd.grad(want, exact, dy.double())
    y = run_scan(selective_scan, tensors, table, backend='triton')
    got = torch.autograd.grad(y, tensors, dy)
    return relative_rms(y, want.detach()), max(relative_rms(g, w) for g, w in zip(got, wanted))


def check_scan(session: Session) -> bool:
    cases = [
        (7, 7, 40, 1, scans.CROSS_SCAN), (25, 40, 96, 1, scans.CROSS_SCAN), (1, 63, 33, 1, ('h', 'h_flip')),
        (1, 64, 32, 16, ('h',)), (1, 65, 32, 5, ('v',)), (1, 1, 96, 1, scans.CROSS_SCAN), (2, 1, 20, 2, ('h', 'v')),
        (13, 17, 96, 16, ('w2', 'w7_flip', 'h', 'v_flip')), (25, 40, 64, 16, scans.ATROUS_SCAN),
        (9, 11, 24, 40, ('w7', 'v')),
    ]  # fmt: skip
    right = True
    for H, W, d, N, orders in cases:
        for dtype, (forward, gradient) in LIMITS.items():
            for bias in (-4.0, 20.0, -20.0) if (H, dtype) == (7, torch.float32) else (-4.0,):
                y, g = scan_errors(H, W, d, N, orders, dtype, bias)
                good = y <= forward and g <= gradient
                right &= good
                name = f'{H}x{W} d{d} N{N} {",".join(orders)} {dtype} bias {bias}'
                session.report('check', name, forward=y, gradient=g, verdict='ok' if good else 'WRONG')
    return right


def check_bitwise(session: Session) -> None:
    tensors, table = scan_inputs(2, 50, 80, 384, 1, scans.CROSS_SCAN, torch.bfloat16, grad=True)
    forward = partial(run_scan, selective_scan, tensors, table, out_dtype=torch.float32)
    first = forward()
    session.report('check', '20 forwards bitwise', equal=all(torch.equal(first, forward()) for _ in range(19)))
    torch.use_deterministic_algorithms(True)
    try:
        runs = [torch.autograd.grad(forward().sum(), tensors) for _ in range(3)]
    finally:
        torch.use_deterministic_algorithms(False)
    equal = all(torch.equal(a, b) for run in runs[1:] for a, b in zip(run, runs[0]))
    session.report('check', 'deterministic backwards bitwise', equal=equal)


def cores(model: dict) -> list[tuple]:
    """(H, W, width, number of scans) of each stage."""
    return [(H, W, d, n) for (H, W, _), d, n in zip(STAGES, model['widths'], model['depths'])]


def _mamba_ssm():
    """`selective_scan` on the peer's kernel; None where it is not installed."""
    peer = peers.mamba_ssm_scan()

    def scan(*tensors, **options) -> Tensor:
        with register('selective_scan', 'mamba_ssm', peer):
            return selective_scan(*tensors, **options, backend='mamba_ssm')

    return scan if peer else None


def core_ms(scan, model: dict, dtype, backward: bool) -> float:
    """GPU milliseconds of all scan cores of `model` at 2 x 3 x 800 x 1280."""
    total = 0.0
    for H, W, d, depth in cores(model):
        tensors, table = scan_inputs(2, H, W, d, model['N'], model['orders'], dtype, rank=d // 16 or 1, grad=backward)
        dy = torch.randn(2, H * W, d, device='cuda')

        def call(tensors=tensors, table=table, dy=dy):
            y = run_scan(scan, tensors, table, out_dtype=torch.float32)
            if backward:
                torch.autograd.grad(y, tensors, dy)

        total += depth * graph_ms(call)
    return total


def tune(session: Session) -> None:
    """Time every tile in the lists with the others at their first entry; keep the fastest."""
    from mmvssm.kernels.selective_scan import triton_launch

    for (kernel, states), tiles in triton_launch.TILES.items():
        if kernel.endswith('float32'):
            continue  # bfloat16 is timed
        straight = kernel.startswith('straight')
        model = VMAMBA if straight or (kernel == 'carry' and states == 1) else LOCALVMAMBA
        if not straight and states != model['N']:
            continue  # tiles that neither model runs
        times = []
        for tile in list(tiles):
            triton_launch.TILES[kernel, states] = [tile]
            times.append((core_ms(selective_scan, model, torch.bfloat16, 'gradient' in kernel), tile))
            session.report('tune', f'{kernel} N{model["N"]} {tuple(tile)}', ms=times[-1][0])
        triton_launch.TILES[kernel, states] = [min(times)[1]]
        session.report('tune', f'{kernel} N{model["N"]}', best=str(tuple(min(times)[1])))


def time_scans(session: Session) -> None:
    steps = sum(2 * 4 * d * H * W * n for H, W, d, n in cores(VMAMBA))
    contenders = {'mmvssm': selective_scan, 'mamba_ssm': _mamba_ssm()}
    for name, model in {'VMamba-T': VMAMBA, 'LocalVMamba-T': LOCALVMAMBA}.items():
        for dtype in (torch.bfloat16, torch.float32):
            ours = {}
            for who, scan in contenders.items():
                if scan is None:
                    session.report('scan cores', who, note='not installed')
                    continue
                torch.cuda.reset_peak_memory_stats()
                held = torch.cuda.memory_allocated()
                forward, both = (core_ms(scan, model, dtype, backward) for backward in (False, True))
                peak = (torch.cuda.max_memory_allocated() - held) / 2**20
                ours.setdefault('forward', forward)
                ours.setdefault('both', both)
                session.report(
                    'scan cores', f'{name} {dtype} {who}', forward_ms=forward, both_ms=both, peak_mib=peak,
                    forward_ratio=forward / ours['forward'], both_ratio=both / ours['both'],
                )  # fmt: skip
    session.report('scan cores', 'goal VMamba-T bf16', element_steps=steps, forward_ms=0.60, both_ms=2.0)


def time_mlstm(session: Session) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        tensors = mlstm_inputs(dtype)
        exact = mlstm(*(t.double() for t in tensors), backend='blocked')
        contenders = {'mmvssm': mlstm, **peers.of_mlstm()}
        error = relative_rms(mlstm(*tensors), exact)
        if not error <= LIMITS[dtype][0] * 10:
            session.report('mlstm', str(dtype), verdict='WRONG, not timed', error=error)
            continue
        for who, call in contenders.items():
            leaves = [t.detach().requires_grad_() for t in tensors]

            def both(call=call, leaves=leaves):
                y = call(*leaves)
                torch.autograd.grad(y, leaves[:3], torch.ones_like(y))

            forward = event_ms(lambda call=call, leaves=leaves: call(*leaves))
            session.report('mlstm', f'{dtype} {who}', forward_ms=forward, both_ms=event_ms(both), error=error)


def time_model(session: Session, name: str, who: str, dtype) -> None:
    """Features at 2 x 3 x 800 x 1280: forward, training step, peak memory."""
    torch.manual_seed(0)
    net = create_model(name, features_only=True).cuda()
    image = torch.randn(2, 3, 800, 1280, device='cuda')
    half = torch.autocast('cuda', dtype=torch.bfloat16, enabled=dtype == torch.bfloat16)

    def forward():
        with half, torch.no_grad():
            net(image)

    def step():
        net.zero_grad(set_to_none=True)
        with half:
            loss = sum(f.float().square().mean() for f in net(image))
        loss.backward()

    times = {}
    for what, call in (('forward', forward), ('step', step)):
        net.train(what == 'step')
        torch.cuda.reset_peak_memory_stats()
        times[f'{what}_ms'] = event_ms(call)
        times[f'{what}_peak_mib'] = torch.cuda.max_memory_allocated() / 2**20
    session.report('models', f'{name} {dtype} {who}', **times)


def time_models(session: Session) -> None:
    peer = peers.mamba_ssm_scan()
    for name in ('vmamba_tiny_s1l8', 'localvmamba_tiny'):
        for dtype in (torch.bfloat16, torch.float32):
            with session.section(f'{name} {dtype} mmvssm', 25) as go:
                if go:
                    time_model(session, name, 'mmvssm', dtype)
            with session.section(f'{name} {dtype} mamba_ssm', 25) as go:
                if go and peer:
                    with register('selective_scan', 'mamba_ssm', peer), use_backend('mamba_ssm'):
                        time_model(session, name, 'mamba_ssm', dtype)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', type=Path, default=Path('work_dirs/benchmarks'))
    parser.add_argument('--minutes', type=float, default=8.5)
    args = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit('benchmarks.gpu: no GPU that torch can use is here; nothing was measured')
    session = Session(args.minutes, args.out)
    device = torch.cuda.get_device_properties(0)
    session.report('machine', device.name, memory_gib=device.total_memory / 2**30, torch=torch.__version__)
    right = False
    with session.section('check', 0):
        right = check_scan(session)
        check_bitwise(session)
    if right:
        for name, work, needs in (('tune', tune, 60), ('scan cores', time_scans, 30)):
            with session.section(name, needs) as go:
                if go:
                    work(session)
        time_models(session)
    with session.section('mlstm') as go:
        if go:
            time_mlstm(session)
    print('all kernels right' if right else 'WRONG RESULTS: the scan was not timed')


if __name__ == '__main__':
    main()
