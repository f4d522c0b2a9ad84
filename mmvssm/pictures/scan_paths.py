"""In which order a layer reads the tokens of an image."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from torch import nn

from mmvssm import scans
from mmvssm.errors import UsageError

from .figure import colour_bar, panels, show

GRID = 14  # tokens a side by default: of a 224 x 224 image at stride 16
MAP = 'turbo'


def layers(model: nn.Module) -> dict[str, tuple[scans.Order, ...]]:
    """Layer -> the orders in which it reads the tokens, in the order of the layers.

    ViL's layers read rows, every other one from the end; Heracles transforms the whole map at once and has none.
    """
    found: dict[str, tuple[scans.Order, ...]] = {}
    for name, module in model.named_modules():
        if any(name.startswith(f'{outer}.') for outer in found):
            continue
        orders = getattr(module, 'directions', None) or getattr(module, 'scan_orders', None)
        if isinstance(orders, tuple | list):
            found[name] = tuple(orders)
        elif isinstance(reverse := getattr(module, 'reverse', None), bool):
            found[name] = ('h_flip',) if reverse else ('h',)
    return found


def draw_orders(
    orders: Sequence[scans.Order],
    grid: tuple[int, int] = (GRID, GRID),
    *,
    image: np.ndarray | None = None,
    columns: int = 4,
) -> Figure:
    """A path for each order, coloured from its first token (blue, a dot) to its last (red, a square).

    Args:
        orders: names or functions.
        grid: rows and columns of tokens.
        image: (H, W, 3) to draw on, else white.
        columns: paths in a row.
    """
    return draw_named({name_of(order): order for order in orders}, grid, image=image, columns=columns)


def draw_layers(
    model: nn.Module,
    grid: tuple[int, int] = (GRID, GRID),
    *,
    only: Sequence[int] | None = None,
    image: np.ndarray | None = None,
) -> Figure:
    """A row a layer, with the path of each of its directions.

    Args:
        model: a backbone, or a detector or segmentor with one.
        grid: rows and columns of tokens.
        only: numbers of layers, from 0; None for all, but one row for neighbours that are alike.
        image: (H, W, 3) to draw on, else white.

    Raises:
        UsageError: the model reads no sequences, or has no such layer.
    """
    found = list(layers(model).items())
    if not found:
        raise UsageError(f'{type(model).__name__} has no layers that read tokens in an order')
    rows = _runs([orders for _, orders in found]) if only is None else [(i, i) for i in only]
    if wrong := [first for first, _ in rows if not 0 <= first < len(found)]:
        raise UsageError(f'there is no layer {wrong[0]}; allowed: 0 to {len(found) - 1}')
    paths = {f'{_label(first, last)}: {name_of(order)}': order for first, last in rows for order in found[first][1]}
    columns = max(len(found[first][1]) for first, _ in rows)
    return draw_named(paths, grid, image=image, columns=columns, title=type(model).__name__)


def _runs(orders: list[tuple]) -> list[tuple[int, int]]:
    """First and last of neighbouring layers with the same orders."""
    runs: list[tuple[int, int]] = []
    for i, own in enumerate(orders):
        if runs and orders[runs[-1][0]] == own:
            runs[-1] = (runs[-1][0], i)
        else:
            runs.append((i, i))
    return runs


def _label(first: int, last: int) -> str:
    return f'layer {first}' if first == last else f'layers {first}-{last}'


def name_of(order: scans.Order) -> str:
    """What an order is called in a picture."""
    return order if isinstance(order, str) else getattr(order, '__name__', 'a function')


def draw_named(
    orders: Mapping[str, scans.Order],
    grid: tuple[int, int],
    *,
    image: np.ndarray | None = None,
    columns: int = 4,
    title: str = '',
) -> Figure:
    """A path for each entry, under its name; see :func:`draw_orders`."""
    height, width = grid
    figure, axes = panels(len(orders), columns, size=(2.2, 2.2 * height / width + 0.2), title=title)
    for axis, (name, order) in zip(axes, orders.items()):
        index = scans.table(order, height, width).numpy()
        skipped = height * width - int((index >= 0).sum())
        note = f', skips {skipped}' if skipped else ''
        padded = int((index < 0).sum())
        note += f', {padded} padded' if padded else ''
        if image is not None:
            show(axis, image, alpha=0.45, extent=(-0.5, width - 0.5, height - 0.5, -0.5), aspect='auto')
        axis.set_title(name + note, fontsize=8, pad=3)
        shown = _path(axis, index[index >= 0], width)
        axis.set(xlim=(-0.7, width - 0.3), ylim=(height - 0.3, -0.7), aspect='equal')
    colour_bar(figure, shown, axes, 'position in the sequence')
    return figure


def _path(axis, tokens: np.ndarray, width: int):
    """The line through token centres; jumps to tokens that are no neighbours are thin."""
    points = np.stack([tokens % width, tokens // width], 1).astype(float)
    steps = np.abs(np.diff(points, axis=0)).max(1)
    place = np.linspace(0, 1, max(len(points) - 1, 1))
    lines = LineCollection(
        list(np.stack([points[:-1], points[1:]], 1)),
        cmap=MAP,
        array=place[: len(points) - 1],
        linewidths=np.where(steps <= 2, 1.6, 0.5),
    )
    lines.set_clim(0, 1)
    axis.add_collection(lines)
    axis.plot(*points[0], 'o', color='#23171b', markersize=5)
    axis.plot(*points[-1], 's', color='#900c00', markersize=5)
    return lines
