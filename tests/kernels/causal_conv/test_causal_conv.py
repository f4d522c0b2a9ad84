"""The causal convolution against its definition."""

import pytest
import torch
import torch.nn.functional as F

from mmvssm.kernels import causal_conv


@pytest.mark.parametrize('length', [1, 2, 3, 4, 17])
@pytest.mark.parametrize('reverse', [False, True], ids=['back', 'ahead'])
def test_it_is_the_padded_convolution(length, reverse):
    x, weight, bias = torch.randn(2, length, 6), torch.randn(6, 1, 4), torch.randn(6)
    sequence = x.flip(1) if reverse else x
    expected = F.conv1d(F.pad(sequence.mT, (3, 0)), weight, bias, groups=6).mT
    expected = expected.flip(1) if reverse else expected
    for backend in ('auto', 'blocked', 'reference'):
        torch.testing.assert_close(causal_conv(x, weight, bias, reverse, backend=backend), expected)


@pytest.mark.parametrize('reverse', [False, True], ids=['back', 'ahead'])
def test_it_has_the_right_gradients(reverse):
    inputs = [torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in [(2, 5, 3), (3, 1, 4), (3,)]]
    torch.autograd.gradcheck(lambda x, w, b: causal_conv(x, w, b, reverse), inputs)
    torch.autograd.gradgradcheck(lambda x, w, b: causal_conv(x, w, b, reverse), inputs)


def test_it_trains_under_autocast():
    conv = torch.nn.Conv1d(6, 6, 4, groups=6)
    x = torch.randn(2, 9, 6, requires_grad=True)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        y = causal_conv(x, conv.weight, conv.bias)
    assert y.dtype == torch.bfloat16
    y.float().square().sum().backward()
    assert [t.grad.dtype for t in (x, conv.weight, conv.bias)] == [torch.float32] * 3
