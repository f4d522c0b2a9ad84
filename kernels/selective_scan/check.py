"""The tiny problem by which the compiled scans are checked at their first use; see `..self_check`."""

import math
from collections.abc import Callable
from types import ModuleType

import torch
from torch import Tensor

from mmvssm.scans import Orders

from ..self_check import relative_error, wave
from .reference import selective_scan_reference
from .tensors import Tensors

HEIGHT, WIDTH = 10, 7
LENGTH, CHANNELS, RANK = HEIGHT * WIDTH, 20, 2  # more than one chunk, more than one vector of channels, neither filled
NAMES = ('x', 'dt', 'A', 'B', 'C', 'D', 'dt_bias', 'dt_weight')


def errors(module: ModuleType, device: torch.device, dtype: torch.dtype, gradients: bool) -> dict[str, float]:
    """Relative RMS errors of y and, with `gradients`, of each gradient, of the kernels in `module`."""
    tensors, orders = _problem(module.CHECKED_STATES, dtype)
    dy = wave(1, LENGTH, CHANNELS, phase=9.0, dtype=dtype)
    wanted = _definition(tensors, orders, dy)

    each = [z.to(device) for z in (*tensors, orders.index, orders.lengths)]
    worst: dict[str, float] = {}
    for straight in ((), orders.straight):  # there may be kernels for tables and for straight runs
        given = Tensors(*each)._replace(straight=straight)
        y, carries = module.forward(given, True, True, dtype, gradients)
        found = {'y': y}
        if gradients:
            found |= dict(zip(NAMES, module.backward(dy.to(device), carries, given, True, True)))
        for name, z in found.items():
            error = relative_error(z, wanted[name])
            worst[name] = max(error, worst.get(name, error), key=_nan_last)
    return worst


def _nan_last(error: float) -> float:
    return math.inf if math.isnan(error) else error


def _problem(N: int, dtype: torch.dtype) -> tuple[list[Tensor], Orders]:
    """One map read forwards and backwards, with all that the operator takes."""
    wide = torch.promote_types(dtype, torch.float32)
    L, d, K, R = LENGTH, CHANNELS, 2, RANK
    x, dt = wave(1, L, d, phase=0.0, dtype=dtype), wave(1, L, K, R, phase=1.0, dtype=dtype)
    A = wave(K, d, N, phase=2.0, dtype=wide) - 1.5
    B, C = wave(1, L, K, N, phase=3.0, dtype=dtype), wave(1, L, K, N, phase=4.0, dtype=dtype)
    D, bias, weight = (wave(K, d, phase=p, dtype=wide) for p in (5.0, 6.0, 7.0))
    token = torch.arange(L, dtype=torch.int32, device='cpu')
    lengths = torch.full((K,), L, dtype=torch.int32, device='cpu')
    orders = Orders(torch.stack([token, token.flip(0)]), lengths, L, (HEIGHT, WIDTH, 0b10_00))
    return [x, dt, A, B, C, D, bias, weight[..., None] * wave(R, phase=8.0, dtype=wide)], orders


def _definition(tensors: list[Tensor], orders: Orders, dy: Tensor) -> dict[str, Tensor]:
    leaves = [z.double().requires_grad_() for z in tensors]
    definition: Callable[..., Tensor] = selective_scan_reference
    y = definition(*leaves, orders, True, True, torch.float64)
    return {'y': y.detach(), **dict(zip(NAMES, torch.autograd.grad(y, leaves, dy.double())))}
