"""COCO annotation files, as mmdet's CocoDataset and CocoMetric read them."""

import math
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from mmvssm.data.check import Report, coco_records
from mmvssm.openmmlab.layouts.coco import read_coco
from mmvssm.openmmlab.layouts.layout import DataError
from mmvssm.openmmlab.preflight.classes import names_of
from mmvssm.openmmlab.preflight.places import matching, meant

from . import images, mended

FULL_CHECK_BYTES = 64 << 20  # larger annotation files are parsed once only, by the data set itself


def look(cfg: Config, dataset: ConfigDict, split: str, unreadable: str, report: Report) -> list[str]:
    """See :func:`look_for`.

    Raises:
        DataError: what is broken, or does not fit the config.
    """
    path = Path(dataset.get('data_root') or '', dataset.ann_file)
    folder = Path(dataset.get('data_root') or '', (dataset.get('data_prefix') or {}).get('img', ''))
    if path.stat().st_size > FULL_CHECK_BYTES:
        return [f'{path} is large: it was not looked into (`mmvssm data check` does)']
    for_a_server = _is_for_a_server(cfg, split)
    content = read_coco(path, annotated=not for_a_server)
    _check_records(content, path)
    said = [*_mend_annotations(content), *([] if for_a_server else _mend_classes(content, names_of(dataset), path))]
    _check_masks(content, path, dataset, cfg, split)
    dropped = _check_images(cfg, dataset, content, path, folder, unreadable)
    if dropped:
        said.append(_without(content, dropped))
    _check_some_are_left(content, path, dataset)
    coco_records(report, split, content)
    for one in _some_images(content):
        report.sizes[one['width'], one['height']] += 1
    if said:
        mended.replace(cfg, dataset, split, path, mended.as_json(content))
    return [f'{path}: {line}' for line in said]


def _is_for_a_server(cfg: Config, split: str) -> bool:
    """Predictions are written for a server that has the annotations."""
    found = [one for _, one in matching(cfg, f'{split}_evaluator.*') if isinstance(one, dict)]
    return split == 'test' and bool(found) and all(one.get('format_only') for one in found)


