"""The launches of the mLSTM's Triton kernels; without Triton importable."""

import torch


def record(
    *, dtype, dim: int, batch: int = 2, length: int = 4000, reverse: bool = False, target: str = 'sm_90'
) -> list:
    """Launches of the forward and backward pass of `batch` times two heads."""
    from mmvssm.kernels.mlstm import triton_launch
    from mmvssm.kernels.mlstm.gates import gate_terms

    from ..aot import recording

    q, k, v, dh = (torch.empty(batch, length, 2, dim, device='meta', dtype=dtype) for _ in range(4))
    igate, fgate = (torch.empty(batch, length, 2, device='meta') for _ in range(2))
    gates = gate_terms(igate, fgate, reverse=reverse)
    options = dict(reverse=reverse, chunk_size=triton_launch.chunk_size_for(0, dim, None), eps=1e-6)
    with recording(triton_launch, target) as launches:
        h, normaliser = triton_launch.forward(q, k, v, gates, **options)
        triton_launch.backward(dh, q, k, v, h, normaliser, gates, **options)
    return launches


FAST = {'mLSTM, ViL bf16': dict(dtype=torch.bfloat16, dim=96)}
SLOW = {}
MANY = [dict(dtype=torch.bfloat16, dim=32, batch=70_000, length=130)]  # three chunks
