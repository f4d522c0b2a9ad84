"""Inputs and the measure of error of the mLSTM tests."""

import torch
from torch import Tensor

NAMES = ('q', 'k', 'v', 'igate', 'fgate')


def make_inputs(
    length: int,
    dim: int,
    *,
    batch: int = 2,
    heads: int = 2,
    dtype: torch.dtype = torch.float32,
    gate_std: float = 1.0,
    gate_mean: float = 0.0,
    positive: bool = False,
) -> tuple[Tensor, ...]:
    """q, k, v, igate, fgate, all requiring gradients, drawn in `dtype`'s own values.

    `positive` q and k keep q . n away from zero: then the cell is well conditioned, and its error that of the kernel.
    """
    generator = torch.Generator().manual_seed(length * 1000 + dim)
    q, k, v = (torch.randn(batch, length, heads, dim, generator=generator, dtype=torch.float64) for _ in range(3))
    gates = [torch.randn(batch, length, heads, generator=generator, dtype=torch.float64) for _ in range(2)]
    if positive:
        q, k = q.abs(), k.abs()
    inputs = (q, k, v, *(gate_mean + gate_std * gate for gate in gates))
    return tuple(x.to(dtype).requires_grad_() for x in inputs)


def grad_output(inputs: tuple[Tensor, ...]) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.randn(inputs[0].shape, generator=generator, dtype=torch.float64).to(inputs[0].dtype)


def with_gradients(function, inputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
    """Output and gradients of the sum of `grad_output * function(*inputs)`."""
    h = function(*inputs)
    grads = torch.autograd.grad(h, inputs, grad_output(inputs).to(h.dtype))
    return {'h': h.detach(), **dict(zip(NAMES, grads))}


def exactly(function, inputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
    """The same in float64, on the same values."""
    return with_gradients(function, tuple(x.detach().double().requires_grad_() for x in inputs))


def rms_error(found: Tensor, expected: Tensor) -> float:
    """Root mean square of the difference, over that of the expected values."""
    assert found.isfinite().all()
    size = expected.double().square().mean().sqrt().item()
    error = (found.double() - expected.double()).square().mean().sqrt().item()
    return error / size if size else error


def errors(found: dict[str, Tensor], expected: dict[str, Tensor]) -> dict[str, float]:
    return {name: rms_error(found[name], expected[name]) for name in expected}
