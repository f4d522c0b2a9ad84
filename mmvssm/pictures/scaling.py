"""Time and memory over resolution."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from .figure import DPI

Point = tuple[int, float, float]  # pixels, seconds, MiB


def draw_scaling(models: Mapping[str, Sequence[Point]], title: str = '') -> Figure:
    """Two panels with logarithmic axes, a line a model; dotted guides rise linearly and with the square of the pixels.

    models: name -> (pixels, seconds, MiB) of each size.
    """
    figure = Figure(figsize=(8.5, 3.6), layout='constrained', dpi=DPI)
    for i, label in enumerate(('seconds', 'MiB'), start=1):
        axis = figure.add_subplot(1, 2, i)
        for name, points in models.items():
            line = sorted((point[0], point[i]) for point in points)
            axis.plot(*zip(*line), 'o-', label=name, markersize=4, linewidth=1.4)
        _guides(axis, [(point[0], point[i]) for points in models.values() for point in points])
        axis.set(xscale='log', yscale='log', xlabel='pixels', ylabel=label)
        axis.tick_params(labelsize=7)
        axis.grid(color='#dddddd', linewidth=0.5, which='both')
        if i == 1:
            axis.legend(fontsize=7)
    if title:
        figure.suptitle(title, fontsize=9)
    return figure


def _guides(axis, points: list[tuple[int, float]]) -> None:
    least, most = min(p[0] for p in points), max(p[0] for p in points)
    start = min(p[1] for p in points) * 0.7
    if least == most or not start > 0:
        return
    top = max(p[1] for p in points) * 1.3
    for power, word in ((1, 'linear'), (2, 'quadratic')):
        end = start * (most / least) ** power
        reach = most if end <= top else least * (top / start) ** (1 / power)
        axis.plot([least, reach], [start, start * (reach / least) ** power], ':', color='#888888', linewidth=1)
        axis.annotate(word, (reach, start * (reach / least) ** power), fontsize=6, color='#666666', ha='right')
