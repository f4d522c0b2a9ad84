"""Training curves of one or several runs, out of the JSON lines that mmengine writes beside a log."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from mmvssm.errors import UsageError

from .figure import panels

DEFAULT = ('loss', 'lr', 'grad_norm', 'bbox_mAP', 'segm_mAP', 'mIoU', 'aAcc')
SMOOTH = 0.9  # weight of the past in the solid line
MANY = 100  # values from which on a line is smoothed
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
        for line in path.read_text(encoding='utf-8').splitlines():
            try:
                record = json.loads(line)
            except ValueError:  # a run that was killed while it wrote
                continue
            step = record.get('step', record.get('iter'))
            if step is None:
                continue
            for name, value in record.items():
                if isinstance(value, int | float) and name not in ('step', 'iter', 'epoch'):
                    found.setdefault(name, {})[step] = value
    return {name: (sorted(values), [values[step] for step in sorted(values)]) for name, values in found.items()}


def draw_curves(runs: Mapping[str, Mapping[str, Curve]], quantities: Sequence[str] = ()) -> Figure:
    """A panel a quantity, a line a run.

    Args:
        runs: name -> :func:`read_run`.
        quantities: names, or what they end with after a slash (bbox_mAP); by default the usual ones that are there.

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
                _line(axis, *curves[name], f'C{i}', smooth=not name.endswith('lr'))
        axis.xaxis.set_major_locator(_ticks())
        axis.yaxis.set_major_locator(_ticks())
        axis.tick_params(labelsize=7)
        axis.grid(color='#dddddd', linewidth=0.5)
    if len(runs) > 1:
        handles = [axes[0].plot([], [], color=f'C{i}', label=run)[0] for i, run in enumerate(runs)]
        figure.legend(handles=handles, loc='outside lower center', ncols=min(len(runs), 4), fontsize=8, frameon=False)
    return figure


def _ticks():
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(5)


def _match(name: str, known: Sequence[str]) -> str | None:
    return next((one for one in known if one == name or one.rpartition('/')[2] == name), None)


def _line(axis, steps: Sequence[float], values: Sequence[float], colour: str, smooth: bool) -> None:
    """Few values with dots; many that are to be smoothed faint, with their running mean on top."""
    if len(values) < MANY or not smooth:
        marker = 'o-' if len(values) < 20 else '-'
        axis.plot(steps, values, marker, color=colour, linewidth=1.3, markersize=4)
        return
    mean, past, weight = [], 0.0, 0.0
    for value in values:
        if np.isfinite(value):
            past, weight = SMOOTH * past + (1 - SMOOTH) * value, SMOOTH * weight + 1 - SMOOTH
        mean.append(past / weight if weight else np.nan)
    axis.plot(steps, values, color=colour, alpha=0.25, linewidth=0.7)
    axis.plot(steps, mean, color=colour, linewidth=1.4)
