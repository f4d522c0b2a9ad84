"""What a compiled selective scan takes."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor


class Tensors(NamedTuple):
    """The tensors of one call, as the caller of `selective_scan` gave them, in any strides.

    Attributes:
        x: (b, L, d), shared by the directions, or (b, L, K, d).
        dt: (b, L, K, R), or (b, L, K, d) without dt_weight.
        A: (K, d, N).
        B, C: (b, L, K, N).
        D, dt_bias: (K, d) or None.
        dt_weight: (K, d, R) or None.
        index: (K, S) int32, -1 at padding.
        lengths: (K,) int32; from step lengths[k] on, an order is all padding and may be skipped.
        straight: what `index` says where all orders go along rows or columns, as in `mmvssm.scans.Orders`; else empty.
    """

    x: Tensor
    dt: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor | None
    dt_bias: Tensor | None
    dt_weight: Tensor | None
    index: Tensor
    lengths: Tensor
    straight: Sequence[int] = ()

    @property
    def sizes(self) -> tuple[int, int, int, int, int]:
        """b, L, d, K, N."""
        K, _, N = self.A.shape
        return self.x.shape[0], self.x.shape[1], self.x.shape[-1], K, N

    @property
    def differentiable(self) -> tuple[Tensor | None, ...]:
        """All but the orders."""
        return self[:8]
