"""What a search for scan directions found: shares of the candidates in every layer, and the paths that are kept."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from mmvssm.directions import Directions, from_lists
from mmvssm.scans import Order

from .figure import DPI, colour_bar
from .scan_paths import GRID, draw_named, name_of

MAP = 'Blues'


def draw_choices(found: Directions, title: str = '') -> Figure:
    """A heat map of layers and candidates, darker with the candidate's share; those that are kept have a dot.

    Of published lists, whose shares are not known (`mmvssm.directions.from_lists`), the dots tell all.
    """
    names = list(dict.fromkeys(name for layer in found.layers for name in layer.candidates))
    shares = np.full((len(names), len(found.layers)), np.nan)
    for column, layer in enumerate(found.layers):
        for name, share in zip(layer.candidates, layer.probabilities):
            shares[names.index(name), column] = share
    size = 2.2 + 0.32 * len(found.layers), 1.2 + 0.32 * len(names)
    figure = Figure(figsize=(max(size[0], 3.2), size[1]), layout='constrained', dpi=DPI)
    axis = figure.add_subplot()
    low, high = float(np.nanmin(shares)), float(np.nanmax(shares))
    margin = max(high - low, 1e-3) / 8  # white is for what is no candidate
    shown = axis.imshow(shares, cmap=MAP, vmin=max(low - margin, 0), vmax=high + margin, aspect='equal')
    axis.set_anchor('W')
    for column, layer in enumerate(found.layers):
        rows = [names.index(name) for name in layer.chosen]
        axis.plot([column] * len(rows), rows, 'o', color='#e4572e', markersize=5)
    axis.set_xticks(np.arange(len(found.layers) + 1) - 0.5, minor=True)
    axis.set_yticks(np.arange(len(names) + 1) - 0.5, minor=True)
    axis.grid(which='minor', color='white', linewidth=1)
    axis.tick_params(which='minor', length=0)
    axis.set_xticks(range(len(found.layers)), [str(i) for i in range(len(found.layers))], fontsize=7)
    axis.set_yticks(range(len(names)), _labels(names), fontsize=8)
    axis.set_xlabel('layer', fontsize=8)
    figure.suptitle(textwrap.fill(title or _title(found), int(14 * figure.get_figwidth())), fontsize=9)
    colour_bar(figure, shown, [axis], 'share (dot: kept)')
    return figure


def _labels(names: list[str]) -> list[str]:
    """Last names; dotted ones of functions that share theirs."""
    last = [name.rpartition('.')[2] for name in names]
    return [name if last.count(short) > 1 else short for name, short in zip(names, last)]


def draw_paths(found: Directions, grid: tuple[int, int] = (GRID, GRID)) -> Figure:
    """A row a layer, with the path of each order that it keeps.

    Args:
        found: what a search found.
        grid: rows and columns of tokens.
    """
    paths = {f'layer {i}: {name}': name for i, layer in enumerate(found.layers) for name in layer.chosen}
    return draw_named(paths, grid, columns=max(len(layer.chosen) for layer in found.layers), title=_title(found))


def figure_of_lists(lists: Sequence[Sequence[Order]], candidates: Sequence[str], title: str) -> Figure:
    """The heat map of lists whose shares are not known; orders that are no candidates have rows of their own."""
    names = [[name_of(order) for order in own] for own in lists]
    others = dict.fromkeys(name for own in names for name in own)
    return draw_choices(from_lists(names, tuple(dict.fromkeys([*candidates, *others]))), title)


def _title(found: Directions) -> str:
    about = found.about
    parts = [about.get('model'), about.get('data') and f'on {Path(about["data"]).name}']
    if about.get('iteration'):
        parts.append(f'after {about["iteration"]} iterations')
    return ' '.join(part for part in parts if part)
