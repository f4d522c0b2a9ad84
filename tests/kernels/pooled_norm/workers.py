"""What the interpreting worker runs."""

import torch

from mmvssm.testing import relative_rms


def _problem(dtype, shape, strided: bool):
    b, L, K, d = shape
    torch.manual_seed(0)
    x = torch.randn(b, K, L, 2 * d if strided else d).to(dtype)
    x = x[..., ::2].transpose(1, 2) if strided else x.transpose(1, 2).contiguous()
    weight, bias, dy = torch.randn(d), torch.randn(d), torch.randn(b, K, d)
    return x, weight, bias, dy


def results(dtype, shape, strided: bool, has_bias: bool, backend: str, wide: bool = False) -> list[torch.Tensor]:
    """y and the gradients; `wide` computes all in float64."""
    from mmvssm.kernels import pooled_norm

    x, weight, bias, dy = _problem(dtype, shape, strided)
    tensors = [x, weight, bias] if has_bias else [x, weight]
    leaves = [(z.double() if wide else z).detach().requires_grad_() for z in tensors]
    y = pooled_norm(*leaves, out_dtype=torch.float64 if wide else torch.float32, backend=backend)
    return [y.detach(), *torch.autograd.grad(y, leaves, dy.to(y.dtype))]


def errors(dtype, shape, strided: bool = False, has_bias: bool = True) -> list[float]:
    """Relative RMS errors of Triton's results against the definition in float64."""
    wanted = results(dtype, shape, strided, has_bias, 'reference', wide=True)
    return [relative_rms(a, b) for a, b in zip(results(dtype, shape, strided, has_bias, 'triton'), wanted)]


def repeats(dtype, shape) -> bool:
    """Whether results are bitwise the same twice."""
    first, second = (results(dtype, shape, False, True, 'triton') for _ in range(2))
    return all(torch.equal(a, b) for a, b in zip(first, second))
