"""What the selective scan's kernels may cost at each published width on sm_90, just above what they do cost.

A change that costs less lowers its line; one that costs more has to say why. `python -m tests.kernels.counts` counts.
"""

from typing import NamedTuple

TRITON = '3.8.0'  # whose instructions these are; another release compiles to others
MOST_BINARIES = 12  # of one width over all sizes of a map: 5 kernels, of which 3 differ between large and small maps


class Budget(NamedTuple):
    """Instructions of an element-step in the loops of all kernels of a pass, and bytes of a thread's stack."""

    forward: float
    backward: float
    stack: int = 0


BUDGETS = {
