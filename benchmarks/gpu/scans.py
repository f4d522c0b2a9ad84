"""Sections `scans` and `peers`: all scans of a model, forward and backward, and the same by other packages."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from benchmarks import peers
from mmvssm.kernels import register
from mmvssm.kernels.mlstm.op import chunkwise_flops
from mmvssm.testing import relative_rms

from . import check
from .plan import Lstm, Scan, Work, covers
from .session import NotMeasured, Rows, Session

Apply = Callable[[Work, list[Tensor], str], Tensor]


def rows(session: Session) -> Rows:
    for dtype in session.plan.dtypes:
        for label, works in session.plan.groups.items():
            yield f'{label}, {dtype}', partial(own, session, works, dtype)


def own(session: Session, works: list[Work], dtype: str) -> dict:
    session.require(*{covers(work, dtype) for work in works})
    return times(session, works, dtype, check.apply)


def peer_rows(session: Session) -> Rows:
    for dtype in session.plan.dtypes:
        for label, works in session.plan.groups.items():
            table = peers.SCANS if isinstance(works[0], Scan) else peers.MLSTMS
            for who, load in table.items():
                yield f'{label}, {dtype}, {who}', partial(peer, session, works, dtype, load)


def peer(session: Session, works: list[Work], dtype: str, load: Callable[[], Callable]) -> dict:
    try:
        call = load()
    except ImportError as error:
        raise NotMeasured(f'not installed: {error}') from error
    if isinstance(works[0], Lstm):
        return compared(session, works, dtype, lambda work, tensors, device: call(*tensors))
    with register('selective_scan', 'peer', call):
        return compared(session, works, dtype, partial(check.apply, backend='peer'))


def compared(session: Session, works: list[Work], dtype: str, apply: Apply) -> dict:
    """A peer's times, and how far from ours its first output is (another function's, far)."""
    device = session.clock.device
    tensors = works[0].inputs(dtype, device)
    differs = relative_rms(apply(works[0], tensors, device), check.apply(works[0], tensors, device))
    return {**times(session, works, dtype, apply), 'differs': differs}


def times(session: Session, works: list[Work], dtype: str, apply: Apply) -> dict:
    """Milliseconds of all of a model's blocks, and what they come to."""
    each = [stage(session, work, dtype, apply) for work in works]
    total = {key: sum(work.count * row[key] for work, row in zip(works, each)) for key in ('forward_ms', 'both_ms')}
    return {**total, **rates(works, total), 'peak_mib': max(row['peak_mib'] for row in each), 'each': each}


def stage(session: Session, work: Work, dtype: str, apply: Apply) -> dict:
    clock, tensors = session.clock, check.leaves(work, dtype, session.clock.device)
    y = apply(work, tensors, clock.device)
    dy = torch.randn_like(y)

    def forward() -> None:
        with torch.no_grad():
            apply(work, tensors, clock.device)

    def both() -> None:
        torch.autograd.grad(apply(work, tensors, clock.device), tensors, dy, allow_unused=True)

    del y
    found = {'work': work.name, 'forward_ms': clock.graph_ms(forward), 'both_ms': clock.graph_ms(both)}
    return {**found, 'peak_mib': clock.peak_mib(both)}


def rates(works: list[Work], total: dict[str, float]) -> dict[str, float]:
    """Element-steps of scans and multiplications of mLSTMs in a second, forward."""
    seconds = total['forward_ms'] / 1e3
    if isinstance(works[0], Scan):
        return {'element_steps_s': sum(work.count * work.element_steps for work in works) / seconds}
    flops = sum(work.count * chunkwise_flops((work.batch, work.S, work.heads, work.dim)) for work in works)
    return {'tflop_s': flops / seconds / 1e12}
