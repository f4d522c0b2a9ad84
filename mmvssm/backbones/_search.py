"""Layers that hold candidates of scan orders and learn which of them to keep: the supernet of a search.

The published search (LocalMamba, arXiv 2403.09338, section on the direction search) has it for LocalVim and
LocalVMamba; here VMamba's and Vim's blocks have it too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmvssm import scans
from mmvssm.settings import refuse


@dataclass(frozen=True)
class Searched:
    """What a search changes in a family.

    Attributes:
        field: the constructor's argument that holds the layers' orders.
        count: how many orders a layer has, where that is fixed.
    """

    field: str
    count: int | None = None


class Choice(nn.Module):
    """One logit for each candidate; the branches' outputs, each normed, are weighed by the logits' softmax and summed.

    The norm has no parameters. It makes the branches alike in size, so that a weight says how much a branch matters.

    Args:
        candidates: the scan orders, one a branch.

    Attributes:
        temperature: the logits are divided by it: below 1 sharpens the softmax.
    """

    temperature = 1.0

    def __init__(self, candidates: Sequence[scans.Order]):
        super().__init__()
        self.candidates = tuple(candidates)
        self.weights = nn.Parameter(1e-3 * torch.randn(len(self.candidates), 1, 1, 1))

    def probabilities(self) -> Tensor:
        """Shares (K,) of the branches."""
        return (self.weights.flatten() / self.temperature).softmax(dim=0)

    def forward(self, y: Tensor) -> Tensor:
        """(B, L, K, d), the branches' outputs -> (B, L, d)."""
        normed = F.layer_norm(y, y.shape[-1:])
        share = self.probabilities().to(normed.dtype)
        return (share @ normed).to(y.dtype)

    def extra_repr(self) -> str:
        return f'candidates={self.candidates}'


def relate_candidates(
    fields: SimpleNamespace, orders: str, num_layers: int, count: int | None = None
) -> list[tuple[scans.Order, ...] | None]:
    """The layers' orders, which are the field `orders`; a ValueError unless they and `candidates` go together.

    count: how many orders a layer has, where that is fixed.
    """
    layers = scans.layer_orders(orders, getattr(fields, orders), num_layers, count)
    candidates = fields.candidates
    if candidates is None:
        return layers
    for order in scans.check_orders('candidates', candidates):
        if list(candidates).count(order) > 1:
            refuse('candidates', candidates, f'each order once; {order!r} is there twice')
    if None not in layers:
        refuse('candidates', candidates, f'None beside {orders}, which leaves no layer a choice')
    return layers


def with_candidates(
    layers: Sequence[tuple[scans.Order, ...] | None],
    candidates: Sequence[scans.Order] | None,
    default: tuple[scans.Order, ...] = (),
) -> list[tuple[tuple[scans.Order, ...], bool]]:
    """(orders, whether they are candidates) of each layer; one without its own has `candidates`, else `default`."""
    without = (default, False) if candidates is None else (tuple(candidates), True)
    return [without if own is None else (own, False) for own in layers]
