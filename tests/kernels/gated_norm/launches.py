"""The launches of the gated sum's Triton kernels; without Triton importable."""

import torch


def record(*, dtype, dim: int, batch: int = 2, length: int = 4000, branches: int = 4, target: str = 'sm_90') -> list:
    """Launches of the forward and backward pass; y is float32, as scans give it, and z half of another tensor."""
    from mmvssm.kernels.gated_norm import triton_launch

    from ..aot import recording

    y = torch.empty(batch, length, branches, dim, device='meta')
    gate = torch.empty(batch, branches, dim, device='meta', dtype=dtype)
    weight, bias = (torch.empty(dim, device='meta') for _ in range(2))
    z = torch.empty(batch, length, 2 * dim, device='meta', dtype=dtype)[..., dim:]
    with recording(triton_launch, target) as launches:
        out = triton_launch.forward(y, gate, weight, bias, z, 1e-5, dtype)
        triton_launch.backward(out, y, gate, weight, bias, z, 1e-5)
    return launches


WIDTHS = (192, 384, 768, 1536)  # of LocalVMamba-T's stages
FAST = {'gated norm, d 192': dict(dtype=torch.bfloat16, dim=192)}
SLOW = {f'gated norm, d {dim}': dict(dtype=torch.bfloat16, dim=dim) for dim in WIDTHS[1:]}
MANY = [dict(dtype=torch.bfloat16, dim=32, batch=70_000, length=130)]
