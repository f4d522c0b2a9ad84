"""The tiny problem by which the Triton kernels are checked at their first use; see `..self_check`."""

from collections.abc import Callable
from types import ModuleType

import torch
from torch import Tensor

from ..self_check import relative_error, wave
from .reference import gated_norm_reference

BATCH, LENGTH, DIRECTIONS, DIM, EPS = 2, 70, 3, 20, 1e-5
NAMES = ('out', 'y', 'gate', 'weight', 'bias', 'z')


def errors(module: ModuleType, device: torch.device, dtype: torch.dtype, gradients: bool) -> dict[str, float]:
    """Relative RMS errors of the output and, with `gradients`, of each gradient, of the kernels in `module`."""
    wide = torch.promote_types(dtype, torch.float32)
    y = wave(BATCH, LENGTH, DIRECTIONS, DIM, phase=0.0, dtype=dtype)
    gate = wave(BATCH, DIRECTIONS, DIM, phase=1.0, dtype=dtype)
    weight, bias = (wave(DIM, phase=p, dtype=wide) for p in (2.0, 3.0))
    z, dout = (wave(BATCH, LENGTH, DIM, phase=p, dtype=dtype) for p in (4.0, 5.0))
    leaves = [tensor.double().requires_grad_() for tensor in (y, gate, weight, bias, z)]
    definition: Callable[..., Tensor] = gated_norm_reference
    out = definition(*leaves, EPS, torch.float64)
    wanted = (out.detach(), *torch.autograd.grad(out, leaves, dout.double()))
    tensors = [tensor.to(device) for tensor in (y, gate, weight, bias, z)]
    found = [module.forward(*tensors, EPS, dtype)]
    if gradients:
        found += module.backward(dout.to(device), *tensors, EPS)
    return {name: relative_error(own, w) for name, own, w in zip(NAMES, found, wanted)}
