"""How long a call takes on the device; in a dry run everything runs once and nothing is timed."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from benchmarks.measure import event_ms, graph_ms

Call = Callable[[], object]


@dataclass(frozen=True)
class Clock:
    """Of a GPU; or of a dry run, where every time is 1 ms and stands for none."""

    device: str = 'cuda'
    dry: bool = False

    def graph_ms(self, call: Call, calls: int = 1) -> float:
        """Milliseconds of a call without its launch costs: `calls` of them are replayed as one CUDA graph."""
        return self._dry_ms(call) if self.dry else graph_ms(call, calls=calls)

    def event_ms(self, call: Call) -> float:
        """Milliseconds of a call as Python makes it, between two events."""
        return self._dry_ms(call) if self.dry else event_ms(call)

    @staticmethod
    def _dry_ms(call: Call) -> float:
        call()
        return 1.0

    def peak_mib(self, call: Call) -> float:
        """What a call allocates on top of what is there."""
        if self.dry:
            return self._dry_ms(call)
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
        call()
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() - held) / 2**20

    def empty_cache(self) -> None:
        """Raises RuntimeError where the device is lost."""
        if not self.dry:
            torch.cuda.synchronize()
            torch.cuda.empty_cache()
