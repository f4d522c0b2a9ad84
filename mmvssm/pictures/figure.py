"""Figures of small multiples, without matplotlib's global state."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmvssm.errors import UsageError

SUFFIXES = ('.png', '.pdf', '.svg')
DPI = 150


def panels(
    number: int, columns: int, *, size: tuple[float, float] = (2.2, 2.2), title: str = ''
) -> tuple[Figure, list[Axes]]:
    """A figure with so many panels without ticks, in rows.

    size: width and height of a panel in inches, its own title included.
    """
    columns = max(1, min(columns, number))
    rows = -(-number // columns)
    top = 0.45 if title else 0.05
    figure = Figure(figsize=(size[0] * columns, size[1] * rows + top), layout='constrained', dpi=DPI)
    axes = [figure.add_subplot(rows, columns, i + 1) for i in range(number)]
    for axis in axes:
        axis.set(xticks=[], yticks=[])
        for side in axis.spines.values():
            side.set(linewidth=0.5, color='#999999')
    if title:
        figure.suptitle(title, fontsize=11)
    return figure, axes


def show(axis: Axes, picture: np.ndarray, title: str = '', **options) -> object:
    """An image or a map in a panel, with a title above; returns what a colour bar needs."""
    axis.set_title(title, fontsize=8, pad=3)
    return axis.imshow(picture, interpolation='nearest', **options)


def colour_bar(figure: Figure, shown, axes: Sequence[Axes], label: str) -> None:
    """One bar for several panels, at their right."""
    bar = figure.colorbar(shown, ax=list(axes), fraction=0.03, pad=0.01, aspect=30)
    bar.set_label(label, fontsize=8)
    bar.ax.tick_params(labelsize=7)


def save(figure: Figure, path: str | Path) -> Path:
    """Write a figure; the suffix says how.

    Raises:
        UsageError: an unknown suffix.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f'{path}: the name of a picture ends with {", ".join(SUFFIXES)}')
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return path
