"""How much memory a call needs."""

import ctypes
import re
from collections.abc import Callable
from pathlib import Path

import torch


def peak_mib(call: Callable[[], object], device: str) -> float:
    """MiB that `call` needs on top of what is there (Linux or CUDA)."""
    if device.startswith('cuda'):
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    if not Path('/proc/self/clear_refs').exists():
        return float('nan')
    if hasattr(libc := ctypes.CDLL(None), 'malloc_trim'):
        libc.malloc_trim(0)  # pages that earlier calls left would count as there
    Path('/proc/self/clear_refs').write_text('5')

    def status(field: str) -> float:
        return int(re.findall(rf'{field}:\s+(\d+)', Path('/proc/self/status').read_text())[0]) / 1024

    before = status('VmRSS')
    call()
    return max(0.0, status('VmHWM') - before)
