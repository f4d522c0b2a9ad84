"""Label images, as mmseg's BaseSegDataset reads them."""

import inspect
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from mmengine.config import Config, ConfigDict
from mmengine.registry import DATASETS
from PIL import Image

from mmvssm.data.check import Report
from mmvssm.openmmlab.layouts.layout import DataError
from mmvssm.openmmlab.preflight.classes import check_one_class, names_of
from mmvssm.openmmlab.preflight.keywords import resolve
from mmvssm.openmmlab.preflight.places import matching

from . import images, mended

FLAT = ('1', 'L', 'P', 'I', 'I;16', 'I;16B')  # modes with one number a pixel
LOOKED_INTO = 40  # label images whose values are read


class Source(NamedTuple):
    """Where a data set reads: folders, suffixes, the list of names where it has one, and what 0 means."""

    images: Path
    labels: Path
    img_suffix: str
    seg_map_suffix: str
    listed: Path | None
    reduce_zero_label: bool
    ignore_index: int

    def names(self) -> list[str]:
        """The images' names without suffix, relative to the folder."""
        if self.listed is not None:
            return [line.strip() for line in self.listed.read_text().splitlines() if line.strip()]
        found = sorted(self.images.rglob(f'*{self.img_suffix}'))
        return [str(path.relative_to(self.images))[: -len(self.img_suffix)] for path in found]

    def image(self, name: str) -> Path:
        return self.images / f'{name}{self.img_suffix}'

    def label(self, name: str) -> Path:
        return self.labels / f'{name}{self.seg_map_suffix}'


def source(dataset: ConfigDict) -> Source:
    """What a data set's config, or else its class, says."""
    cls, root, prefix = (
        resolve('dataset', dataset['type'], DATASETS),
        dataset.get('data_root') or '',
        dataset.data_prefix,
    )
    listed = dataset.get('ann_file') or ''

    def value(field: str, otherwise: Any) -> Any:
        return dataset[field] if field in dataset else _default(cls, field, otherwise)

    return Source(
        Path(root, prefix.get('img_path', '')),
        Path(root, prefix['seg_map_path']),
        value('img_suffix', '.jpg'),
        value('seg_map_suffix', '.png'),
        Path(root, listed) if listed and Path(root, listed).is_file() else None,
        bool(value('reduce_zero_label', False)),
        int(value('ignore_index', 255)),
    )


def _default(cls: Any, field: str, otherwise: Any) -> Any:
    """Of the constructor of a class or the nearest base that has the field."""
    for base in getattr(cls, '__mro__', ()):
        parameter = inspect.signature(base.__init__).parameters.get(field) if '__init__' in vars(base) else None
        if parameter is not None and parameter.default is not parameter.empty:
            return parameter.default
    return otherwise


def look(cfg: Config, dataset: ConfigDict, split: str, unreadable: str, report: Report) -> list[str]:
    """See :func:`look_for`.

    Raises:
        DataError: what is broken, or does not fit the config.
    """
    check_one_class(cfg)
    where = source(dataset)
    names = where.names()
    if not names:
        raise DataError(f'{where.listed or where.images} names no image that ends in {where.img_suffix}{_there(where)}')
    chosen = list(images.some(names))
    broken = [name for name in chosen if images.header(where.image(name)) is None]
    if broken and unreadable == 'stop':
        more = f', nor can {len(broken) - 1} others' if len(broken) > 1 else ''
        raise DataError(f'the image {where.image(broken[0])} cannot be read{more}\n`--unreadable skip` trains without')
    good = [name for name in chosen if name not in set(broken)]
    if not good:
        raise DataError(f'none of the {len(broken)} images in {where.images} can be read')
    said = [*_check_pairs(dataset, where, good), *_check_values(cfg, dataset, where, good, report)]
    report.images[split] = len(names) - len(broken)
    if broken:
        kept = ''.join(f'{name}\n' for name in names if name not in set(broken))
        mended.replace(cfg, dataset, split, Path(f'{split}.txt'), kept)
        said.append(f'{len(broken)} images that cannot be read are left out ({", ".join(broken[:3])})')
    return [f'{where.labels}: {line}' for line in said]


def _there(where: Source) -> str:
    """What images there are instead, for a message."""
    if not where.images.is_dir():
        return ''
    found = Counter(path.suffix for path in where.images.rglob('*') if path.is_file()).most_common(2)
    words = ', '.join(f'{number} {suffix or "files without suffix"}' for suffix, number in found)
    return f'; there are {words}' if found else ''


