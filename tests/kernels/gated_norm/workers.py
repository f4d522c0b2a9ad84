"""What the interpreting worker runs."""

import torch

from mmvssm.testing import relative_rms


def problem(dtype, shape, strided: bool = False) -> tuple[list[torch.Tensor], torch.Tensor]:
    """The five tensors and the output's gradient; y and the norm are float32 at least."""
    b, L, K, d = shape
    torch.manual_seed(0)
    wide = torch.promote_types(dtype, torch.float32)
    y = torch.randn(b, K, L, 2 * d, dtype=wide)[..., ::2].transpose(1, 2)
    z = torch.randn(b, L, 2 * d).to(dtype)[..., d:]
    if not strided:
        y, z = y.contiguous(), z.contiguous()
    tensors = [y, torch.rand(b, K, d).to(dtype), torch.randn(d, dtype=wide), torch.randn(d, dtype=wide), z]
    return tensors, torch.randn(b, L, d).to(dtype)


def results(dtype, shape, strided: bool, backend: str, wide: bool = False) -> list[torch.Tensor]:
    """The output and the gradients; `wide` computes all in float64."""
    from mmvssm.kernels import gated_norm

    tensors, dout = problem(dtype, shape, strided)
    leaves = [(tensor.double() if wide else tensor).detach().requires_grad_() for tensor in tensors]
    out = gated_norm(*leaves, backend=backend)
    return [out.detach(), *torch.autograd.grad(out, leaves, dout.to(out.dtype))]


def errors(dtype, shape, strided: bool = False) -> list[float]:
    """Relative RMS errors of Triton's results against the definition in float64."""
    wanted = results(dtype, shape, strided, 'reference', wide=True)
    return [relative_rms(a, b) for a, b in zip(results(dtype, shape, strided, 'triton'), wanted)]


def repeats(dtype, shape) -> bool:
    """Whether results are bitwise the same twice."""
    first, second = (results(dtype, shape, False, 'triton') for _ in range(2))
    return all(torch.equal(a, b) for a, b in zip(first, second))
