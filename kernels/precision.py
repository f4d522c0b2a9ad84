"""What a device computes in: float64, but not everywhere (not Apple's MPS, nor some XPUs); TF32."""

from functools import lru_cache

import torch
from torch import Tensor

HAVE_FLOAT64 = ('cpu', 'cuda', 'meta')


def widest(device: torch.device) -> torch.dtype:
    """float64 where `device` computes in it, else float32."""
    if device.type in HAVE_FLOAT64 or _computes_float64(device.type):
        return torch.float64
    return torch.float32


def widened(tensor: Tensor) -> Tensor:
    """`tensor` in the widest type of its device."""
    return tensor.to(widest(tensor.device))


def table_device(device: torch.device | None) -> torch.device | None:
    """Where to make tables for `device` in float64: there, or on the CPU."""
    if device is None or widest(torch.device(device)) == torch.float64:
        return device
    return torch.device('cpu')


def has_tf32(device: torch.device) -> bool:
    """Whether Triton multiplies matrices in TF32 on `device`: on NVIDIA's GPUs, of AMD's on gfx942 alone."""
    if torch.version.hip is None:
        return True
    return torch.cuda.get_device_properties(device).gcnArchName.split(':')[0] == 'gfx942'


@torch.compiler.assume_constant_result
def _computes_float64(device_type: str) -> bool:
    return _try_float64(device_type)


@lru_cache(None)
def _try_float64(device_type: str) -> bool:
    try:
        return torch.ones(2, dtype=torch.float64, device=device_type).cumsum(0)[1].item() == 2
    except Exception:  # a TypeError, a RuntimeError: each device has its own
        return False