Test = Callable[[Any], bool]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_id(value: Any) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool)


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_box(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(map(_is_number, value))


# list -> key -> (test, what it must be)
KEYS: dict[str, dict[str, tuple[Test, str]]] = {
    'categories': {'id': (_is_id, 'a number'), 'name': (lambda v: isinstance(v, str), 'a text')},
    'images': {
        'id': (_is_id, 'a number or a text'),
        'file_name': (lambda v: isinstance(v, str) and v != '', 'a text'),
        'width': (_is_size, 'a whole number of pixels'),
        'height': (_is_size, 'a whole number of pixels'),
    },
    'annotations': {
        'image_id': (_is_id, 'a number or a text'),
        'category_id': (_is_id, 'a number'),
        'bbox': (_is_box, 'four numbers'),
    },
}


def _check_records(content: dict, path: Path) -> None:
    """Every record has what mmdet reads, of the right type, and points to what is listed."""
    for kind, keys in KEYS.items():
        word = dict(categories='category', images='image', annotations='annotation')[kind]
        for number, record in enumerate(content[kind]):
            if not isinstance(record, dict):
                raise DataError(f'{path}: {word} number {number} is no record: {str(record)[:80]}')
            for key, (test, words) in keys.items():
                if key not in record:
                    raise DataError(f'{path}: {word} number {number} has no {key!r}')
                if not test(record[key]):
                    if key == 'bbox' and isinstance(record[key], list) and len(record[key]) != 4:
                        raise DataError(f'{path}: the bbox of annotation number {number} has not four numbers')
                    raise DataError(f'{path}: {word} number {number}: {key}={str(record[key])[:80]!r} is not {words}')
    for kind, word in (('images', 'image'), ('categories', 'category')):
        for number, count in Counter(one['id'] for one in content[kind]).items():
            if count > 1:
                raise DataError(f'{path}: {count} {kind} have the id {number}; each {word} needs one of its own')
    _check_references(content, path)


def _check_references(content: dict, path: Path) -> None:
    listed = {one['id'] for one in content['images']}, {one['id'] for one in content['categories']}
    for number, one in enumerate(content['annotations']):
        for key, word, known in zip(('image_id', 'category_id'), ('image', 'category'), listed):
            if one[key] not in known:
                raise DataError(
                    f'{path}: annotation {one.get("id", f"number {number}")} is of {word} {one[key]}, not listed'
                )


def _mend_annotations(content: dict) -> Iterator[str]:
    """What evaluation needs and has one right value; yields what was done."""
    annotations = content['annotations']
    numbers = [one.get('id') for one in annotations]
    if len(set(map(str, numbers))) < len(numbers) or not all(type(n) is int and n > 0 for n in numbers):
        for number, one in enumerate(annotations, 1):
            one['id'] = number
        yield 'annotation ids are numbered anew from 1 (pycocotools takes 0 for no match, and needs one each)'
    filled: Counter[str] = Counter()
    for one in annotations:
        if 'iscrowd' not in one:
            one['iscrowd'] = 0
            filled['iscrowd'] += 1
        if not _is_number(one.get('area')):
            one['area'] = one['bbox'][2] * one['bbox'][3]
            filled['area'] += 1
        flat = one.get('segmentation')
        if isinstance(flat, list) and flat and all(map(_is_number, flat)):
            one['segmentation'] = [flat]
            filled['segmentation'] += 1
    values = dict(iscrowd='0', area='that of the box', segmentation='the one polygon that it lists')
    for key, count in filled.items():
        yield f'{count} annotations had no {key}; it is {values[key]}'


def _mend_classes(content: dict, names: tuple[str, ...], path: Path) -> Iterator[str]:
    """Categories in the order of the config's names, by which mmdet numbers them; yields what was done."""
    there = [one['name'] for one in content['categories']]
    if not names:
        return
    absent, strange = [n for n in names if n not in there], [n for n in there if n not in names]
    if len(absent) == len(names):
        raise DataError(
            f'{path} has none of the classes of this config ({_few(names)}), but the categories {_few(there)}\n'
            f'write metainfo=dict(classes={tuple(there[:4])}{" ..." if len(there) > 4 else ""}) in its data sets'
        )
    if absent and strange:
        near = meant(absent[0], set(strange))
        raise DataError(
            f'{path} has no category {absent[0]!r}, which the config names{near}; it has {_few(strange)} besides'
        )
    order = {name: place for place, name in enumerate(names)}
    ordered = sorted(content['categories'], key=lambda one: order.get(one['name'], len(order)))
    if [one['name'] for one in ordered if one['name'] in order] != [name for name in there if name in order]:
        content['categories'] = ordered
        yield f'categories are put in the order of the classes in the config ({_few(names)})'
    if absent:
        yield f'has no category for {_few(absent)}: nothing can be learnt of that'


def _few(names: Any) -> str:
    names = list(names)
    return ', '.join(map(str, names[:4])) + (f' and {len(names) - 4} more' if len(names) > 4 else '')


def _check_masks(content: dict, path: Path, dataset: ConfigDict, cfg: Config, split: str) -> None:
    """Where masks are loaded or scored every object has one."""
    loaded = any(isinstance(step, dict) and step.get('with_mask') for step in _steps(dataset.get('pipeline')))
    scored = split != 'train' and any(
        'segm' in ([one.get('metric')] if isinstance(one.get('metric'), str) else one.get('metric') or [])
        for _, one in matching(cfg, f'{split}_evaluator.*')
        if isinstance(one, dict) and not one.get('format_only')
    )
    if not (loaded or scored):
        return
    for number, one in enumerate(content['annotations']):
        if not _is_mask(one.get('segmentation')):
            raise DataError(
                f'{path}: annotation number {number} (id {one["id"]}): segmentation='
                f'{str(one.get("segmentation"))[:60]} is no mask, and the config reads masks\n'
                'give polygons ([[x, y, ...]]) or RLE, or take a detector without a mask head'
            )


def _is_mask(value: Any) -> bool:
    if isinstance(value, dict):
        return 'counts' in value and 'size' in value
    if not isinstance(value, list) or not value:
        return False
    return all(isinstance(part, list) and len(part) > 0 and all(map(_is_number, part)) for part in value)


def _steps(pipeline: Any) -> Iterator[Any]:
    for step in pipeline or ():
        yield step
        if isinstance(step, dict):
            yield from _steps([one for value in step.values() if isinstance(value, list) for one in value])


def _some_images(content: dict) -> list[dict]:
    return list(images.some(content['images']))


def _check_images(
    cfg: Config, dataset: ConfigDict, content: dict, path: Path, folder: Path, unreadable: str
) -> set[Any]:
    """Files are there, can be read and have the recorded size; returns the ids of those to skip."""
    broken: list[dict] = []
    stored: list[str] = []
    upright: list[str] = []
    for one in _some_images(content):
        found, said = images.header(folder / one['file_name']), (one['width'], one['height'])
        if found is None:
            broken.append(one)
        elif said not in (found.stored, found.upright):
            raise DataError(
                f'{path}: the image {one["file_name"]} is recorded as {images.in_words(said)}, the file is '
                f'{images.in_words(found.upright)}; boxes and masks would be off'
            )
        elif found.stored != found.upright:
            (stored if said == found.stored else upright).append(one['file_name'])
    if stored and upright:
        raise DataError(
            f'{path}: of the images that EXIF turns some are annotated as stored ({stored[0]}), others as turned '
            f'({upright[0]}); turn the files for good'
        )
    if stored:
        images.read_as_stored(dataset.get('pipeline'))
    return _unreadable(broken, folder, unreadable)


def _unreadable(broken: list[dict], folder: Path, unreadable: str) -> set[Any]:
    if broken and unreadable == 'stop':
        first = folder / broken[0]['file_name']
        what = 'is not there' if not first.exists() else 'is empty' if not first.stat().st_size else 'cannot be read'
        more = f', nor can {len(broken) - 1} others be used' if len(broken) > 1 else ''
        raise DataError(f'the image {first} {what}{more}\n`--unreadable skip` trains without')
    return {one['id'] for one in broken}


def _without(content: dict, dropped: set[Any]) -> str:
    names = [one['file_name'] for one in content['images'] if one['id'] in dropped]
    content['images'] = [one for one in content['images'] if one['id'] not in dropped]
    content['annotations'] = [one for one in content['annotations'] if one['image_id'] not in dropped]
    return f'{len(names)} images that cannot be read are left out ({_few(names)})'


def _check_some_are_left(content: dict, path: Path, dataset: ConfigDict) -> None:
    """Of the images, after the data set's own filter."""
    if not content['images']:
        raise DataError(f'{path} lists no images')
    rule = dataset.get('filter_cfg') or {}
    if dataset.get('test_mode') or not rule:
        return
    least, owners = rule.get('min_size', 0), {one['image_id'] for one in content['annotations']}
    total = len(content['images'])
    large = [one for one in content['images'] if min(one['width'], one['height']) >= least]
    if not large:
        raise DataError(f'{path}: all {total} images are smaller than filter_cfg.min_size={least} pixels: none is left')
    if rule.get('filter_empty_gt') and not any(one['id'] in owners for one in large):
        raise DataError(f'{path}: none of the {total} images has an annotation, and filter_cfg.filter_empty_gt=True')
