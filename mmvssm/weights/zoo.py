"""docs/model_zoo.md: the registry as a page, with parameters and FLOPs that the caller measured."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from .published import COLLECTIONS, NOTES, Checkpoint, Collection, Result, results, state

HEAD = """# Model zoo

Written by `python tools/model_zoo.py` from the files in `mmvssm/weights/published/`; do not edit.

- **Parameters** and **FLOPs** are measured here: a classifier of 1000 classes at 224x224, by `mmvssm.count_flops`,
  where a multiply-add counts once; [the last section](#flops-term-by-term) has the terms, and says where published
  counts differ.
- **Figures** are those that the authors published; none was reproduced for this page. A dagger (†) marks a figure or
  file that could not be traced to the authors' own paper or repository.
- **State**: *weights published* (`pretrained=True` works), *weights never released* (figures only) or
  *architecture only* (nothing was ever trained in public).
- `mmvssm weights fetch NAME` downloads a file by its name in these tables. The authors give no checksums;
  `mmvssm weights verify FILE NAME` looks at the content instead.
- Detectors are measured by their authors at 1280x800, segmentors at 512x2048.
"""
SUPERNETS = """## Supernets

Networks to be searched, not to be used as they are: narrow, as deep as their target, with all eight scan directions
and a logit for each in every layer ([LocalMamba](https://arxiv.org/abs/2403.09338), section on the direction search).
No weights of one were ever released."""
TERMS = """## FLOPs, term by term

In billions of multiply-adds at 224x224, by `mmvssm.flop_terms`, which tells modules apart too. A scan of L steps, d
channels, N states counts 9 L d N + L d for each direction (Mamba's table), the projections inside it as linear; a
BatchNorm counts 2 for each element, an RMSNorm 3, another norm 5; activations, pooling and spectral transforms nothing.

**mLSTM** stands here as its authors publish it: two products over the causal half of all pairs of tokens, quadratic in
the image's area. What runs is the chunkwise form, which is linear: `count_flops(..., mlstm='as_run')`, the last column.
Up to 256 tokens it is one chunk, the whole square, so at 224x224 it costs more than the published half; it is the
cheaper one from 2 (128 + d) tokens on, d being the channels of a head: 448 tokens for T, 640 for S, 1,024 for B."""
COUNTERS = """### Where a published count differs

VMamba, LocalVMamba, EfficientVMamba and ViL agree with the count above, to 1 % or to the digits that were published;
VMamba's first tables (4.5, 9.1 and 15.2 G for version 0) left out 60 % of the scan, which the authors corrected.
LocalVim's authors count by a formula of their own, and the 1.5 and 5.1 G that later papers quote for Vim follow from it
too. It takes a scan at 5 L d N + 2 L d; it counts the causal convolution and both projections of a scan (x_proj,
dt_proj) for one direction only, though each has its own; and it counts no norms. What is left when these three are
taken away is the published count. At 224x224 no window needs padding; where one does, the padded steps count here."""

LABELS = dict(
    top1='top-1',
    top5='top-5',
    mIoU_ms='multi-scale mIoU',
    pixel_acc='pixel accuracy',
    pixel_acc_ms='multi-scale pixel accuracy',
)
SIZES = dict(box_APs='small', box_APm='medium', box_APl='large')
TASKS = dict(coco='COCO', ade20k='ADE20K')


OPERATORS = dict(
    convolution='convolution', linear='linear', attention='attention', scan='scan', mlstm='mLSTM', norm='norms'
)


@dataclass(frozen=True)
class Measured:
    """A variant's size.

    params: millions; terms: operator -> billions of multiply-adds; as_run: their sum with mLSTM counted as it runs
    left_out: 'scan', 'other directions', 'norms' -> billions that the authors' formula does not count, where it is not
        this one
    """

    params: float
    terms: Mapping[str, float]
    as_run: float = 0.0
    left_out: Mapping[str, float] = field(default_factory=dict)

    @property
    def flops(self) -> float:
        return sum(self.terms.values())


def page(measured: Mapping[str, Measured]) -> str:
    """The whole page. measured: variant -> its size."""
    # as many digits as the page shows decide the order
    names = sorted(measured, key=lambda name: (name.partition('_')[0], round(measured[name].params, 2), name))
    supernets = [name for name in names if name.endswith('_search')]
    trained = [name for name in names if name not in supernets]
    parts = [HEAD.rstrip(), *(_family(measured, trained, collection) for collection in COLLECTIONS)]
    columns = ['supernet', 'parameters', 'FLOPs']
    parts += [SUPERNETS, _table(columns, [_size(name, measured[name]) for name in supernets])]
    parts += [TERMS, _terms({name: measured[name] for name in names})]
    parts += [COUNTERS, _counters({name: measured[name] for name in names if measured[name].left_out})]
    return '\n\n'.join(parts) + '\n'


def _family(measured: Mapping[str, Measured], names: list[str], family: Collection) -> str:
    """One section: variants with ImageNet results, then detectors and segmentors, then notes."""
    names = [name for name in names if name.startswith(family.prefix)]
    found = [r for name in names for r in results(name)]
    paper, source = f'[{family.paper}](https://arxiv.org/abs/{family.paper})', family.repository
    source = f'[{source}](https://github.com/{source})'
    parts = [f'## {family.title}\n\nPaper: {paper}. Code: {source}, {family.license}']
    columns = ['variant', 'parameters', 'FLOPs', 'published size', 'ImageNet-1K', 'state', 'weights']
    parts.append(_table(columns, [_variant(name, measured[name]) for name in names]))
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


def _size(name: str, size: Measured) -> list[str]:
    return [f'`{name}`', f'{size.params:.2f} M', f'{size.flops:.2f} G']


def _variant(name: str, size: Measured) -> list[str]:
    found = [r for r in results(name) if r.task == 'imagenet']
    published = dict.fromkeys(', '.join(filter(None, (r.params, r.flops))) for r in found)
    shown, files = ('<br>'.join(each(r) for r in found) or '-' for each in (_figures, _file))
    return [*_size(name, size), '<br>'.join(filter(None, published)) or '-', shown, state(name), files]


def _terms(measured: Mapping[str, Measured]) -> str:
    columns = ['variant', *OPERATORS.values(), 'sum', 'sum as run']
    rows = [
        [f'`{name}`', *(_billions(size.terms.get(key, 0.0)) for key in OPERATORS), _billions(size.flops)]
        + [_billions(size.as_run)]
        for name, size in measured.items()
    ]
    return _table(columns, rows)


def _counters(measured: Mapping[str, Measured]) -> str:
    """The published count as this one less what the authors' formula leaves out."""
    columns = ['variant', 'counted here', 'scan', 'other directions', 'norms', 'left', 'published']
    rows = []
    for name, size in measured.items():
        left = size.flops - sum(size.left_out.values())
        for published in {r.flops.replace('G', ' G') for r in results(name) if r.task == 'imagenet' and r.flops}:
            taken = (size.left_out[column] for column in columns[2:5])
            rows.append([f'`{name}`', *map(_billions, (size.flops, *taken, left)), published])
    return _table(columns, rows)


def _billions(value: float) -> str:
    return f'{value:.3f}' if value else '-'


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
        parts += [f'{size} {figures[key]}' for key, size in SIZES.items() if key in figures]
    else:
        parts = [f'{LABELS.get(name, name)} {value}' for name, value in figures.items()]
    return ', '.join(parts) + (' †' if result.unverified else '')


def _file(result: Result) -> str:
    """Link to the file, or that there is none."""
    return f'[`{result.name}`]({result.url})' if isinstance(result, Checkpoint) else 'never released'


def _table(columns: list[str], rows: list[list[str]]) -> str:
    return '\n'.join('| ' + ' | '.join(cells) + ' |' for cells in [columns, ['---'] * len(columns), *rows])
