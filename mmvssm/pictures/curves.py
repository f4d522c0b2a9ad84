"""Training curves of one or several runs, out of the JSON lines that mmengine writes beside a log."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from mmvssm.errors import UsageError

from .figure import panels

DEFAULT = ('loss', 'lr', 'grad_norm', 'bbox_mAP', 'segm_mAP', 'mIoU', 'aAcc')
SMOOTH = 0.9  # weight of the past in the solid line
MANY = 100  # values from which on a line is smoothed
DASHES = ('-', '--', ':', '-.')  # of runs whose colours come again
Curve = tuple[list[float], list[float]]


def read_run(folder: str | Path) -> dict[str, Curve]:
    """Quantity -> steps and values, of a run's work folder; where it was resumed, the later value of a step counts.

    Raises:
        UsageError: no such logs in the folder.
    """
    files = sorted(Path(folder).rglob('vis_data/scalars.json'))
    if not files:
        raise UsageError(f'{folder}: no vis_data/scalars.json in it; give the work folder of a run')
    found: dict[str, dict[float, float]] = {}
    for path in files:
        for record in read_records(path):
            step = record.get('step', record.get('iter'))
            if step is None:
                continue
            for name, value in record.items():
                if isinstance(value, int | float) and name not in ('step', 'iter', 'epoch'):
                    found.setdefault(name, {})[step] = value
    return {name: (sorted(values), [values[step] for step in sorted(values)]) for name, values in found.items()}


def read_records(path: Path) -> Iterator[dict]:
    """The lines of a `scalars.json`, but for one that a killed run has not finished."""
    for line in path.read_text(encoding='utf-8', errors='replace').splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            yield record


def draw_curves(runs: Mapping[str, Mapping[str, Curve]], quantities: Sequence[str] = (), over: str = '') -> Figure:
    """A panel a quantity, a line a run; a run without a quantity leaves a gap.

    Args:
        runs: name -> :func:`read_run`.
        quantities: names, or what they end with after a slash (bbox_mAP); by default the usual ones that are there.
        over: what the steps are, for the axes.

    Raises:
        UsageError: a quantity that no run has.
    """
    known = sorted({name for run in runs.values() for name in run})
    wanted = [_match(name, known) for name in quantities or DEFAULT]
    for name, match in zip(quantities, wanted):
        if match is None:
            raise UsageError(f'no run has a quantity {name}; there are {", ".join(known)}')
    shown = [name for name in wanted if name is not None]
    if not shown:
        raise UsageError(f'none of {", ".join(DEFAULT)} is in these logs; there are {", ".join(known)}')
    figure, axes = panels(len(shown), 3, size=(4.0, 2.6))
    for axis, name in zip(axes, shown):
        axis.set_title(name, fontsize=9)
        for i, curves in enumerate(runs.values()):
            if name in curves:
                _line(axis, *curves[name], _look(i), smooth=not name.endswith('lr'))
        axis.set_xlabel(over, fontsize=7)
        axis.xaxis.set_major_locator(_ticks())
        axis.yaxis.set_major_locator(_ticks())
        axis.tick_params(labelsize=7)
        axis.grid(color='#dddddd', linewidth=0.5)
    if over:  # one scale for all: a validation stands below its place in the loss
        limits = [axis.get_xlim() for axis in axes]
        for axis in axes:
            axis.set_xlim(min(low for low, _ in limits), max(high for _, high in limits))
    if len(runs) > 1:
        handles = [axes[0].plot([], [], label=run, **_look(i))[0] for i, run in enumerate(runs)]
        figure.legend(handles=handles, loc='outside lower center', ncols=min(len(runs), 4), fontsize=8, frameon=False)
    return figure


def _look(number: int) -> dict[str, Any]:
    """Colour and dashes of a run: no two of forty are alike."""
    return dict(color=f'C{number % 10}', linestyle=DASHES[number // 10 % len(DASHES)])


def _ticks():
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(5)


def _match(name: str, known: Sequence[str]) -> str | None:
    return next((one for one in known if one == name or one.rpartition('/')[2] == name), None)


def _line(axis, steps: Sequence[float], values: Sequence[float], look: dict[str, Any], smooth: bool) -> None:
    """Few values with dots; many that are to be smoothed faint, with their running mean on top."""
    if len(values) < MANY or not smooth:
        marker = 'o' if len(values) < 20 else ''
        axis.plot(steps, values, marker=marker, linewidth=1.3, markersize=4, **look)
        return
    mean, past, weight = [], 0.0, 0.0
    for value in values:
        if np.isfinite(value):
            past, weight = SMOOTH * past + (1 - SMOOTH) * value, SMOOTH * weight + 1 - SMOOTH
        mean.append(past / weight if weight else np.nan)
    axis.plot(steps, values, color=look['color'], alpha=0.25, linewidth=0.7)
    axis.plot(steps, mean, linewidth=1.4, **look)
