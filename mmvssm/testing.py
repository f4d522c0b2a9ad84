"""What tests and benchmarks measure by: the error, its limits, memory that shows what was not written."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

# relative RMS errors of kernels against the float64 definition: of the output, of the gradients
LIMITS = {torch.float32: (1e-6, 1e-5), torch.float16: (2e-3, 5e-3), torch.bfloat16: (8e-3, 2e-2)}


def relative_rms(found: Tensor, wanted: Tensor) -> float:
    """Root mean square of the difference over that of what is wanted (1e-300 at least); NaN where `found` has any."""
    difference, scale = (found.double() - wanted.double()).square().mean(), wanted.double().square().mean()
    return (difference / scale.clamp(min=1e-300)).sqrt().item()


@contextmanager
def poisoned_memory() -> Iterator[None]:
    """New memory is filled with NaN, and operations are deterministic."""
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)
