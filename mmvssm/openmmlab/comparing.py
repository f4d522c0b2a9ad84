"""Training runs beside each other: a table, the settings in which they differ, everything as JSON."""

import glob
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mmvssm.errors import UsageError
from mmvssm.openmmlab import runs
from mmvssm.openmmlab.runs import Run, Score

HEADLINES = ('bbox_mAP', 'segm_mAP', 'PQ', 'mIoU', 'top1', 'cosine')  # scores by which models are told apart
GAP = '-'
Runs = Mapping[str, Run]


def read(given: Sequence[str]) -> tuple[dict[str, Run], list[str]]:
    """Runs by names that tell them apart, and a line about each folder that is none.

    Args:
        given: work folders, or patterns of them as shells have.

    Raises:
        UsageError: none of them is a run.
    """
    found: dict[Path, Run] = {}
    others = []
    for folder in (path for one in given for path in _folders(one)):
        try:
            found.setdefault(folder.resolve(), runs.read(folder))
        except UsageError as error:
            others.append(str(error))
    if not found:
        raise UsageError(others[0] if len(others) == 1 else f'{len(others)} folders, and none is a run\n{others[0]}')
    return dict(zip(_names(list(found)), found.values())), others


def _folders(given: str) -> list[Path]:
    if Path(given).exists() or not glob.has_magic(given):
        return [Path(given)]
    if not (found := sorted(glob.glob(given))):
        raise UsageError(f'{given}: nothing has a name like this')
    return [Path(one) for one in found]


def _names(folders: Sequence[Path]) -> list[str]:
    """The ends of the paths, as long as it takes for them to differ."""
    parts = 1
    while len({folder.parts[-parts:] for folder in folders}) < len(folders):
        parts += 1
    return ['/'.join(folder.parts[-parts:]) for folder in folders]


def main_scores(found: Runs, wanted: Sequence[str] = ()) -> list[str]:
    """The metrics to show: those wanted, else the usual ones that are there, else the first of each run."""
    known = list(dict.fromkeys(name for run in found.values() for name in run.scores))
    ends = {name: name.rpartition('/')[2] for name in known}
    if shown := [name for name in known if {name, ends[name]} & set(wanted or HEADLINES)]:
        return shown
    return list(dict.fromkeys(next(iter(run.scores)) for run in found.values() if run.scores))


def table(found: Runs, scores: Sequence[str]) -> str:
    """A line a run; a column of which no run knows anything is left out."""
    columns: dict[str, list[str]] = {'run': list(found), 'state': [_state(run) for run in found.values()]}
    for name in scores:
        of_runs = [(run.scores.get(name), run.counted_in) for run in found.values()]
        columns[f'{name} best'] = [_best(score, counted_in) for score, counted_in in of_runs]
        columns[f'{name} last'] = [GAP if score is None else _short(score.last) for score, _ in of_runs]
    for name, attribute, unit in (
        ('loss', 'loss', ''),
        ('s/iteration', 'seconds', ''),
        ('memory', 'memory', ' MB'),
        ('parameters', 'parameters', ' M'),
        ('seed', 'seed', ''),
    ):
        values = [getattr(run, attribute) for run in found.values()]
        columns[name] = [GAP if value is None else _short(value) + unit for value in values]
    kept = {name: cells for name, cells in columns.items() if set(cells) != {GAP}}
    return _aligned([list(kept), *zip(*kept.values())])


def differences(found: Runs) -> dict[str, dict[str, Any]]:
    """Setting -> run -> value, of the settings and package versions that are not the same in all runs that have any.

    A run that lacks the setting is not in the inner dict.
    """
    every = {
        name: {**run.settings, **{f'({package})': version for package, version in run.versions.items()}}
        for name, run in found.items()
        if run.settings
    }
    keys = sorted({key for settings in every.values() for key in settings})
    told = {key: {name: settings[key] for name, settings in every.items() if key in settings} for key in keys}
    return {key: values for key, values in told.items() if len(values) < len(every) or not _alike(values)}


def differences_in_words(found: Runs, differing: Mapping[str, Mapping[str, Any]]) -> str:
    """A line a setting, a column a run, values cut to fit."""
    if not differing:
        return 'the settings are the same'
    width = 32 if len(found) < 4 else 18
    rows = [[key, *_cells(values, list(found), width)] for key, values in differing.items()]
    return _aligned([['setting', *(_cut(name, width, '') for name in found)], *rows])


def as_json(found: Runs, differing: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """All that is known, in JSON's types; numbers that are none are null."""
    known = {name: {**asdict(run), 'folder': str(run.folder)} for name, run in found.items()}
    return _json(dict(runs=known, differences=differing))


def curves_to_draw(found: Runs, scores: Sequence[str], wanted: Sequence[str] = ()) -> list[str]:
    """Quantities for a picture: those wanted, else the loss and the metrics, of which some run has a curve."""
    known = {name for run in found.values() for name in run.curves}
    return list(wanted) or [name for name in ('loss', *scores) if name in known] or sorted(known)[:6]


def _state(run: Run) -> str:
    done = run.iteration if run.epoch is None else run.epoch
    if run.length is None or run.state == 'done':
        return f'{run.state}, {run.counted_in} {done if run.length is None else run.length}'
    return f'{run.state}, {run.counted_in} {done} of {run.length}'


def _best(score: Score | None, counted_in: str) -> str:
    if score is None:
        return GAP
    return f'{_short(score.best)} at {"epoch " if counted_in == "epoch" else ""}{score.best_at}'


def _short(value: float) -> str:
    return str(value) if isinstance(value, int) else f'{value:.4g}'


def _alike(values: Mapping[str, Any]) -> bool:
    first, *rest = map(_plain, values.values())
    return all(one == first for one in rest)


def _plain(value: Any) -> str:
    """A value as it is written; lists and tuples alike, since configs and JSON take one for the other."""
    if isinstance(value, list | tuple):
        return f'[{", ".join(map(_plain, value))}]'
    return value if isinstance(value, str) else repr(value)


def _cells(values: Mapping[str, Any], names: Sequence[str], width: int) -> list[str]:
    """The values of runs, cut to fit; what long ones begin with alike is left out."""
    plain = {name: _plain(value) for name, value in values.items()}
    same = os.path.commonprefix(list(plain.values())) if len(plain) > 1 else ''  # noqa: RUF071 - of any text
    if len(same) > 4 and max(map(len, plain.values())) > width:
        plain = {name: f'..{text[len(same) :]}' for name, text in plain.items()}
    return [_cut(plain[name], width) if name in plain else GAP for name in names]


def _cut(text: str, width: int, gap: str = ' ... ') -> str:
    """The beginning and the end of a long text; without a gap its end alone."""
    if len(text) <= width:
        return text
    if not gap:
        return f'..{text[-(width - 2) :]}'
    tail = (width - len(gap)) // 2
    return f'{text[: width - len(gap) - tail]}{gap}{text[-tail:]}'


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows)]
    return '\n'.join('  '.join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)


def _json(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _json(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_json(one) for one in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, str | int | None) else str(value)
