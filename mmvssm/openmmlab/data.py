"""Pointing a config at a data set, and saying plainly what is wrong with one.

`point_to(cfg, folder)` rewrites the data parts of a config for a folder in COCO's or ADE20K's layout and the heads for
its classes. `check(cfg, ...)` looks at what the config names before anything is built.
"""

import itertools
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from mmengine.config import Config, ConfigDict
from PIL import Image

DEMO = Path('data/demo')
IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff')
SPLIT_NAMES = {
    'train': ('train2017', 'train', 'training', 'train2014'),
    'val': ('val2017', 'val', 'validation', 'valid', 'val2014', 'test'),
}
FULL_CHECK_BYTES = 64 << 20  # larger annotation files are parsed once only, by the data set itself
HOW_TO_GET = {
    'mmdet': 'COCO: https://cocodataset.org/#download (train2017, val2017, annotations), unpacked into data/coco',
    'mmseg': 'ADE20K: http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip, unpacked into data/ade',
}


class DataError(ValueError):
    """A data set is missing or broken; the message has a few lines at most."""


def point_to(cfg: Config, folder: str) -> None:
    """Make `cfg` read its data from `folder`; 'demo' stands for the embedded set, written to data/demo if need be.

    Detection (default_scope mmdet) expects COCO's layout: annotations/*train*.json and *val*.json, images in folders
    named after the split or wherever the files are found. Segmentation expects images/{training,validation} and
    annotations/{training,validation}; classes.json, where present, names the classes: {"1": name, ...} (0 is
    unlabelled), {"0": name, ...} or {"classes": [...]} (255 is unlabelled). Heads get the number of classes found.

    Raises:
        DataError: the folder holds no such data set.
    """
    root = _write_demo() if folder == 'demo' else Path(folder)
    if not root.is_dir():
        raise DataError(f'no data set: {root.absolute()} is not a folder (`--data demo` is the embedded one)')
    if cfg.get('default_scope') == 'mmseg':
        _point_to_label_images(cfg, root)
    else:
        _point_to_coco(cfg, root)


def check(cfg: Config, split: str) -> None:
    """Look at the files that the dataloader of `split` ('train', 'val' or 'test') names.

    Raises:
        DataError: where it was looked for, how to get the data set and how to do without; or what is broken.
    """
    for dataset in _datasets(cfg, split):
        root, prefix = dataset.get('data_root') or '', dataset.get('data_prefix') or {}
        if 'ann_file' in dataset:
            _require(cfg, Path(root, dataset.ann_file))
            _require(cfg, Path(root, prefix.get('img', '')))
            path = Path(root, dataset.ann_file)
            if path.stat().st_size < FULL_CHECK_BYTES:
                _check_references(read_coco(path), path)
        elif 'seg_map_path' in prefix:
            labels = Path(root, prefix.seg_map_path)
            _require(cfg, Path(root, prefix.get('img_path', '')))
            _require(cfg, labels)
            _check_labels(cfg, labels, bool(dataset.get('reduce_zero_label', dataset.type == 'ADE20KDataset')))


def read_coco(path: Path) -> dict:
    """A COCO annotation file with the three lists that every reader needs.

    Raises:
        DataError: the file is no JSON, or has no such lists.
    """
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except (ValueError, OSError) as error:
        raise DataError(f'{path} is not a readable JSON file: {error}') from error
    for key in ('images', 'annotations', 'categories'):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise DataError(f'{path} is not a COCO annotation file: it has no list {key!r}')
    return content


def _write_demo() -> Path:
    """The embedded data set; with several processes the first one writes and the others wait."""
    from mmvssm.datasets import shapes

    if int(os.environ.get('RANK', 0)) == 0:
        return shapes.write(DEMO)
    while not shapes.is_complete(DEMO):
        time.sleep(0.5)
    return DEMO


def _datasets(cfg: Config, split: str) -> Iterator[ConfigDict]:
    """The innermost data sets of a split, through RepeatDataset, ConcatDataset and the like."""
    loader = cfg.get(f'{split}_dataloader')
    waiting = [loader.dataset] if loader else []
    while waiting:
        dataset = waiting.pop()
        inner = dataset.get('datasets') or ([dataset.dataset] if 'dataset' in dataset else None)
        if inner is None:
            yield dataset
        else:
            waiting += inner


