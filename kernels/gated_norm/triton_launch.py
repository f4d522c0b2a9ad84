"""The gated, normed sum on GPUs: launches around the Triton kernels. Needs triton; no autograd."""

import torch
import triton
from torch import Tensor

from ..backend import on_its_device
from ..norms import shared_out
from ..triton_groups import by_rows
from .triton_kernels import combine, combine_backward

PROGRAMS = 1024  # of a backward pass, enough for any GPU, with a part of the parameters' gradients each
TILE = 4096  # numbers of y that a program has at a time


def _options(y: Tensor) -> dict:
    _, _, K, d = y.shape
    BK, BD = triton.next_power_of_2(K), triton.next_power_of_2(d)
    BT = max(1, min(32, TILE // (BK * BD)))
    return dict(K=K, d=d, BT=BT, BK=BK, BD=BD, num_warps=8 if BT * BK * BD > TILE else 4)


@on_its_device
def forward(
    y: Tensor, gate: Tensor, weight: Tensor, bias: Tensor, z: Tensor, eps: float, out_dtype: torch.dtype
) -> Tensor:
    """See `op`."""
    y, z = by_rows(y), by_rows(z)
    options = _options(y)
    out = z.new_empty(z.shape, dtype=out_dtype)
    combine[(y.shape[0] * triton.cdiv(y.shape[1], options['BT']),)](
        y, gate.contiguous(), weight.contiguous(), bias.contiguous(), z, out,
        *y.stride()[:3], *z.stride()[:2], y.shape[1], eps, **options,
    )  # fmt: skip
    return out


@on_its_device
def backward(
    dout: Tensor, y: Tensor, gate: Tensor, weight: Tensor, bias: Tensor, z: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """See `op`."""
    dout, y, z = by_rows(dout), by_rows(y), by_rows(z)
    options = _options(y)
    batch, length, K, d = y.shape
    parts, each = shared_out(length, options['BT'], PROGRAMS // batch)
    dy, dz = y.new_empty(y.shape), z.new_empty(z.shape)
    dgate, dweight, dbias = (y.new_empty(batch, parts, *shape, dtype=torch.float32) for shape in ((K, d), (d,), (d,)))
    combine_backward[(batch * parts,)](
        dout, y, gate.contiguous(), weight.contiguous(), bias.contiguous(), z, dy, dgate, dweight, dbias, dz,
        *dout.stride()[:2], *y.stride()[:3], *z.stride()[:2], length, each, eps, **options,
    )  # fmt: skip
    return dy, dgate.sum(1), dweight.sum((0, 1)), dbias.sum((0, 1)), dz
