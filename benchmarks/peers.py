"""What this project is compared with: the published loop, and packages where they import.

A scan takes what the plain implementations take, so that `mmvssm.kernels.register` makes a backend of it.
"""

from collections.abc import Callable
from contextlib import suppress

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


def _published(selective_scan: Callable) -> Callable:
    """A CUDA scan of (b, K d, S) used as published: gathered copies, expanded dt, merge."""

    def scan(x, dt, A, B, C, D, dt_bias, dt_weight, orders, softplus, merge, out_dtype):
        K, d, _ = A.shape
        delta = dt if dt_weight is None else torch.einsum('blkr,kdr->blkd', dt, dt_weight.to(dt.dtype))
        delta = scans.read_each(delta, orders)
        u, low = scans.read(x, orders), [scans.read_each(t, orders) for t in (B, C)]
        u, delta, B, C = (t.transpose(2, 3).contiguous() for t in (u, delta, *low))  # (b, K, d or N, S)
        A, D, bias = (t.float().flatten(0, 1) for t in (A, D, dt_bias))
        y = selective_scan(u.flatten(1, 2), delta.flatten(1, 2), A, B, C, D, bias, softplus)
        y = y.float().unflatten(1, (K, d)).transpose(2, 3)
        y = scans.merge(y, orders) if merge else scans.write(y, orders).transpose(1, 2)
        return y.to(out_dtype)

    return scan


def mamba_ssm_scan() -> Callable:
    """mamba_ssm's CUDA scan. Raises ImportError where it is not installed, as the others do."""
    from mamba_ssm.ops.selective_scan_interface import selective_scan_fn

    return _published(
        lambda u, delta, A, B, C, D, bias, softplus: selective_scan_fn(
            u, delta, A, B, C, D, delta_bias=bias, delta_softplus=softplus
        )
    )


class _Oflex(torch.autograd.Function):
    """VMamba's CUDA scan, whose output is float32 whatever the input is."""

    @staticmethod
    def forward(ctx, u, delta, A, B, C, D, bias, softplus):
        import selective_scan_cuda_oflex as cuda

        y, carries, *_ = cuda.fwd(u, delta, A, B, C, D, bias, softplus, 1, True)
        ctx.save_for_backward(u, delta, A, B, C, D, bias, carries)
        ctx.softplus = softplus
        return y

    @staticmethod
    def backward(ctx, dy):
        import selective_scan_cuda_oflex as cuda

        *given, carries = ctx.saved_tensors
        grads = cuda.bwd(*given, dy.contiguous(), carries, ctx.softplus, 1)
        return *grads[:7], None


def oflex_scan() -> Callable:
    """VMamba's `selective_scan_cuda_oflex`."""
    import selective_scan_cuda_oflex  # noqa: F401

    return _published(_Oflex.apply)


SCANS = {'mamba_ssm': mamba_ssm_scan, 'VMamba oflex': oflex_scan}  # what makes each


def mlstm_kernels_xl() -> Callable[..., Tensor]:
    """mlstm_kernels' chunkwise ones: (q, k, v, igate, fgate) -> h. Lengths and heads are padded to what they take."""
    from mlstm_kernels.torch.chunkwise import mlstm_chunkwise__xl_chunk

    def call(q, k, v, igate, fgate, chunk=128):
        S, dim = q.shape[1], q.shape[-1]
        after, wider = -S % chunk, (1 << (dim - 1).bit_length()) - dim
        q = q * ((dim + wider) / dim) ** 0.5  # it divides by the root of the padded width
        q, k, v = (F.pad(t, (0, wider, 0, 0, 0, after)).transpose(1, 2).contiguous() for t in (q, k, v))
        gates = (F.pad(t, (0, 0, 0, after)).transpose(1, 2).contiguous() for t in (igate, fgate))
        h = mlstm_chunkwise__xl_chunk(q, k, v, *gates, chunk_size=chunk, autocast_kernel_dtype=q.dtype)
        return h.transpose(1, 2)[:, :S, :, :dim]

    return call


def fla_simple_gla() -> Callable[..., Tensor]:
    """Nearest of flash-linear-attention: the same chunk form, without input gate and normaliser."""
    from fla.ops.simple_gla import chunk_simple_gla

    return lambda q, k, v, igate, fgate: chunk_simple_gla(q, k, v, F.logsigmoid(fgate))[0]


MLSTMS = {'mlstm_kernels': mlstm_kernels_xl, 'fla simple_gla': fla_simple_gla}


def installed(table: dict[str, Callable[[], Callable]]) -> dict[str, Callable]:
    """Those that import."""
    found = {}
    for name, load in table.items():
        with suppress(ImportError):
            found[name] = load()
    return found
