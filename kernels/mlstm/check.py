"""The tiny problem by which the Triton mLSTM is checked at its first use; see `..self_check`."""

from types import ModuleType

import torch

from ..self_check import relative_error, wave
from .gates import gate_gradients, gate_terms
from .reference import mlstm_recurrent

LENGTH, HEADS, DIM, EPS = 70, 2, 20, 1e-6  # more than one chunk
NAMES = ('q', 'k', 'v', 'igate', 'fgate')


def errors(module: ModuleType, device: torch.device, dtype: torch.dtype, gradients: bool) -> dict[str, float]:
    """Relative RMS errors of h and, with `gradients`, of each gradient, of the kernels in `module`."""
    # q and k are positive: q . n stays away from zero, where any rounding would grow
    q, k = (wave(1, LENGTH, HEADS, DIM, phase=p, dtype=dtype).abs() for p in (0.0, 1.0))
    v = wave(1, LENGTH, HEADS, DIM, phase=2.0, dtype=dtype)
    igate, fgate = (wave(1, LENGTH, HEADS, phase=p, dtype=dtype) for p in (3.0, 4.0))
    dh = wave(1, LENGTH, HEADS, DIM, phase=5.0, dtype=dtype)
    leaves = [z.double().requires_grad_() for z in (q, k, v, igate, fgate)]
    h = mlstm_recurrent(*leaves, reverse=False, eps=EPS)
    wanted = {'h': h.detach(), **dict(zip(NAMES, torch.autograd.grad(h, leaves, dh.double())))}

    q, k, v, igate, fgate, dh = (z.to(device) for z in (q, k, v, igate, fgate, dh))
    gates = gate_terms(igate, fgate, reverse=False)
    options = dict(reverse=False, chunk_size=module.chunk_size_for(LENGTH, DIM, None), eps=EPS)
    h, normaliser = module.forward(q, k, v, gates, **options)
    found = {'h': h}
    if gradients:
        *direct, d_log_f, k_dk, dm = module.backward(dh, q, k, v, h, normaliser, gates, **options)
        found |= dict(zip(NAMES, (*direct, *gate_gradients(d_log_f, k_dk, dm, gates, fgate, reverse=False))))
    return {name: relative_error(z, wanted[name]) for name, z in found.items()}
