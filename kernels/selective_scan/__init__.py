"""The selective scan (S6) along scan orders; :func:`selective_scan` is the public function."""

import os
from importlib.util import find_spec

import torch
from torch import Tensor

from mmvssm.scans import Orders

from ..backend import resolve
from .blocked import selective_scan_blocked
from .op import selective_scan_op
from .reference import selective_scan_reference

__all__ = ['selective_scan']

_HAS_NUMBA = find_spec('numba') is not None
_HAS_TRITON = find_spec('triton') is not None and find_spec(f'{__name__}.triton_op') is not None


def _available(x: Tensor) -> dict[str, str]:
    """Backends for `x`: name -> '' or why it cannot run here."""
    on = x.device.type
    shapes_alone = on == 'meta' and not torch.is_grad_enabled()  # the operator's fake kernel needs no numba
    why_numba = '' if _HAS_NUMBA or shapes_alone else 'numba is not installed'
    why_triton = '' if _HAS_TRITON else 'triton is not installed'
    if on not in ('cpu', 'meta'):  # on the meta device only the operator's fake kernel runs
        why_numba = f'numba runs on the CPU, x is on {on}'
    if on not in ('cuda', 'xpu') and os.environ.get('TRITON_INTERPRET') != '1':
        why_triton = why_triton or f'triton runs on a GPU (or with TRITON_INTERPRET=1), x is on {on}'
    if x.dtype == torch.float64:
        why_triton = why_triton or 'triton does not compute in float64'
    return {'numba': why_numba, 'triton': why_triton, 'blocked': '', 'reference': ''}


def selective_scan(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    dt_bias: Tensor | None = None,
    *,
    dt_weight: Tensor | None = None,
    orders: Orders | None = None,
    softplus: bool = True,
    merge: bool = True,
    out_dtype: torch.dtype | None = None,
    backend: str | None = None,
) -> Tensor:
    """Selective scan (S6) of one feature map along K orders, all directions fused.

        delta = softplus(dt @ dt_weight^T + dt_bias)
        h_t = exp(delta_t A) h_{t-1} + delta_t B_t u_t,    y_t = <C_t, h_t> + D u_t

    State, softplus, exp and sums are float32 whatever the inputs are (float64 when x is). Any strides are accepted.

    Args:
        x: (b, L, d), tokens in raster order, shared by the K directions; or (b, L, K, d), one input each.
        dt: (b, L, K, R), low rank, together with dt_weight; or expanded, (b, L, K, d).
        A: (K, d, N), negative; N from 1 to 64.
        B, C: (b, L, K, N).
        D, dt_bias: (K, d) or None.
        dt_weight: (K, d, R) or None.
        orders: index tables of `mmvssm.scans.orders`; None reads tokens 0 .. L-1 in every direction. A padded step has
            u = dt = B = C = 0: it decays the state by softplus(dt_bias); its output is dropped.
        softplus: False takes dt + dt_bias itself as delta.
        merge: True returns the sum over directions in token order, False every direction's output.
        out_dtype: dtype of the result, x's by default.
        backend: 'reference', 'blocked', 'numba', 'triton' or 'auto'; None is what `use_backend` or the environment
            variable MMVSSM_BACKEND say.

    Returns:
        (b, L, d) if merge, else (b, L, K, d). Tokens that an order never reads get 0 from it.

    Raises:
        ValueError: shapes that do not fit together, an unknown backend, or one that cannot run here.
    """
    _check(x, dt, A, B, C, D, dt_bias, dt_weight, orders)
    name = resolve('selective_scan', x, backend, _available(x))
    if orders is None:
        orders = _raster(x.shape[1], A.shape[0], x.device)
    out_dtype = x.dtype if out_dtype is None else out_dtype
    tensors = (x, dt, A, B, C, D, dt_bias, dt_weight)
    if name in ('numba', 'triton'):
        save = torch.is_grad_enabled() and any(z is not None and z.requires_grad for z in tensors)
        y, _ = selective_scan_op(*tensors, orders.index, orders.lengths, softplus, merge, out_dtype, save, name)
        return y
    run = {'reference': selective_scan_reference, 'blocked': selective_scan_blocked}[name]
    with torch.autocast(x.device.type, enabled=False):
        return run(*tensors, orders, softplus, merge, out_dtype)


def _raster(L: int, K: int, device) -> Orders:
    index = torch.arange(L, dtype=torch.int32, device=device).expand(K, L)
    return Orders(index, torch.full((K,), L, dtype=torch.int32, device=device), L)


def _check(x, dt, A, B, C, D, dt_bias, dt_weight, orders) -> None:
    if x.dim() not in (3, 4) or A.dim() != 3:
        raise ValueError(
            f'x must be (b, L, d) or (b, L, K, d) and A (K, d, N); got {tuple(x.shape)} and {tuple(A.shape)}'
        )
    b, L, d = x.shape[0], x.shape[1], x.shape[-1]
    K, N = A.shape[0], A.shape[2]
    rank = d if dt_weight is None else dt_weight.shape[-1]
    wanted = {
        'x': (x, (b, L, d) if x.dim() == 3 else (b, L, K, d)),
        'dt': (dt, (b, L, K, rank)),
        'A': (A, (K, d, N)),
        'B': (B, (b, L, K, N)),
        'C': (C, (b, L, K, N)),
        'D': (D, (K, d)),
        'dt_bias': (dt_bias, (K, d)),
        'dt_weight': (dt_weight, (K, d, rank)),
    }
    for field, (tensor, shape) in wanted.items():
        if tensor is not None and tuple(tensor.shape) != shape:
            raise ValueError(f'{field} must have shape {shape} beside x {tuple(x.shape)}; got {tuple(tensor.shape)}')
    if not 1 <= N <= 64:
        raise ValueError(f'A has d_state {N}; allowed: 1 to 64')
    if orders is not None and (orders.index.shape[0] != K or orders.num_tokens != L):
        raise ValueError(
            f'orders hold {orders.index.shape[0]} orders of {orders.num_tokens} tokens; x and A need {K} of {L}'
        )
