"""The tiny problem by which the Triton kernels are checked at their first use; see `..self_check`."""

from collections.abc import Callable
from types import ModuleType

import torch
from torch import Tensor

from ..self_check import relative_error, wave
from .reference import pooled_norm_reference

SHAPE, EPS = (2, 70, 2, 20), 1e-5


def errors(module: ModuleType, device: torch.device, dtype: torch.dtype, gradients: bool) -> dict[str, float]:
    """Relative RMS errors of y and, with `gradients`, of each gradient, of the kernels in `module`."""
    wide = torch.promote_types(dtype, torch.float32)
    x = wave(*SHAPE, phase=0.0, dtype=dtype)
    weight, bias = (wave(SHAPE[-1], phase=p, dtype=wide) for p in (1.0, 2.0))
    dy = wave(SHAPE[0], *SHAPE[2:], phase=3.0, dtype=wide)
    leaves = [z.double().requires_grad_() for z in (x, weight, bias)]
    definition: Callable[..., Tensor] = pooled_norm_reference
    y = definition(*leaves, EPS, torch.float64)
    wanted = (y.detach(), *torch.autograd.grad(y, leaves, dy.double()))
    x, weight, bias, dy = (z.to(device) for z in (x, weight, bias, dy))
    found = [module.forward(x, weight, bias, EPS)]
    if gradients:
        found += module.backward(dy, x, weight, bias, EPS)
    return {name: relative_error(z, w) for name, z, w in zip(('y', 'x', 'weight', 'bias'), found, wanted)}
