"""The definition of the selective scan: one step at a time, in plain PyTorch."""

import torch
import torch.nn.functional as F
from torch import Tensor

from mmvssm.scans import Orders, read, read_each, write


def wide(tensor: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """`tensor` in the dtype that is computed in."""
    return None if tensor is None else tensor.to(dtype)


def gather_inputs(x, dt, B, C, dt_bias, dt_weight, orders: Orders, softplus: bool):
    """Read a scan's inputs along its orders.

    Returns:
        u, delta (b, K, S, d), B, C (b, K, S, N). At padding u, B and C are 0 and delta is softplus(dt_bias).
    """
    u = read(x, orders) if x.dim() == 3 else read_each(x, orders)
    delta = read_each(dt, orders)
    if dt_weight is not None:
        delta = delta @ dt_weight.mT
    if dt_bias is not None:
        delta = delta + dt_bias[:, None]
    if softplus:
        delta = F.softplus(delta, threshold=20)
    return u, delta, read_each(B, orders), read_each(C, orders)


def scatter_output(y: Tensor, orders: Orders, merge: bool, dtype: torch.dtype) -> Tensor:
    """Bring y (b, K, S, d) to token order: (b, L, d) summed over the K directions, or (b, L, K, d)."""
    y = write(y, orders)
    return (y.sum(1) if merge else y.transpose(1, 2)).to(dtype)


def selective_scan_reference(
    x, dt, A, B, C, D, dt_bias, dt_weight, orders: Orders, softplus: bool, merge: bool, out_dtype
) -> Tensor:
    """Arguments and result as :func:`mmvssm.kernels.selective_scan`; any dtype, float64 computes in float64.

    h_t = exp(delta_t A) h_{t-1} + delta_t B_t u_t,    y_t = <C_t, h_t> + D u_t
    """
    compute = torch.promote_types(x.dtype, torch.float32)
    x, dt, A, B, C, D, dt_bias, dt_weight = (wide(t, compute) for t in (x, dt, A, B, C, D, dt_bias, dt_weight))
    u, delta, B, C = gather_inputs(x, dt, B, C, dt_bias, dt_weight, orders, softplus)
    h = u.new_zeros(u.shape[0], *A.shape)  # (b, K, d, N)
    ys = []
    for t in range(u.shape[2]):
        decay = torch.exp(delta[:, :, t, :, None] * A)
        h = decay * h + (delta[:, :, t] * u[:, :, t])[..., None] * B[:, :, t, None]
        ys.append((h * C[:, :, t, None]).sum(-1))
    y = torch.stack(ys, dim=2)  # (b, K, S, d)
    if D is not None:
        y = y + D[:, None] * u
    return scatter_output(y, orders, merge, out_dtype)