def _require(cfg: Config, path: Path) -> None:
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        return
    how = HOW_TO_GET['mmseg' if cfg.get('default_scope') == 'mmseg' else 'mmdet']
    raise DataError(
        f'the data set of this config is not there: looked for {path.absolute()}\n'
        f'get it from {how}\n'
        'or run the same config on the embedded data set with `--data demo`, on your own with `--data DIR`'
    )


def _set_num_classes(node, number: int) -> None:
    """Sets every `num_classes` of a model config, heads in lists included."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == 'num_classes':
                node[key] = number
            else:
                _set_num_classes(value, number)
    elif isinstance(node, list | tuple):
        for value in node:
            _set_num_classes(value, number)


def palette(number: int) -> list[tuple[int, int, int]]:
    """Distinct colours: hues a golden angle apart."""
    import colorsys

    hues = [(0.61803 * i) % 1 for i in range(number)]
    return [tuple(int(255 * c) for c in colorsys.hsv_to_rgb(h, 0.75, 0.95)) for h in hues]


# COCO's layout


def _point_to_coco(cfg: Config, root: Path) -> None:
    root = next((r for r in (root, root / 'coco') if (r / 'annotations').is_dir()), root)
    files = {split: _annotation_file(root, split) for split in SPLIT_NAMES}
    content = {split: read_coco(path) for split, path in files.items()}
    names = {split: tuple(c['name'] for c in content[split]['categories']) for split in content}
    if names['train'] != names['val']:
        raise DataError(f'{files["train"]} and {files["val"]} have different categories')
    if not names['train']:
        raise DataError(f'{files["train"]} has no categories')
    metainfo = dict(classes=names['train'], palette=palette(len(names['train'])))
    for split in ('train', 'val', 'test'):
        part = 'train' if split == 'train' else 'val'
        images = _image_folder(root, part, content[part], files[part])
        for dataset in _datasets(cfg, split):
            dataset.data_root = f'{root}/'
            dataset.ann_file = str(files[part].relative_to(root))
            dataset.data_prefix = dict(img=images)
            if not _is_coco(names['train']):
                dataset.metainfo = metainfo
        evaluators = cfg.get(f'{split}_evaluator') or []
        for evaluator in evaluators if isinstance(evaluators, list) else [evaluators]:
            if 'ann_file' in evaluator:
                evaluator.ann_file = str(files[part])
    _set_num_classes(cfg.model, len(names['train']))


def _is_coco(names: tuple[str, ...]) -> bool:
    from mmdet.datasets import CocoDataset

    return names == tuple(CocoDataset.METAINFO['classes'])


def _annotation_file(root: Path, split: str) -> Path:
    folder = root / 'annotations'
    exact = [folder / f'instances_{name}.json' for name in SPLIT_NAMES[split]]
    loose = sorted(itertools.chain(folder.glob(f'*{split}*.json'), root.glob(f'{split}*/*.json')))
    for path in [*exact, *loose]:
        if path.is_file():
            return path
    raise DataError(f'no COCO data set in {root.absolute()}: no annotations/instances_{split}.json or similar')


def _image_folder(root: Path, split: str, content: dict, annotations: Path) -> str:
    """The folder, relative to root, in which the first pictures of an annotation file are."""
    wanted = [image['file_name'] for image in content['images'][:3]]
    names = SPLIT_NAMES[split]
    near = annotations.parent.relative_to(root)
    folders = [*names, *(f'images/{name}' for name in names), 'images', '', str(near)]
    for folder in folders:
        if wanted and all((root / folder / name).is_file() for name in wanted):
            return f'{folder}/' if folder else ''
    if not wanted:
        raise DataError(f'{annotations} lists no images')
    looked = ', '.join(f or '.' for f in dict.fromkeys(folders))
    raise DataError(f'{wanted[0]}, named by {annotations}, is in none of the folders {looked} of {root.absolute()}')


def _check_references(content: dict, path: Path) -> None:
    """Every annotation has what mmdet reads, and points to an image and a category that exist."""
    images = {image.get('id') for image in content['images']}
    categories = {category.get('id') for category in content['categories']}
    for number, annotation in enumerate(content['annotations']):
        for key in ('id', 'image_id', 'category_id', 'bbox', 'area'):
            if key not in annotation:
                raise DataError(f'{path}: annotation number {number} has no {key!r}')
        if annotation['image_id'] not in images:
            raise DataError(f'{path}: annotation {annotation["id"]} is of image {annotation["image_id"]}, not listed')
        if annotation['category_id'] not in categories:
            raise DataError(
                f'{path}: annotation {annotation["id"]} is of category {annotation["category_id"]}, not listed'
            )
        if len(annotation['bbox']) != 4:
            raise DataError(f'{path}: the bbox of annotation {annotation["id"]} has not four numbers')


# ADE20K's layout


def _point_to_label_images(cfg: Config, root: Path) -> None:
    root = next((r for r in (root / 'ADEChallengeData2016', root) if (r / 'images').is_dir()), root)
    classes = _read_classes(root / 'classes.json')
    for split in ('train', 'val', 'test'):
        part = 'train' if split == 'train' else 'val'
        images, labels = (_split_folder(root, kind, part) for kind in ('images', 'annotations'))
        for dataset in _datasets(cfg, split):
            dataset.data_root = str(root)
            dataset.data_prefix = dict(img_path=images, seg_map_path=labels)
            dataset.img_suffix = _suffix(root / images)
            if classes is not None:
                names, reduce_zero_label = classes
                dataset.type = 'BaseSegDataset'
                dataset.metainfo = dict(classes=names, palette=palette(len(names)))
                dataset.reduce_zero_label = reduce_zero_label
                _set_reduce_zero_label(dataset.pipeline, reduce_zero_label)
    if classes is not None:
        _set_num_classes(cfg.model, len(classes[0]))
        _set_reduce_zero_label(cfg.get('tta_pipeline', []), classes[1])


def _read_classes(path: Path) -> tuple[tuple[str, ...], bool] | None:
    """Names and whether label 0 means unlabelled; None without a file: the config's own data set describes them."""
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise DataError(f'{path} is not a readable JSON file: {error}') from error
    content = content.get('classes', content) if isinstance(content, dict) else content
    if isinstance(content, list):
        return tuple(content), False
    numbers = sorted(int(k) for k in content) if all(str(k).isdigit() for k in content) else []
    if not numbers or numbers != list(range(numbers[0], numbers[0] + len(numbers))) or numbers[0] > 1:
        raise DataError(
            f'{path} must name the classes 0, 1, ... or 1, 2, ... without a gap, or hold {{"classes": [...]}}'
        )
    return tuple(content[str(n)] for n in numbers), numbers[0] == 1


