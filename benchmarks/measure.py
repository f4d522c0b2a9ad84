"""The only place that times."""

import time
from collections.abc import Callable

import torch


def timed(call: Callable[[], object], device: str, budget: float = 2.0, least: int = 3) -> float:
    """Best time in milliseconds within `budget` seconds, at least `least` calls after one that warms up."""

    def once():
        start = time.perf_counter()
        call()
        if device == 'cuda':
            torch.cuda.synchronize()
        return (time.perf_counter() - start) * 1e3

    once()
    times, end = [], time.perf_counter() + budget
    while len(times) < least or (time.perf_counter() < end and len(times) < 100):
        times.append(once())
    return min(times)


def graph_ms(call: Callable[[], object], repeats: int = 10, calls: int = 1) -> float:
    """Milliseconds of GPU time of one `call`: `calls` of them, replayed as one CUDA graph."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(2):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(calls):
            call()
    return event_ms(graph.replay, repeats) / calls


def event_ms(call: Callable[[], object], repeats: int = 5) -> float:
    """Median milliseconds of `call` between CUDA events, after one call that warms up."""
    times = []
    for _ in range(repeats + 1):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return sorted(times[1:])[repeats // 2]
