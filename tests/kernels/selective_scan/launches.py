"""The launches of the selective scan's Triton kernels that are compiled ahead of time; without Triton importable."""

import torch


def _scan(
    N: int,
    dtype,
    d: int,
    R: int | None,
    merge: bool,
    shared: bool,
    deterministic: bool,
    straight: bool,
    batch: int,
    size: tuple[int, int],
) -> None:
    """Forward and backward of one scan in four directions, along rows and columns where `straight`."""
    from mmvssm.kernels.selective_scan import triton_launch
    from mmvssm.kernels.selective_scan.tensors import Tensors

    b, L, K = batch, size[0] * size[1], 4
    empty = {'device': 'meta', 'dtype': dtype}
    x = torch.empty((b, L, d) if shared else (b, L, K, d), **empty)
    rank = R or 0
    projected = torch.empty(b, L, K, rank + 2 * N, **empty)  # dt, B and C are parts of one tensor in every model
    dt, B, C = projected.split([rank, N, N], dim=-1)
    if R is None:
        dt = torch.empty(b, L, K, d, **empty)
    weight = None if R is None else torch.empty(K, d, R, device='meta')
    parameters = (torch.empty(K, d, device='meta'), torch.empty(K, d, device='meta'), weight)
    A = torch.empty(K, d, N, device='meta')
    orders = torch.empty(K, L, device='meta', dtype=torch.int32), torch.empty(K, device='meta', dtype=torch.int32)
    cross = (*size, 0b11_10_01_00) if straight else ()
    tensors = Tensors(x, dt, A, B, C, *parameters, *orders, cross)
    torch.use_deterministic_algorithms(deterministic)
    try:
        y, carries = triton_launch.forward(tensors, True, merge, torch.float32, True)
        triton_launch.backward(y, carries, tensors, True, merge)
    finally:
        torch.use_deterministic_algorithms(False)


def record(
    every_tile: bool = False,
    batch: int = 2,
    size: tuple[int, int] = (100, 160),
    straight: bool = True,
    target: str = 'sm_90',
    **scan,
) -> list:
    """Launches of one scan; with `every_tile` those of all tiles in the lists, else of the ones in use."""
    from mmvssm.kernels.selective_scan import triton_launch

    from ..aot import recording

    tiles = triton_launch.TILES
    longest = max(map(len, tiles.values())) if every_tile else 1
    launches = []
    try:
        for i in range(longest):
            triton_launch.TILES = {key: [choices[min(i, len(choices) - 1)]] for key, choices in tiles.items()}
            with recording(triton_launch, target) as recorded:
                _scan(batch=batch, size=size, straight=straight, **scan)
            launches += recorded
    finally:
        triton_launch.TILES = tiles
    return launches


_VMAMBA = dict(N=1, dtype=torch.bfloat16, d=384, R=24, merge=True, shared=True, deterministic=False)
FAST = {'selective scan, VMamba bf16': dict(_VMAMBA)}
SLOW = {
    'selective scan, VMamba bf16, every tile': dict(_VMAMBA, every_tile=True),
    'selective scan, VMamba fp32, every tile': dict(_VMAMBA, dtype=torch.float32, every_tile=True),
    'selective scan, VMamba fp16, deterministic': dict(_VMAMBA, dtype=torch.float16, deterministic=True),
    'selective scan, one state by tables, bf16, every tile': dict(_VMAMBA, straight=False, every_tile=True),
    'selective scan, one state by tables, fp32': dict(_VMAMBA, straight=False, dtype=torch.float32),
    'selective scan, 16 states bf16, every tile': dict(_VMAMBA, N=16, every_tile=True),
    'selective scan, 16 states fp32, every tile': dict(_VMAMBA, N=16, dtype=torch.float32, every_tile=True),
    'selective scan, 16 states fp16, rank 64, unmerged, deterministic': dict(
        _VMAMBA, N=16, R=64, dtype=torch.float16, merge=False, deterministic=True
    ),
    'selective scan, 3 states, expanded dt, odd channels, input for each direction': dict(
        _VMAMBA, N=3, R=None, d=100, shared=False
    ),
}
MANY = [dict(_VMAMBA, straight=straight, batch=70_000, size=(5, 8)) for straight in (True, False)]
MANY.append(dict(MANY[1], N=16))