def _check_pairs(dataset: ConfigDict, where: Source, names: list[str]) -> list[str]:
    """Every image has a label image of its size with one number a pixel."""
    turned = []
    for name in names:
        path = where.label(name)
        if not path.is_file():
            beside = sorted(one.name for one in path.parent.glob(f'{path.name[: -len(where.seg_map_suffix)]}*'))
            hint = f'; there is {beside[0]}: set seg_map_suffix to its end' if beside else ''
            raise DataError(f'the image {where.image(name)} has no label image {path}{hint}')
        label, image = images.header(path), images.header(where.image(name))
        if label is None:
            raise DataError(f'{path} is not a readable label image')
        assert image is not None
        if label.stored not in (image.stored, image.upright):
            raise DataError(
                f'the label image {path} is {images.in_words(label.stored)}, its image {where.image(name).name} '
                f'{images.in_words(image.upright)}; they must be of one size'
            )
        if image.stored != image.upright:
            turned.append((label.stored == image.stored, name))
    if len({as_stored for as_stored, _ in turned}) > 1:
        raise DataError(f'{where.images}: of the images that EXIF turns some are labelled as stored, others as turned')
    if turned and turned[0][0]:
        images.read_as_stored(dataset.get('pipeline'))
        return [f'{len(turned)} images are labelled as stored: EXIF does not turn them ({turned[0][1]})']
    return []


def _check_values(cfg: Config, dataset: ConfigDict, where: Source, names: list[str], report: Report) -> list[str]:
    """No label that the heads do not have; no class that is nowhere, where that is a matter of numbering."""
    number = _num_classes(cfg, dataset)
    highest = number if where.reduce_zero_label else number - 1
    counts: Counter[int] = Counter()
    for name in names[:: max(1, len(names) // LOOKED_INTO)]:
        path = where.label(name)
        for value in _values(path):
            if value > highest and value != where.ignore_index:
                raise DataError(
                    f'{path} holds the label {value}; allowed: 0 to {highest} and {where.ignore_index} (ignored)'
                )
            counts[value] += 1
    size = images.header(where.image(names[0]))
    report.sizes[size.upright if size else (0, 0)] += len(names)
    classes = names_of(dataset) or tuple(map(str, range(number)))
    first = 1 if where.reduce_zero_label else 0
    for place, name in enumerate(classes):
        report.classes[name] += counts[place + first]
    if set(counts) == {0, where.ignore_index} and number > 1 and not where.reduce_zero_label:
        raise DataError(
            f'the label images in {where.labels} hold 0 and {where.ignore_index} alone, and {where.ignore_index} is '
            f'ignored: {classes[1]} would not be learnt\nwrite 1 for it (`mmvssm data convert DIR --from masks`)'
        )
    absent = [name for place, name in enumerate(classes) if not counts[place + first]]
    looked = min(len(names), LOOKED_INTO)
    more = f' and {len(absent) - 4} more' if len(absent) > 4 else ''
    return [f'of the classes {", ".join(absent[:4])}{more} there is nothing in {looked} label images'] if absent else []


def _values(path: Path) -> list[int]:
    """The labels in a label image.

    Raises:
        DataError: it cannot be read, or has colours.
    """
    try:
        with Image.open(path) as label:
            if label.mode not in FLAT:
                raise DataError(
                    f'the label image {path} has colours ({label.mode}); label images hold one class number a pixel '
                    '(`mmvssm data convert` makes them)'
                )
            return [int(value) for value in np.unique(np.asarray(label))]
    except (OSError, SyntaxError) as error:
        raise DataError(f'{path} is not a readable label image: {error}') from error


def _num_classes(cfg: Config, dataset: ConfigDict) -> int:
    """Of the heads, the fewest; of the data where no head counts."""
    counts = []
    for pattern in ('decode_head.*', 'auxiliary_head.*'):
        for _, head in matching(cfg.get('model', {}), pattern):
            if isinstance(head, dict) and isinstance(head.get('num_classes'), int):
                number = head['num_classes']
                counts.append(2 if number == 1 and head.get('out_channels', 1) == 1 and _is_binary(head) else number)
    return min(counts) if counts else len(names_of(dataset)) or 256


def _is_binary(head: dict) -> bool:
    losses = head.get('loss_decode') or {}
    losses = losses if isinstance(losses, list | tuple) else [losses]
    return any(isinstance(one, dict) and one.get('use_sigmoid') for one in losses)
