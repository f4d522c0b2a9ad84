"""What the selective scan's kernels may cost at each published width on sm_90, just above what they do cost.

A change that costs less lowers its line; one that costs more has to say why. `python -m tests.kernels.counts` counts,
`carry` for all states.
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
    'VMamba-T, S: d 96, R 6, bf16': Budget(58, 154),
    'VMamba-T, S: d 192, R 12, bf16': Budget(61, 150),
    'VMamba-T, S: d 384, R 24, bf16': Budget(54, 147),
    'VMamba-T, S: d 768, R 48, bf16': Budget(58, 176),
    'VMamba-B: d 128, R 8, bf16': Budget(61, 147),
    'VMamba-B: d 256, R 16, bf16': Budget(61, 148),
    'VMamba-B: d 512, R 32, bf16': Budget(57, 169),
    'VMamba-B: d 1024, R 64, bf16': Budget(58, 176),
    'LocalVMamba: d 192, R 6, N 16, bf16': Budget(330, 679, stack=8),
    'LocalVMamba: d 384, R 12, N 16, bf16': Budget(330, 669, stack=24),
    'LocalVMamba: d 768, R 24, N 16, bf16': Budget(372, 712),
    'LocalVMamba: d 1536, R 48, N 16, bf16': Budget(513, 827, stack=8),
    'VMamba-T, S: d 96, R 6, fp32': Budget(98, 263),
    'VMamba-T, S: d 192, R 12, fp32': Budget(99, 262),
    'VMamba-T, S: d 384, R 24, fp32': Budget(136, 372),
    'VMamba-T, S: d 768, R 48, fp32': Budget(210, 651),
    'VMamba-B: d 128, R 8, fp32': Budget(99, 261),
    'VMamba-B: d 256, R 16, fp32': Budget(98, 259),
    'VMamba-B: d 512, R 32, fp32': Budget(135, 410, stack=8),
    'VMamba-B: d 1024, R 64, fp32': Budget(208, 645),
    'LocalVMamba: d 192, R 6, N 16, fp32': Budget(323, 714, stack=8),
    'LocalVMamba: d 384, R 12, N 16, fp32': Budget(323, 714, stack=16),
    'LocalVMamba: d 768, R 24, N 16, fp32': Budget(366, 798, stack=16),
    'LocalVMamba: d 1536, R 48, N 16, fp32': Budget(505, 1024, stack=80),
}
