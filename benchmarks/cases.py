"""Shapes of published models, and random inputs of them."""

from functools import partial

import torch
from torch import Tensor

from mmvssm import scans

NAMES = ('x', 'dt', 'A', 'B', 'C', 'D', 'dt_bias', 'dt_weight')
LOCAL = ('h', 'v_flip', 'w2', 'w7')
SHAPES = {  # batch, height, width, channels, states, dt rank (None: expanded), orders
    'core_n16': (1, 64, 64, 384, 16, None, ('h',)),
    'core_n1': (1, 64, 64, 384, 1, None, ('h',)),
    'cross_n16': (1, 64, 64, 384, 16, 24, scans.CROSS_SCAN),
    'cross_n1': (1, 64, 64, 384, 1, 24, scans.CROSS_SCAN),
    **{
        f'{model}_{size}_stage{i + 1}': (2, H >> i, W >> i, width << i, N, (96 << i) // 16, orders)
        for model, width, N, orders in (('vmamba_t', 96, 1, scans.CROSS_SCAN), ('localvmamba_t', 192, 16, LOCAL))
        for size, H, W in (('224', 56, 56), ('512', 128, 128), ('800x1280', 200, 320))
        for i in range(4)
    },
}
MODELS = {'model_vmamba_t_512': ('vmamba_tiny_s1l8', 512), 'model_localvmamba_t_512': ('localvmamba_tiny', 512)}
VIL = {'vil_t_800x1280': (1, 4000, 4, 96), 'vil_s_800x1280': (1, 4000, 4, 192)}  # batch, tokens, heads, head width
LOOP_LIMIT = 1 << 27  # elements of the loop's largest tensor; above, it is left out


def inputs(shape, device, dtype):
    b, H, W, d, N, rank, names = shape
    torch.manual_seed(0)
    L, K = H * W, len(names)
    projected = torch.randn(b, L, K, (rank or d) + 2 * N)
    low, B, C = projected.split([rank or d, N, N], dim=-1)
    A = -torch.arange(1.0, N + 1).expand(K, d, N).contiguous()
    weight = torch.randn(K, d, rank) * rank**-0.5 if rank else None
    tensors = [torch.randn(b, L, d).to(dtype), low.to(dtype), A, B.to(dtype), C.to(dtype), torch.ones(K, d)]
    tensors += [torch.randn(K, d) - 4, weight]
    return [None if z is None else z.to(device) for z in tensors], scans.orders(names, H, W, device)


def scan_inputs(b, L, K, d, N, rank, dtype, bias=-4.0, device='cuda') -> list[Tensor]:
    """Random inputs of one fused scan, laid out as a model's: dt, B and C are parts of one projection."""
    generator = None if device == 'meta' else torch.Generator(device).manual_seed(0)
    draw = partial(torch.randn, generator=generator, device=device)
    projected = draw(b, L, K, rank + 2 * N).to(dtype)
    x, weight = draw(b, L, d).to(dtype), draw(K, d, rank) * rank**-0.5
    A = -torch.arange(1.0, N + 1, device=device).expand(K, d, N).contiguous()
    tensors = [x, *projected.split([rank, N, N], dim=-1), draw(K, d), draw(K, d) + bias, weight]
    tensors.insert(2, A)
    return tensors


def mlstm_inputs(b, S, heads, dim, dtype, device='cuda') -> list[Tensor]:
    """Random q, k, v, input gates and forget gates of one mLSTM."""
    draw = partial(torch.randn, device=device)
    gates = draw(b, S, heads), draw(b, S, heads) + 3
    return [*(draw(b, S, heads, dim).to(dtype) for _ in range(3)), *gates]
