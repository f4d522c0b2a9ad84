"""Every implementation of every operator: whether it runs here, is right, and how fast it is."""

import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mmvssm.kernels import causal_conv, gated_norm, mlstm, pooled_norm, selective_scan, spectral_filter
from mmvssm.kernels.backend import SlowKernelWarning, choose
from mmvssm.kernels.operators import OPERATORS
from mmvssm.kernels.self_check import in_words, relative_error

from .finding import WARNING, Finding

SECONDS = 0.25  # spent on timing one implementation
LIMIT = 1e-4  # relative error against the definition in float64


Problem = Callable[[str | None], Tensor]


def problems(device: str, dtype: torch.dtype = torch.float32) -> dict[str, Problem]:
    """Operator -> a small problem of it, as a function of the backend."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(device, dtype)

    tokens, d, states, heads = 256, 32, 4, 2
    x, B, C = draw(1, tokens, d), draw(1, tokens, 1, states), draw(1, tokens, 1, states)
    dt, A = draw(1, tokens, 1, d), -draw(1, d, states).abs() - 0.1
    q, k, v = (draw(1, tokens, heads, d) for _ in range(3))
    igate, fgate = draw(1, tokens, heads), draw(1, tokens, heads) + 3
    taps, bias = draw(d, 1, 4), draw(d)
    image, weight = draw(1, 16, 16, d), draw(d, 16, 16)
    gate, gain = draw(1, heads, d), draw(d)
    return {
        'selective_scan': lambda backend: selective_scan(x, dt, A, B, C, backend=backend),
        'mlstm': lambda backend: mlstm(q, k, v, igate, fgate, backend=backend),
        'causal_conv': lambda backend: causal_conv(x, taps, bias, backend=backend),
        'spectral_filter': lambda backend: spectral_filter(image, weight, backend=backend),
        'pooled_norm': lambda backend: pooled_norm(q, gain, bias, backend=backend),
        'gated_norm': lambda backend: gated_norm(q, gate, gain, bias, x, backend=backend),
    }


def examine(device: str) -> tuple[list[dict[str, Any]], list[Finding]]:
    """A row for each operator and backend, and what is wrong with them.

    A row has operator, backend, `state` ('right', 'wrong' or why it does not run), seconds of one call of a small
    problem, and whether 'auto' takes it.
    """
    rows, found = [], []
    exact = problems('cpu', torch.float64)
    for operator, run in problems(device).items():
        wanted, chosen = exact[operator]('reference'), _chosen(operator, device)
        own = {each.name: _try(run, each.name, wanted) for each in OPERATORS[operator].implementations}
        rows += [{'operator': operator, 'backend': name, 'auto': name == chosen, **row} for name, row in own.items()]
        for name, row in own.items():
            if row['state'].startswith('wrong'):
                remedy = 'MMVSSM_BACKEND=blocked in the meantime; please report `mmvssm doctor --json`'
                found.append(Finding(WARNING, f'{operator} on {name}: {row["state"]}', remedy))
        best = _best(operator, device)
        if best and chosen != best:
            what = f'{operator} runs on {chosen!r}, many times slower than {best!r}: {own[best]["state"]}'
            found.append(Finding(WARNING, what, f'pip install --force-reinstall {best}'))
    return rows, found


def _try(run: Problem, backend: str, wanted: Tensor) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter('error', SlowKernelWarning)
        try:
            error = relative_error(run(backend), wanted)
        except Exception as problem:
            why = in_words(problem).partition(': ')[2]
            return {'state': why.rpartition('cannot use it here: ')[2], 'seconds': None}
    if not error <= LIMIT:
        return {'state': f'wrong numbers (relative error {error:.1e}, at most {LIMIT:.0e})', 'seconds': None}
    return {'state': 'right', 'seconds': _seconds(run, backend)}


def _seconds(run: Problem, backend: str) -> float:
    """The fastest of the calls that fit into the time."""
    fastest, end = float('inf'), time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        start = time.perf_counter()
        value = run(backend)
        if value.is_cuda:
            torch.cuda.synchronize()
        fastest = min(fastest, time.perf_counter() - start)
    return fastest


def _best(operator: str, device: str) -> str | None:
    """What `auto` would take if everything were in order."""
    return next((each.name for each in OPERATORS[operator].implementations if device in each.fastest_on), None)


def _chosen(operator: str, device: str) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', SlowKernelWarning)
        return choose(OPERATORS[operator], torch.zeros(1, device=device), 'auto')
