"""The launches of the pooled LayerNorm's Triton kernels; without Triton importable."""

import torch


def record(*, dtype, dim: int, batch: int = 2, length: int = 4000, branches: int = 4, target: str = 'sm_90') -> list:
    """Launches of the forward and backward pass."""
    from mmvssm.kernels.pooled_norm import triton_launch

    from ..aot import recording

    x = torch.empty(batch, length, branches, dim, device='meta', dtype=dtype)
    weight, bias = (torch.empty(dim, device='meta') for _ in range(2))
    with recording(triton_launch, target) as launches:
        y = triton_launch.forward(x, weight, bias, 1e-5)
        triton_launch.backward(y, x, weight, bias, 1e-5)
    return launches


WIDTHS = (192, 384, 768, 1536)  # of LocalVMamba-T's stages
FAST = {'pooled norm, d 192': dict(dtype=torch.float32, dim=192)}
SLOW = {f'pooled norm, d {dim}': dict(dtype=torch.float32, dim=dim) for dim in WIDTHS[1:]}
MANY = [dict(dtype=torch.bfloat16, dim=32, batch=70_000, length=130, branches=1)]
