"""The tables of `kernels/BENCHMARKS.md`, from the results of a session. Imports nothing heavy."""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

BEGIN, END = '<!-- figures of python -m benchmarks.gpu -->', '<!-- end of these figures -->'
NONE = 'Times on GPUs: none yet, since no GPU was at hand.'
Results = dict[str, dict]


def main(file: Path, into: Path | None) -> int:
    """Print the tables, or write them between the markers of a file."""
    results = json.loads(file.read_text())
    if into is None:
        print(markdown(results))
        return 0
    try:
        into.write_text(written(into.read_text(), results))
    except ValueError as error:
        raise SystemExit(f'{into}: {error}') from None
    return 0


def written(text: str, results: Results) -> str:
    """`text` with the figures between its markers.

    Raises:
        ValueError: it has no markers, or the figures are of a dry run.
    """
    if BEGIN not in text or END not in text:
        raise ValueError(f'has no line {BEGIN} with a line {END} behind it')
    if is_dry(results):
        raise ValueError('these are the results of a dry run: nothing was measured')
    before, _, rest = text.partition(BEGIN)
    return f'{before}{BEGIN}\n{markdown(results)}\n{END}{rest.partition(END)[2]}'


def is_dry(results: Results) -> bool:
    return 'a dry run' in str(results.get('machine', {}).get('what', {}).get('name', ''))


def markdown(results: Results) -> str:
    """All tables; NONE where nothing was measured."""
    parts = [part for part in _parts(results) if part]
    return '\n\n'.join([_machine(results), *parts, '\n'.join(not_measured(results))]).strip() if parts else NONE


def _parts(results: Results) -> Iterator[str]:
    yield _checks(results)
    for section, title in (('scans', 'All scans of a model'), ('peers', 'The same by other packages')):
        columns = ('forward_ms', 'both_ms', 'element_steps_s', 'tflop_s', 'peak_mib', 'differs')
        yield _table(title, ('scan', *columns), _rows(results, section), columns)
    yield _kernels(results)
    columns = ('infer_step_time', 'infer_samples_per_sec', 'train_step_time', 'train_samples_per_sec')
    columns = (*columns, 'infer_peak_mib', 'train_peak_mib', 'infer_gmacs', 'param_count')
    nets = [*_rows(results, 'models'), *_rows(results, 'compiled')]
    yield _table('Whole models', ('model', *columns), nets, columns)
    columns = ('train_step_time', 'train_samples_per_sec', 'train_peak_mib')
    yield _table('Training iterations of detectors', ('config', *columns), _rows(results, 'detectors'), columns)
    columns = ('put', 'times_as_fast', 'right')
    yield _table('Tiles', ('kernel', *columns), _rows(results, 'tune'), columns)


def _machine(results: Results) -> str:
    """One line of what it was measured on, and its ceilings."""
    rows = results.get('machine', {})
    what = {'name': '?', 'torch': '?', 'triton': '?', 'python': '?', **rows.get('what', {})}
    text = '{name}; torch {torch}, Triton {triton}, Python {python}.'.format(**what)
    ceilings = [
        f'{name} {_cell(value)} {unit}'
        for name, row in rows.items()
        for key, unit in (('gb_s', 'GB/s'), ('tflop_s', 'TFLOP/s'))
        if (value := row.get(key)) is not None
    ]
    return f'{text} Its own best: {", ".join(ceilings)}.' if ceilings else text


def _checks(results: Results) -> str:
    checks = {name: row for name, row in results.get('check', {}).items() if 'verdict' in row}
    if not checks:
        return ''
    bad = [
        f'- {name}: {row["verdict"]}, '
        + row.get('error', f'forward {_cell(row.get("forward"))}, gradients {_cell(row.get("gradient"))}')
        for name, row in checks.items()
        if row['verdict'] != 'ok'
    ]
    good = len(checks) - len(bad)
    return '\n'.join([f'{good} of {len(checks)} cases are within the limits against float64.', *bad])


def _rows(results: Results, section: str) -> list[tuple[str, dict]]:
    """Those that hold figures."""
    rows = results.get(section, {})
    return [(name, row) for name, row in rows.items() if not {'error', 'not measured'} & row.keys()]


def _kernels(results: Results) -> str:
    columns = ('ms', 'launches', 'gb_s', 'element_steps_s', 'tflop_s', 'registers', 'spilled', 'instructions', 'issue')
    rows = [
        (f'{name}: {kernel}', figures)
        for name, row in _rows(results, 'kernels')
        for kernel, figures in row.items()
    ]  # fmt: skip
    return _table('Each kernel alone', ('kernel', *columns), rows, columns)


def _table(title: str, head: Iterable[str], rows: list[tuple[str, dict]], columns: Iterable[str]) -> str:
    if not rows:
        return ''
    used = [column for column in columns if any(row.get(column) is not None for _, row in rows)]
    lines = [next(iter(head)), *used]
    body = [[name, *(_cell(row.get(column)) for column in used)] for name, row in rows]
    text = [lines, ['---'] * len(lines), *body]
    return f'### {title}\n\n' + '\n'.join('| ' + ' | '.join(cells) + ' |' for cells in text)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f'{value:.4g}'
    return '' if value is None else f'`{value}`' if isinstance(value, str) else str(value)


def not_measured(results: Results) -> list[str]:
    """Each row without figures, and why."""
    return [
        f'- not measured, {section}: {name}: {reason}'
        for section, rows in results.items()
        for name, row in rows.items()
        if (reason := row.get('not measured') or row.get('error')) and 'verdict' not in row
    ]


def as_csv(results: Results) -> str:
    """Whole models, in timm's columns and a few more."""
    rows = [row for section in ('models', 'compiled') for _, row in _rows(results, section)]
    kinds = ('samples_per_sec', 'step_time', 'batch_size', 'img_size')
    first = ['model', *(f'infer_{name}' for name in kinds), 'infer_gmacs']
    first += [*(f'train_{name}' for name in kinds), 'param_count', 'dtype', 'how']
    columns = [*first, *dict.fromkeys(key for row in rows for key in row if key not in first)]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator='\n')
    writer.writeheader()
    for row in rows:
        writer.writerow({key: round(value, 3) if isinstance(value, float) else value for key, value in row.items()})
    return text.getvalue()
