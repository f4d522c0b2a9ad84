"""What this project is compared with: the published loop, and packages where they import.

A scan takes what the plain implementations take, so that `mmvssm.kernels.register` makes a backend of it.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from mmvssm import scans


def loop(x, dt, A, B, C, D, dt_bias, dt_weight, orders, softplus, merge, out_dtype):
    """The published reference, einsum by einsum, on K copies of the map; groups of B and C are repeated as there."""
    K, d, N = A.shape
    delta = scans.read_each(dt, orders)
    delta = delta if dt_weight is None else delta @ dt_weight.mT
    # the references keep u and delta as (b, K d, L), B and C as (b, K, N, L), each contiguous
    u, delta = (z.transpose(2, 3).contiguous().flatten(1, 2) for z in (scans.read(x, orders), delta))
    delta = F.softplus(delta + dt_bias.reshape(-1, 1))
    B, C = (scans.read_each(z, orders).transpose(2, 3).contiguous() for z in (B, C))
    B, C = (z[:, 0] if K == 1 else z.repeat_interleave(d, 1) for z in (B, C))
    to_inflow, to_y = ('bdl,bnl,bdl->bdln', 'bdn,bn->bd') if K == 1 else ('bdl,bdnl,bdl->bdln', 'bdn,bdn->bd')
    decay = torch.exp(torch.einsum('bdl,dn->bdln', delta, A.flatten(0, 1)))
    inflow = torch.einsum(to_inflow, delta, B, u)
    h, ys = x.new_zeros(x.shape[0], K * d, N), []
    # the references index decay[:, :, t], whose gradient is a whole tensor of zeros for each step: minutes at 4,096
    for decay_t, inflow_t, C_t in zip(decay.unbind(2), inflow.unbind(2), C.unbind(-1)):
        h = decay_t * h + inflow_t
        ys.append(torch.einsum(to_y, h, C_t))
    y = (torch.stack(ys, dim=2) + u * D.reshape(-1, 1)).unflatten(1, (K, d)).transpose(2, 3)
    return (scans.merge(y, orders) if merge else scans.write(y, orders).transpose(1, 2)).to(out_dtype)


def mamba_ssm_scan():
    """mamba_ssm's CUDA scan used as published: gathered copies, expanded dt, merge; None where it is not installed."""
    try:
        from mamba_ssm.ops.selective_scan_interface import selective_scan_fn
    except ImportError:
        return None

    def scan(x, dt, A, B, C, D, dt_bias, dt_weight, orders, softplus, merge, out_dtype):
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
        return y.to(out_dtype)

    return scan


def of_mlstm() -> dict[str, Callable[..., Tensor]]:
    """Those of mLSTM that import: (q, k, v, igate, fgate) -> h."""
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
