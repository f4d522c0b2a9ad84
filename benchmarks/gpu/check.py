"""Section `check`: every kernel against float64 before it is timed; what is wrong blocks the kernels it covers."""

from functools import partial

import torch
from torch import Tensor

from mmvssm.kernels import mlstm, selective_scan
from mmvssm.kernels.self_check import given_up
from mmvssm.testing import LIMITS, relative_rms

from .plan import DTYPES, Check, Lstm, Scan, Work
from .session import Rows, Session, refuse_plain_pytorch

WRONG = 10  # times the limit; less may be the rounding of a GPU, on which no time depends


def rows(session: Session) -> Rows:
    device = session.clock.device
    for check in session.plan.checks:
        yield check.name, partial(verdict, check, device)
    first = next(check for check in session.plan.checks if isinstance(check.work, Scan))
    yield 'deterministic backward passes', partial(repeats, first, device)


def verdict(check: Check, device: str) -> dict:
    """Errors of the output and of the gradients, and what they mean."""
    found = {'covers': check.covers, 'verdict': 'WRONG'}
    try:
        forward, gradient = errors(check.work, check.dtype, device)
        refuse_plain_pytorch()
    except Exception as error:
        given_up().clear()
        return {**found, 'error': f'{type(error).__name__}: {error}'[:600]}
    limits = LIMITS[DTYPES[check.dtype]]
    worst = max(error / limit for error, limit in zip((forward, gradient), limits))
    word = 'ok' if worst <= 1 else 'over the limit' if worst <= WRONG else 'WRONG'  # NaN is WRONG
    return {**found, 'verdict': word, 'forward': forward, 'gradient': gradient, 'limits': limits}


def errors(work: Work, dtype: str, device: str) -> tuple[float, float]:
    """RMS-relative errors: of the output, and of the worst gradient."""
    tensors = leaves(work, dtype, device)
    exact = [tensor.detach().double().requires_grad_() for tensor in tensors]
    want = apply(work, exact, device, backend='blocked')
    dy = torch.randn_like(want, dtype=torch.float32).to(DTYPES[dtype])
    wanted = torch.autograd.grad(want, exact, dy.double())
    y = apply(work, tensors, device, backend='triton')
    got = torch.autograd.grad(y, tensors, dy.to(y.dtype))
    each = [relative_rms(g, w) for g, w in zip(got, wanted)]
    return relative_rms(y, want.detach()), max(each, key=lambda error: (error != error, error))


def leaves(work: Work, dtype: str, device: str) -> list[Tensor]:
    """Inputs that need gradients."""
    return [tensor.detach().requires_grad_() for tensor in work.inputs(dtype, device)]


def apply(work: Work, tensors: list[Tensor], device: str, backend: str = 'triton') -> Tensor:
    """The operator of a piece of work."""
    if isinstance(work, Lstm):
        return mlstm(*tensors, reverse=work.reverse, backend=backend)
    *given, weight = tensors
    orders = work.tables(device)
    wide = torch.promote_types(given[0].dtype, torch.float32)
    return selective_scan(*given, dt_weight=weight, orders=orders, merge=work.merge, out_dtype=wide, backend=backend)


def repeats(check: Check, device: str) -> dict:
    """Whether gradients are the same bit by bit where torch is asked for determinism."""
    tensors = leaves(check.work, check.dtype, device)
    torch.use_deterministic_algorithms(True)
    try:
        runs = [torch.autograd.grad(apply(check.work, tensors, device).sum(), tensors) for _ in range(3)]
    finally:
        torch.use_deterministic_algorithms(False)
    equal = all(torch.equal(one, other) for run in runs[1:] for one, other in zip(run, runs[0]))
    return {'equal': equal}
