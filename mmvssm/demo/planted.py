"""A problem whose best scan direction is known: at every place, what the last cue said before it along one order.

Most tokens hold noise; a few are cues, each +1 or -1. A layer that scans along the planted order meets the cue that
counts last, and has only to keep it until the next one; along any other order, its reverse included, other cues come
between.
"""

import torch
from torch import Tensor

from mmvssm import scans

SIDE = 14  # tokens a side
CUES = 0.15  # share of the tokens


def sample(order: str, number: int, seed: int, side: int = SIDE) -> tuple[Tensor, Tensor]:
    """Images and what is to be found in them.

    Args:
        order: the planted scan order.
        number: of images, N.
        seed: of their random numbers.
        side: pixels of an image's side; a token is a pixel.

    Returns:
        Images (N, 3, side, side): the cues' values, where they are, noise; and targets (N, side, side) of 1 or 0 where
        the last cue was +1 or -1, NaN before the first.
    """
    generator = torch.Generator().manual_seed(seed)
    tokens = side * side
    is_cue = torch.rand(number, tokens, generator=generator) < CUES
    value = torch.randint(0, 2, (number, tokens), generator=generator).float() * 2 - 1
    noise = torch.randn(number, tokens, generator=generator)
    images = torch.stack([value * is_cue, is_cue.float(), noise], dim=1).unflatten(2, (side, side))
    path = scans.table(order, side, side).long()
    path = path[path >= 0]
    step = torch.arange(tokens).expand(number, tokens)
    last = torch.where(is_cue[:, path], step, -1).cummax(dim=1).values
    along = torch.where(last < 0, torch.nan, value[:, path].gather(1, last.clamp(min=0)) > 0)
    targets = torch.empty(number, tokens).scatter(1, path.expand(number, tokens), along)
    return images, targets.unflatten(1, (side, side))
