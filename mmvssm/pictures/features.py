"""What a backbone's maps hold, what each scan direction adds, and how far one token is heard."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor, nn

from mmvssm.errors import UsageError
from mmvssm.kernels import register, use_backend
from mmvssm.kernels.operators import OPERATORS

from .figure import colour_bar, panels, show

Maps = Callable[[Tensor], Sequence[Tensor]]
DECADES = 4


def draw_features(image: np.ndarray, maps: Mapping[str, Tensor]) -> Figure:
    """The image; then each map twice: its first principal components as red, green and blue, and its mean strength.

    Args:
        image: (H, W, 3) uint8.
        maps: name -> (C, h, w), finest first.
    """
    number = len(maps) + 1
    figure, axes = panels(2 * number, number, size=(2.2, 2.2 * image.shape[0] / image.shape[1] + 0.25))
    show(axes[0], image, 'image')
    axes[number].axis('off')
    axes[number].text(
        0.5, 0.5, 'above: principal\ncomponents as RGB\n\nhere: strength', ha='center', va='center', fontsize=8
    )
    for i, (name, values) in enumerate(maps.items(), start=1):
        show(axes[i], principal_colours(values), f'{name}, {values.shape[1]} x {values.shape[2]}')
        show(axes[number + i], values.float().norm(dim=0).numpy(), f'{values.shape[0]} channels', cmap='viridis')
    return figure


def principal_colours(values: Tensor) -> np.ndarray:
    """(C, h, w) -> (h, w, 3) in 0 to 1: the projections on the three main directions of the channels, spread."""
    flat = values.detach().float().flatten(1).T
    flat = flat - flat.mean(0)
    _, _, axes = torch.linalg.svd(flat, full_matrices=False)
    projected = flat @ axes[:3].T
    projected = F.pad(projected, (0, 3 - projected.shape[1]))
    low, high = projected.quantile(0.01, 0), projected.quantile(0.99, 0)
    spread = ((projected - low) / (high - low).clamp_min(1e-9)).clamp(0, 1)
    return spread.view(*values.shape[1:], 3).numpy()


def scan_outputs(model: nn.Module, images: Tensor) -> list[Tensor]:
    """What each selective scan of a forward pass adds, directions apart: (B, L, K, d), in the order they ran.

    Without the term D u, which is the same in every direction. Runs the model on plain PyTorch.

    Raises:
        UsageError: no layer scans.
    """
    found: list[Tensor] = []
    blocked = OPERATORS['selective_scan']['blocked'].function
    assert blocked is not None

    def watched(*arguments):
        x, dt, A, B, C, _, *rest, _, out_dtype = arguments
        found.append(blocked(x, dt, A, B, C, None, *rest, False, out_dtype))
        return blocked(*arguments)

    with register('selective_scan', 'watched', watched), use_backend('watched'), torch.no_grad():
        model(images)
    if not found:
        raise UsageError(f'{type(model).__name__} has no selective scan; `mmvssm draw features` shows its maps')
    return found


def draw_directions(image: np.ndarray, outputs: Mapping[str, Tensor], grid: tuple[int, int]) -> Figure:
    """The image, then the strength of what each direction of a layer adds, on one scale.

    Args:
        image: (H, W, 3) uint8.
        outputs: name of a direction -> (L, d).
        grid: rows and columns of the L tokens.
    """
    maps = {name: values.float().norm(dim=-1).view(grid).numpy() for name, values in outputs.items()}
    top = max(float(one.max()) for one in maps.values())
    figure, axes = panels(len(maps) + 1, len(maps) + 1, size=(2.2, 2.2 * grid[0] / grid[1] + 0.25))
    show(axes[0], image, 'image')
    for axis, (name, values) in zip(axes[1:], maps.items()):
        shown = show(axis, values, name, cmap='viridis', vmin=0, vmax=top)
    colour_bar(figure, shown, axes, 'strength')
    return figure


def response(maps: Maps, image: Tensor, place: tuple[int, int], side: int) -> list[Tensor]:
    """How much each place of each map moves when one square of the image does, to first order (a Jacobian product).

    Args:
        maps: images -> feature maps.
        image: (1, C, H, W).
        place: row and column of the square, counted in squares.
        side: of the square, in pixels: a token's.

    Returns:
        (h, w) for each map, the largest value of each 1.

    Raises:
        UsageError: the place lies outside of the image.
    """
    top, left = place[0] * side, place[1] * side
    if not (0 <= top < image.shape[2] and 0 <= left < image.shape[3]):
        rows, columns = image.shape[2] // side, image.shape[3] // side
        raise UsageError(f'there is no token {place}: rows are 0 to {rows - 1}, columns 0 to {columns - 1}')
    change = torch.zeros_like(image)
    change[:, :, top : top + side, left : left + side] = 1
    with torch.no_grad():
        _, moved = torch.func.jvp(lambda x: tuple(maps(x)), (image,), (change,))
    strengths = [one[0].float().norm(dim=0) for one in moved]
    return [one / one.max().clamp_min(torch.finfo(one.dtype).tiny) for one in strengths]


def draw_response(image: np.ndarray, responses: Mapping[str, Tensor], place: tuple[int, int], side: int) -> Figure:
    """The image with the square that moves, then each map's response on one logarithmic scale."""
    number = len(responses) + 1
    figure, axes = panels(number, number, size=(2.2, 2.2 * image.shape[0] / image.shape[1] + 0.25))
    show(axes[0], image, 'the token that moves')
    axes[0].plot((place[1] + 0.5) * side, (place[0] + 0.5) * side, 's', color='red', markersize=5, fillstyle='none')
    for axis, (name, values) in zip(axes[1:], responses.items()):
        logarithm = np.log10(np.maximum(values.numpy(), 10.0**-DECADES))
        shown = show(axis, logarithm, name, cmap='inferno', vmin=-DECADES, vmax=0)
    colour_bar(figure, shown, axes, 'response, log10')
    return figure
