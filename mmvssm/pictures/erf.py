"""Effective receptive fields: how much each pixel of the input matters to the middle of the last map.

Luo et al., NeurIPS 2016; drawn as in RepLKNet (Ding et al., CVPR 2022): the gradient of the central token of the last
map, its absolute value summed over channels and averaged over inputs, on a logarithmic scale.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from .figure import colour_bar, panels, show

DECADES = 4  # of the scale
SHARES = (0.5, 0.9, 0.99)
Maps = Callable[[Tensor], Sequence[Tensor]]


def receptive_field(maps: Maps, images: Tensor) -> np.ndarray:
    """(H, W), its largest value 1.

    Args:
        maps: images (B, C, H, W) -> feature maps (B, C', H', W'), the last of which is looked at.
        images: inputs, one at a time so that memory stays that of one.
    """
    total: np.ndarray = np.zeros(images.shape[2:])
    for image in images.split(1):
        image = image.detach().clone().requires_grad_()
        last = maps(image)[-1]
        middle = last[:, :, last.shape[2] // 2, last.shape[3] // 2].sum()
        (gradient,) = torch.autograd.grad(middle, image)
        total += gradient.abs().sum((0, 1)).double().cpu().numpy()
    return total / max(total.max(), np.finfo(float).tiny)


def area(field: np.ndarray, share: float) -> float:
    """Side of the smallest set of pixels that holds a share of the field, as a fraction of the image's side."""
    values = np.sort(field.ravel())[::-1].cumsum()
    return float(np.sqrt((np.searchsorted(values, share * values[-1]) + 1) / field.size))


def draw_receptive_fields(fields: Mapping[str, np.ndarray], columns: int = 5) -> Figure:
    """Panels side by side on one logarithmic scale, each with the side of the square that would hold half, 90 and 99 %.

    fields: name -> :func:`receptive_field`.
    """
    figure, axes = panels(len(fields), columns, size=(2.3, 2.75))
    for axis, (name, field) in zip(axes, fields.items()):
        shown = show(axis, np.log10(np.maximum(field, 10.0**-DECADES)), name, cmap='inferno', vmin=-DECADES, vmax=0)
        sides = ', '.join(f'{100 * share:.0f} %: {area(field, share):.2f}' for share in SHARES)
        axis.set_xlabel(sides, fontsize=7)
    colour_bar(figure, shown, axes, 'gradient, log10')
    return figure
