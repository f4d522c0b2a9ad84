"""The public causal convolution: choice of the implementation, call."""

import torch
from torch import Tensor

from mmvssm.tracing import is_tracing

from ..backend import choose
from ..derivatives import transformed
from ..operators import OPERATORS, Implementation, Operator
from .blocked import causal_conv_blocked
from .op import NAME, CausalConv
from .reference import causal_conv_reference

OPERATORS[NAME] = Operator(
    NAME,
    (
        Implementation('blocked', function=causal_conv_blocked),
        Implementation('reference', function=causal_conv_reference),
    ),
)


def causal_conv(
    x: Tensor, weight: Tensor, bias: Tensor | None, reverse: bool = False, *, backend: str | None = None
) -> Tensor:
    """Depthwise convolution of x (B, L, d) along L that looks back only (ahead only if `reverse`).

    Args:
        x: (B, L, d).
        weight: (d, 1, width); its last tap meets the current token.
        bias: (d,) or None.
        reverse: equals flipping the sequence, convolving, and flipping back.
        backend: 'reference', 'blocked' or 'auto'; None is what `use_backend` or MMVSSM_BACKEND say.

    Returns:
        (B, L, d).
    """
    name = choose(OPERATORS[NAME], x, backend)
    needs_grad = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    if name == 'blocked' and needs_grad and not (is_tracing() or transformed()):  # these hold no Function
        return CausalConv.apply(x, weight, bias, reverse)
    function = OPERATORS[NAME][name].function
    assert function is not None
    return function(x, weight, bias, reverse)
