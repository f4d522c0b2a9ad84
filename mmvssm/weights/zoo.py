"""docs/model_zoo.md: the registry as a page, with parameters and FLOPs that the caller measured."""

from collections.abc import Mapping

from .published import NOTES, Checkpoint, Result, results, state

HEAD = """# Model zoo

Written by `python tools/model_zoo.py` from the registry in `mmvssm/weights/published.py`; do not edit.

- **Parameters** and **FLOPs** are measured here: a classifier of 1000 classes at 224x224, by `mmvssm.count_flops`,
  where a multiply-add counts once and scans count as in the papers.
- **Figures** are those that the authors published; none was reproduced for this page. A dagger (†) marks a figure or
  file that could not be traced to the authors' own paper or repository.
- **State**: *weights published* (`pretrained=True` works), *weights never released* (figures only) or
  *architecture only* (nothing was ever trained in public).
- `python tools/weights.py fetch NAME` downloads a file by its name in these tables. The authors give no checksums;
  `python tools/weights.py verify FILE NAME` looks at the content instead.
- Detectors are measured by their authors at 1280x800, segmentors at 512x2048.
"""

# title, prefix of the variants' names, arXiv number, repository, licence and what else is to be known
FAMILIES = [
    ('VMamba', 'vmamba', '2401.10166', 'MzeroMiko/VMamba', 'MIT.'),
    ('LocalVMamba', 'localvmamba', '2403.09338', 'hunto/LocalMamba', 'Apache-2.0.'),
    (
        'LocalVim',
        'localvim',
        '2403.09338',
        'hunto/LocalMamba',
        'Apache-2.0. The published FLOPs (1.5 G and 4.8 G) count the projections of one direction only.',
    ),
    ('EfficientVMamba', 'efficientvmamba', '2403.09977', 'TerryPei/EfficientVMamba', 'Apache-2.0 by its README.'),
    ('Vision-LSTM', 'vil', '2406.04303', 'NX-AI/vision-lstm', 'Apache-2.0 or MIT.'),
    ('Vim', 'vim', '2401.09417', 'hustvl/Vim', 'Apache-2.0.'),
    ('Heracles', 'heracles', '2403.18063', 'badripatro/heracles', 'no licence stated.'),
]
LABELS = dict(
    top1='top-1',
    top5='top-5',
    mIoU_ms='multi-scale mIoU',
    pixel_acc='pixel accuracy',
    pixel_acc_ms='multi-scale pixel accuracy',
)
TASKS = dict(coco='COCO', ade20k='ADE20K')


def page(measured: Mapping[str, tuple[float, float]]) -> str:
    """The whole page. measured: variant -> parameters in millions, multiply-adds in billions."""
    return '\n\n'.join([HEAD.rstrip(), *(_family(measured, *entry) for entry in FAMILIES)]) + '\n'


def _family(measured: Mapping, title: str, prefix: str, paper: str, repository: str, about: str) -> str:
    """One section: variants with ImageNet results, then detectors and segmentors, then notes."""
    names = sorted(
        (n for n in measured if n.startswith(prefix)),
        key=lambda n: (n.partition('_')[0], round(measured[n][0], 2), n),  # as many digits as the page shows
    )
    found = [r for name in names for r in results(name)]
    source = f'[{repository}](https://github.com/{repository})'
    parts = [f'## {title}\n\nPaper: [{paper}](https://arxiv.org/abs/{paper}). Code: {source}, {about}']
    columns = ['variant', 'parameters', 'FLOPs', 'ImageNet-1K', 'state', 'weights']
    parts.append(_table(columns, [_variant(name, *measured[name]) for name in names]))
    dense = [r for r in found if r.task != 'imagenet']
    if dense:
        columns = ['backbone', 'data', 'method', 'parameters', 'FLOPs', 'published', 'weights']
        parts.append(_table(columns, [_dense(r) for r in dense]))
    notes: dict[str, dict] = {}
    for where, text in [
        *((f'`{name}`', NOTES.get(name)) for name in names),
        *((f'`{r.model}`' + (f' on {TASKS[r.task]}' if r.task in TASKS else ''), r.remark) for r in found),
    ]:
        if text:
            notes.setdefault(text, {})[where] = None
    parts += ['\n'.join(f'- {", ".join(where)}: {text}.' for text, where in notes.items())] if notes else []
    return '\n\n'.join(parts)


def _variant(name: str, params: float, flops: float) -> list[str]:
    found = [r for r in results(name) if r.task == 'imagenet']
    shown, files = ('<br>'.join(each(r) for r in found) or '-' for each in (_figures, _file))
    return [f'`{name}`', f'{params:.2f} M', f'{flops:.2f} G', shown, state(name), files]


def _dense(result: Result) -> list[str]:
    where = [f'`{result.model}`', TASKS[result.task], result.method]
    return [*where, result.params or '-', result.flops or '-', _figures(result), _file(result)]


def _figures(result: Result) -> str:
    """'box AP 46.5 / 68.5 / 50.7, mask AP ...' or 'top-1 82.6', with a dagger where unverified."""
    figures = result.metrics
    if result.task == 'coco':
        kinds = [kind for kind in ('box', 'mask') if f'{kind}_AP' in figures]
        parts = [
            f'{kind} AP ' + ' / '.join(str(figures[f'{kind}_AP{at}']) for at in ('', '50', '75')) for kind in kinds
        ]
    else:
        parts = [f'{LABELS.get(name, name)} {value}' for name, value in figures.items()]
    return ', '.join(parts) + (' †' if result.unverified else '')


def _file(result: Result) -> str:
    """Link to the file, or that there is none."""
    return f'[`{result.name}`]({result.url})' if isinstance(result, Checkpoint) else 'never released'


def _table(columns: list[str], rows: list[list[str]]) -> str:
    return '\n'.join('| ' + ' | '.join(cells) + ' |' for cells in [columns, ['---'] * len(columns), *rows])