def _split_folder(root: Path, kind: str, split: str) -> str:
    names = sorted(SPLIT_NAMES[split], key=lambda name: name not in ('training', 'validation'))
    for name in names:
        if (root / kind / name).is_dir():
            return f'{kind}/{name}'
    raise DataError(f'no ADE20K-style data set in {root.absolute()}: no folder {kind}/{names[0]}')


def _suffix(folder: Path) -> str:
    found = {p.suffix for p in itertools.islice(folder.iterdir(), 1000) if p.suffix.lower() in IMAGE_SUFFIXES}
    if len(found) != 1:
        raise DataError(f'{folder} must hold images of one suffix, it has {", ".join(sorted(found)) or "none"}')
    return found.pop()


def _set_reduce_zero_label(pipeline, value: bool) -> None:
    """Where a pipeline repeats the data set's setting, the two must agree."""
    if isinstance(pipeline, dict):
        if pipeline.get('type') == 'LoadAnnotations' and 'reduce_zero_label' in pipeline:
            pipeline['reduce_zero_label'] = value
        pipeline = pipeline.values()
    for item in pipeline:
        if isinstance(item, dict | list | tuple):
            _set_reduce_zero_label(item, value)


def _check_labels(cfg: Config, folder: Path, reduce_zero_label: bool, how_many: int = 20) -> None:
    """Some label images can be read, and name no class that the head does not have."""
    number = cfg.model.decode_head.num_classes if 'decode_head' in cfg.get('model', {}) else 256
    highest = number if reduce_zero_label else number - 1
    files = sorted(folder.glob('**/*.png'))
    for path in files[:: max(1, len(files) // how_many)]:
        try:
            values = np.unique(np.asarray(Image.open(path)))
        except OSError as error:
            raise DataError(f'{path} is not a readable label image: {error}') from error
        wrong = values[(values > highest) & (values != 255)]
        if len(wrong):
            raise DataError(f'{path} holds the label {wrong[0]}; allowed: 0 to {highest} and 255 (ignored)')
