"""Everything that needs a GPU, in one call of under nine minutes: check, tune, time, compare, measure whole models.

python tools/gpu_session.py [--out FOLDER] [--minutes 8.5]

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

from mmvssm import create_model, scans
from mmvssm.backbones import _layers
from mmvssm.kernels import mlstm, selective_scan

LIMITS = {torch.float32: (1e-6, 1e-5), torch.float16: (2e-3, 5e-3), torch.bfloat16: (8e-3, 2e-2)}  # forward, gradient
STAGES = [(200, 320, 1), (100, 160, 2), (50, 80, 4), (25, 40, 8)]  # map and width factor at 800 x 1280
VMAMBA = dict(N=1, widths=[96 * f for *_, f in STAGES], depths=[2, 2, 8, 2], orders=scans.CROSS_SCAN)
LOCALVMAMBA = dict(N=16, widths=[192 * f for *_, f in STAGES], depths=[2, 2, 9, 2], orders=('h', 'v_flip', 'w2', 'w7'))
NAMES = ('x', 'dt', 'A', 'B', 'C', 'D', 'dt_bias', 'dt_weight')


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


def scan_inputs(b, H, W, d, N, orders, dtype, rank=None, grad=False, bias=-4.0) -> tuple[list[Tensor], scans.Orders]:
    """Random inputs of one fused scan, laid out as a model's: dt, B and C are parts of one projection."""
    rank, K = rank or -(-d // 16), len(orders)
    generator = torch.Generator('cuda').manual_seed(0)
    draw = partial(torch.randn, generator=generator, device='cuda')
    projected = draw(b, H * W, K, rank + 2 * N).to(dtype)
    x, weight = draw(b, H * W, d).to(dtype), draw(K, d, rank) * rank**-0.5
    A = -torch.arange(1.0, N + 1, device='cuda').expand(K, d, N).contiguous()
    tensors = [x, *projected.split([rank, N, N], dim=-1), draw(K, d), draw(K, d) + bias, weight]
    tensors.insert(2, A)
    return [t.detach().requires_grad_(grad) for t in tensors], scans.orders(orders, H, W, 'cuda')


def run_scan(scan, tensors, orders, **options) -> Tensor:
    *arguments, weight = tensors
    return scan(*arguments, dt_weight=weight, orders=orders, **options)


def graph_ms(call, repeats: int = 10) -> float:
    """Milliseconds of GPU time of one `call`, replayed as a CUDA graph."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(2):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return event_ms(graph.replay, repeats)


def event_ms(call, repeats: int = 5) -> float:
    """Median milliseconds of `call` between CUDA events, after one call that warms up."""
    times = []
    for _ in range(repeats + 1):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return sorted(times[1:])[repeats // 2]


def rms_relative(got: Tensor, want: Tensor) -> float:
    return ((got.double() - want).square().mean() / want.square().mean().clamp(min=1e-300)).sqrt().item()


# ---- correctness


def scan_errors(H, W, d, N, orders, dtype, bias=-4.0) -> tuple[float, float]:
    """Worst RMS-relative error of the output and of the gradients against the float64 definition."""
    tensors, table = scan_inputs(2, H, W, d, N, orders, dtype, grad=True, bias=bias)
    exact = [t.detach().double().requires_grad_() for t in tensors]
    want = run_scan(selective_scan, exact, table, backend='reference')
    dy = torch.randn_like(want).to(dtype)
    wanted = torch.autograd.grad(want, exact, dy.double())
    y = run_scan(selective_scan, tensors, table, backend='triton')
    got = torch.autograd.grad(y, tensors, dy)
    return rms_relative(y, want.detach()), max(rms_relative(g, w) for g, w in zip(got, wanted))


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


# ---- tuning and times of the scan


def cores(model: dict) -> list[tuple]:
    """(H, W, width, number of scans) of each stage."""
    return [(H, W, d, n) for (H, W, _), d, n in zip(STAGES, model['widths'], model['depths'])]


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
        model = next((m for m in (VMAMBA, LOCALVMAMBA) if m['N'] == states), None)
        if model is None:
            continue  # tiles that neither model runs
        times = []
        for tile in list(tiles):
            triton_launch.TILES[kernel, states] = [tile]
            times.append((core_ms(selective_scan, model, torch.bfloat16, kernel != 'sweep'), tile))
            session.report('tune', f'{kernel} N{model["N"]} {tuple(tile)}', ms=times[-1][0])
        triton_launch.TILES[kernel, states] = [min(times)[1]]
        session.report('tune', f'{kernel} N{model["N"]}', best=str(tuple(min(times)[1])))


def mamba_ssm_scan():
    """mamba_ssm's CUDA scan used as published: gathered copies, expanded dt, merge; None where it is not installed."""
    try:
        from mamba_ssm.ops.selective_scan_interface import selective_scan_fn
    except ImportError:
        return None

    def scan(x, dt, A, B, C, D=None, dt_bias=None, *, dt_weight=None, orders, merge=True, out_dtype=None, **_):
        K, d, _ = A.shape
        delta = dt if dt_weight is None else torch.einsum('blkr,kdr->blkd', dt, dt_weight.to(dt.dtype))
        delta = scans.read_each(delta, orders)
        u, low = scans.read(x, orders), [scans.read_each(t, orders) for t in (B, C)]
        u, delta, B, C = (t.transpose(2, 3).contiguous() for t in (u, delta, *low))  # (b, K, d or N, S)
        parameters = [t.float().flatten(0, 1) for t in (A, D, dt_bias)]
        y = selective_scan_fn(
            u.flatten(1, 2), delta.flatten(1, 2), parameters[0], B, C, parameters[1],
            delta_bias=parameters[2], delta_softplus=True,
        )  # fmt: skip
        y = y.float().unflatten(1, (K, d)).transpose(2, 3)
        y = scans.merge(y, orders) if merge else scans.write(y, orders).transpose(1, 2)
        return y.to(out_dtype or x.dtype)

    return scan


def time_scans(session: Session) -> None:
    steps = sum(2 * 4 * d * H * W * n for H, W, d, n in cores(VMAMBA))
    contenders = {'mmvssm': selective_scan, 'mamba_ssm': mamba_ssm_scan()}
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


# ---- mLSTM


def mlstm_inputs(dtype):
    """ViL-T at 800 x 1280: 4,000 tokens, 4 heads of 96."""
    shape = (2, 4000, 4)
    q, k, v = (torch.randn(*shape, 96, device='cuda', dtype=dtype) for _ in range(3))
    return [q, k, v, torch.randn(shape, device='cuda'), torch.randn(shape, device='cuda') + 3]


def peers_of_mlstm() -> dict:
    found = {}
    try:
        from mlstm_kernels.torch.chunkwise import mlstm_chunkwise__xl_chunk as xl

        found['mlstm_kernels'] = lambda q, k, v, i, f: xl(*(t.transpose(1, 2).contiguous() for t in (q, k, v, i, f)))
    except ImportError:
        pass
    try:
        from fla.ops.simple_gla import chunk_simple_gla  # nearest of fla: the same chunk form, without normaliser

        found['fla simple_gla'] = lambda q, k, v, i, f: chunk_simple_gla(q, k, v, torch.nn.functional.logsigmoid(f))[0]
    except ImportError:
        pass
    return found


def time_mlstm(session: Session) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        tensors = mlstm_inputs(dtype)
        exact = mlstm(*(t.double() for t in tensors), backend='blocked')
        contenders = {'mmvssm': mlstm, **peers_of_mlstm()}
        error = rms_relative(mlstm(*tensors), exact)
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


# ---- whole models


def time_model(session: Session, name: str, who: str, scan, dtype) -> None:
    """Features at 2 x 3 x 800 x 1280: forward, training step, peak memory."""
    ours, _layers.selective_scan = _layers.selective_scan, scan
    try:
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
    finally:
        _layers.selective_scan = ours


def time_models(session: Session) -> None:
    contenders = {'mmvssm': selective_scan, 'mamba_ssm': mamba_ssm_scan()}
    for name in ('vmamba_tiny_s1l8', 'localvmamba_tiny'):
        for dtype in (torch.bfloat16, torch.float32):
            for who, scan in contenders.items():
                if scan is not None:
                    with session.section(f'{name} {dtype} {who}', 25) as go:
                        if go:
                            time_model(session, name, who, scan, dtype)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', type=Path, default=Path('work_dirs/gpu_session'))
    parser.add_argument('--minutes', type=float, default=8.5)
    args = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit('gpu_session: no GPU that torch can use is here; nothing was measured')
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
