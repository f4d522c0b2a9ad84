"""Sequences of 400,000 tokens: an image of 2,500 x 2,560 pixels at patch size 4."""

import pytest
import torch

from mmvssm import scans
from mmvssm.kernels import selective_scan
from mmvssm.testing import LIMITS, relative_rms

HEIGHT, WIDTH = 625, 640


def run(dtype: torch.dtype, backend: str) -> list[torch.Tensor]:
    """Output and gradients of a scan along two orders."""
    generator = torch.Generator().manual_seed(0)
    tokens = HEIGHT * WIDTH
    shapes = [(1, tokens, 3), (1, tokens, 2, 1), (1, tokens, 2, 2), (1, tokens, 2, 2)]
    x, dt, B, C = (torch.randn(shape, generator=generator).to(dtype).requires_grad_() for shape in shapes)
    A = -torch.rand(2, 3, 2, generator=generator).to(dtype)
    weight = torch.rand(2, 3, 1, generator=generator).to(dtype)
    bias = torch.full((2, 3), -3.0, dtype=dtype)  # steps of 0.05: the middle of Mamba's start
    orders = scans.orders(('v_flip', 'w7'), HEIGHT, WIDTH)
    y = selective_scan(x, dt, A, B, C, None, bias, dt_weight=weight, orders=orders, backend=backend)
    return [y.detach(), *torch.autograd.grad(y.square().mean(), [x, dt, B, C])]


@pytest.mark.slow
def test_the_compiled_scan_is_the_scan_in_double_precision():
    pytest.importorskip('numba')
    found, wanted = run(torch.float32, 'numba'), run(torch.float64, 'blocked')
    errors = [relative_rms(a, b) for a, b in zip(found, wanted, strict=True)]
    assert errors[0] <= LIMITS[torch.float32][0]
    assert max(errors[1:]) <= LIMITS[torch.float32][1]
