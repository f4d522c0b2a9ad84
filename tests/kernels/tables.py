"""Operators that exist in a test alone."""

from mmvssm.kernels.backend import choose
from mmvssm.kernels.operators import Implementation, Operator

FACTS = {
    'numba': dict(compiled=True, fastest_on=('cpu', 'meta')),
    'triton': dict(compiled=True, fastest_on=('cuda',)),
}


def resolve(op: str, tensor, backend: str | None, available: dict[str, str]) -> str:
    """What is chosen of an operator whose implementations cannot run for these reasons, '' for none."""
    table = [
        Implementation(name, why_not=lambda _, why=why: why, **FACTS.get(name, {})) for name, why in available.items()
    ]
    return choose(Operator(op, tuple(table)), tensor, backend)
