"""Section `machine`: what the figures were measured on, and how fast it copies and multiplies at best."""

import platform
from functools import partial

import torch
import triton

from .session import Rows, Session


def rows(session: Session) -> Rows:
    yield 'what', partial(what, session)
    yield 'copy', partial(copy, session)
    for dtype in ('bfloat16', 'float32'):
        yield f'matrix product, {dtype}', partial(product, session, getattr(torch, dtype))


def what(session: Session) -> dict:
    found = {'torch': torch.__version__, 'triton': triton.__version__, 'python': platform.python_version()}
    if session.clock.dry:
        return {'name': 'none: a dry run, whose figures mean nothing', **found}
    gpu = torch.cuda.get_device_properties(0)
    figures = {'sms': gpu.multi_processor_count, 'l2_mib': gpu.L2_cache_size / 2**20}
    figures |= {'memory_gib': gpu.total_memory / 2**30, 'clock_mhz': gpu.clock_rate / 1e3}
    return {'name': gpu.name, **figures, **found}


def copy(session: Session) -> dict:
    """Device to device, bytes read and written."""
    source = torch.randn(16 if session.clock.dry else 2**28, device=session.clock.device)
    target = torch.empty_like(source)
    return {'gb_s': 2 * source.nbytes / session.clock.graph_ms(lambda: target.copy_(source)) / 1e6}


def product(session: Session, dtype: torch.dtype) -> dict:
    """Of random square matrices; float32 without TF32."""
    side = 8 if session.clock.dry else 8192
    a, b = (torch.randn(side, side, device=session.clock.device).to(dtype) for _ in range(2))
    ms = session.clock.graph_ms(lambda: a @ b, calls=3)
    return {'tflop_s': 2 * side**3 / ms / 1e9}
