"""What was measured, as tables and as CSV with the columns of timm's benchmark."""

import csv
import io
from collections import Counter
from collections.abc import Sequence

from torch import nn

from .trial import Row, Setting


def in_words(rows: Sequence[Row]) -> str:
    """A table, one line a model and size; ratios are to the first model at that size."""
    head = ('model', 'size', 'params', 'FLOPs', 'as run', 'step', 'ratio', 'images/s', 'peak memory')
    cells = [head, *map(_cells, rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    lines = [
        '  '.join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths))) for row in cells
    ]
    notes = [f'{row.name} at {row.size[0]}x{row.size[1]} was not timed: {row.wrong}' for row in rows if row.wrong]
    return '\n'.join([*lines, *notes])


def _cells(row: Row) -> tuple[str, ...]:
    timed = bool(row.times)
    return (
        row.name,
        f'{row.size[0]}x{row.size[1]}',
        f'{row.params / 1e6:.2f} M',
        f'{row.terms.total / 1e9:.2f} G',
        f'{row.as_run / 1e9:.2f} G',
        f'{1e3 * row.seconds:.1f} ms' if timed else '-',
        f'{row.ratio:.2f}' if timed else '-',
        f'{row.batch / row.seconds:.2f}' if timed else '-',
        f'{row.peak:.0f} MiB' if timed else '-',
    )


def as_csv(rows: Sequence[Row], setting: Setting) -> str:
    """timm's columns (`infer_` or `train_`), and after them this project's."""
    kind = 'train' if setting.train else 'infer'
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    timm = ['img_size', 'batch_size', 'samples_per_sec', 'step_time', 'gmacs', 'macts']
    own = ['param_count', 'ratio', 'peak_mib', 'gmacs_as_run', 'device', 'dtype', 'compiled', 'wrong']
    writer.writerow(['model', *(f'{kind}_{name}' for name in timm), *own])
    for row in rows:
        height, width = row.size
        speed = [f'{row.batch / row.seconds:.2f}', f'{1e3 * row.seconds:.3f}'] if row.times else ['', '']
        costs = [f'{row.terms.total / 1e9:.2f}', f'{row.activations / 1e6:.2f}', f'{row.params / 1e6:.2f}']
        extra = [f'{row.ratio:.3f}', f'{row.peak:.0f}'] if row.times else ['', '']
        how = [setting.device, str(setting.dtype).removeprefix('torch.'), setting.compiled, row.wrong]
        size = height if height == width else f'{height}x{width}'
        writer.writerow([row.name, size, row.batch, *speed, *costs, *extra, f'{row.as_run / 1e9:.2f}', *how])
    return text.getvalue()


def by_module(model: nn.Module, row: Row, depth: int) -> str:
    """Parameters and multiply-adds of each module, down to a depth; and by operator."""
    params: Counter[str] = Counter()
    for name, parameter in model.named_parameters():
        params['.'.join(name.split('.')[:-1][:depth])] += parameter.numel()
    flops = {_own(name, row): count for name, count in row.terms.by_module(depth + _wrapped(row)).items()}
    names = list(dict.fromkeys([*params, *flops]))
    width = max(map(len, [*names, 'module'])) + 2
    lines = [f'{"module":{width}}{"params":>10}{"FLOPs":>12}']
    for name in names:
        lines.append(f'{name or "(itself)":{width}}{params[name] / 1e6:8.2f} M{flops.get(name, 0) / 1e9:10.3f} G')
    lines += ['', *(f'{name:{width}}{"":10}{count / 1e9:10.3f} G' for name, count in row.terms.by_operator().items())]
    return '\n'.join(lines)


def _wrapped(row: Row) -> int:
    """1 where what was counted is the model inside of `Whole`."""
    return int(any(path.split('.')[0] == 'whole' for path, _ in row.terms.counts))


def _own(name: str, row: Row) -> str:
    return name.removeprefix('whole').removeprefix('.') if _wrapped(row) else name
