"""The chunkwise mLSTM for export: no loop, all chunks at once, plain ATen operations, a length that may be symbolic.

The equations are those of `blocked`; the states that enter the chunks come from all pairs of chunks instead of a loop,
C_c = sum over earlier c' of exp(e_c' - e_{c-1}) KV_c', at the cost of (S / L)^2 numbers a head.
"""

import torch
from torch import Tensor

from .blocked import Chunk, earlier, exponentials, read, with_ones
from .gates import denominator, totals
from .reference import NEVER


def mlstm_traced(
    q: Tensor, k: Tensor, v: Tensor, igate: Tensor, fgate: Tensor, *, reverse: bool, chunk_size: int, eps: float
) -> Tensor:
    """Arguments and result as :func:`mmvssm.kernels.mlstm`."""
    length, dtype = q.shape[1], torch.promote_types(q.dtype, torch.float32)
    total, y = totals(igate, fgate, reverse)
    total, y = _split(total, chunk_size), _split(y, chunk_size, NEVER)  # (b, heads, n, L)
    M, starts = _running_max(y, reverse)
    ends = M[..., 0 if reverse else -1]  # (b, heads, n)

    scaled = q.to(dtype) * q.shape[-1] ** -0.5
    queries, keys, values = (_split(x, chunk_size) for x in (scaled, k.to(dtype), with_ones(v, dtype)))
    c = Chunk(queries, keys, values, *exponentials(y, M, starts, ends, reverse, dtype))
    between = torch.exp((ends[..., None, :] - starts[..., None]).clamp(max=0).to(dtype))
    between = between * earlier(ends.shape[-1], reverse, q.device, dtype, diagonal=False)
    left = (c.k * c.to_end).mT @ c.v1  # (b, heads, n, dh, dh + 1)
    out = read(c, torch.einsum('bhcp,bhpij->bhcij', between, left))
    scale = denominator(out[..., -1], total + M, eps).reciprocal().to(dtype)
    return _join(out[..., :-1] * scale[..., None], length).to(q.dtype)


def _running_max(y: Tensor, reverse: bool) -> tuple[Tensor, Tensor]:
    """What `cummax` gives of (b, heads, n, L), and what each chunk (b, heads, n) starts with.

    Doubling steps inside chunks, all pairs of chunks across.
    """
    chunks, size = y.shape[-2:]
    shift = 1
    while shift < size:
        fill = torch.full_like(y[..., :shift], NEVER)
        shifted = torch.cat([y[..., shift:], fill] if reverse else [fill, y[..., :-shift]], -1)
        y = torch.maximum(y, shifted)
        shift *= 2
    ends = y[..., 0 if reverse else -1]
    before = earlier(chunks, reverse, y.device, torch.bool, diagonal=False)
    starts = torch.where(before, ends[..., None, :], NEVER).amax(-1)
    return torch.maximum(y, starts[..., None]), starts


def _split(x: Tensor, chunk_size: int, fill: float = 0.0) -> Tensor:
    """(b, S, heads, ...) -> (b, heads, n, L, ...), filled up at the end of the tokens.

    By an index table: padding and reshaping would need proofs about a symbolic length.
    """
    length = x.shape[1]
    chunk = torch.arange((length + chunk_size - 1) // chunk_size, device=x.device)
    index = chunk[:, None] * chunk_size + torch.arange(chunk_size, device=x.device)
    x = x.movedim(2, 1)[:, :, index.clamp(max=length - 1)]
    real = (index < length).reshape(*index.shape, *[1] * (x.dim() - 4))
    return torch.where(real, x, fill).contiguous()


def _join(x: Tensor, length: int) -> Tensor:
    """(b, heads, n, L, d) -> (b, S, heads, d)."""
    token = torch.arange(length, device=x.device)
    return x[:, :, token // x.shape[3], token % x.shape[3]].transpose(1, 2)
