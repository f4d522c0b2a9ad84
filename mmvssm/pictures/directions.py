"""What a search for scan directions found: shares of the candidates in every layer, and the paths that are kept."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mmvssm.directions import Directions, LayerDirections

from .figure import DPI, colour_bar
from .scan_paths import GRID, draw_named

MAP = 'Blues'


def draw_choices(found: Directions, title: str = '') -> Figure:
    """A heat map of layers and candidates, darker with the candidate's share; those that are kept are framed.

    Where all shares of a layer are 0 or alike, as in a published list, the frames alone tell.
    """
    names = list(dict.fromkeys(name for layer in found.layers for name in layer.candidates))
    shares = np.full((len(names), len(found.layers)), np.nan)
    for column, layer in enumerate(found.layers):
        for name, share in zip(layer.candidates, layer.probabilities):
            shares[names.index(name), column] = share
    figure = Figure(figsize=(1.6 + 0.32 * len(found.layers), 1.0 + 0.32 * len(names)), layout='constrained', dpi=DPI)
    axis = figure.add_subplot()
    shown = axis.imshow(shares, cmap=MAP, vmin=0, vmax=max(np.nanmax(shares), 1e-3), aspect='equal')
    for column, layer in enumerate(found.layers):
        for name in layer.chosen:
            corner = column - 0.5, names.index(name) - 0.5
            axis.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor='#c1440e', linewidth=1.6))
    axis.set_xticks(range(len(found.layers)), [str(i) for i in range(len(found.layers))], fontsize=7)
    axis.set_yticks(range(len(names)), [name.rpartition('.')[2] for name in names], fontsize=8)
    axis.set_xlabel('layer', fontsize=8)
    axis.set_title(title or _title(found), fontsize=9)
    colour_bar(figure, shown, [axis], 'share (framed: kept)')
    return figure


def draw_paths(found: Directions, grid: tuple[int, int] = (GRID, GRID)) -> Figure:
    """A row a layer, with the path of each order that it keeps.

    Args:
        found: what a search found.
        grid: rows and columns of tokens.
    """
    paths = {f'layer {i}: {name}': name for i, layer in enumerate(found.layers) for name in layer.chosen}
    return draw_named(paths, grid, columns=max(len(layer.chosen) for layer in found.layers), title=_title(found))


def from_lists(lists: list[list[str]], candidates: tuple[str, ...]) -> Directions:
    """Lists as published, whose shares are not known: alike for all that are kept, 0 for the others."""
    layers = [
        LayerDirections(candidates, tuple(1 / len(own) if name in own else 0.0 for name in candidates), tuple(own))
        for own in lists
    ]
    return Directions(tuple(layers))


def _title(found: Directions) -> str:
    about = found.about
    parts = [about.get('model'), about.get('data') and f'on {about["data"]}']
    if about.get('iteration'):
        parts.append(f'after {about["iteration"]} iterations')
    return ' '.join(part for part in parts if part)
