"""COCO's layout: annotations/*train*.json and *val*.json, images in folders named after the split or where they are."""

import itertools
import json
from pathlib import Path

from mmengine.config import Config, ConfigDict

from mmvssm.pictures import palette

from .layout import SPLIT_NAMES, DataError, Layout, datasets, set_num_classes

FULL_CHECK_BYTES = 64 << 20  # larger annotation files are parsed once only, by the data set itself


def _find(root: Path) -> Path | None:
    inside = next((folder for folder in (root, root / 'coco') if (folder / 'annotations').is_dir()), None)
    return inside or (root if any(root.glob('train*/*.json')) else None)


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


def _point_to(cfg: Config, root: Path) -> None:
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
        for dataset in datasets(cfg, split):
            dataset.data_root = f'{root}/'
            dataset.ann_file = str(files[part].relative_to(root))
            dataset.data_prefix = dict(img=images)
            if not _is_coco(names['train']):
                dataset.metainfo = metainfo
        evaluators = cfg.get(f'{split}_evaluator') or []
        for evaluator in evaluators if isinstance(evaluators, list) else [evaluators]:
            if 'ann_file' in evaluator:
                evaluator.ann_file = str(files[part])
    set_num_classes(cfg.model, len(names['train']))


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


def check_references(content: dict, path: Path) -> None:
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


def _files(dataset: ConfigDict) -> list[Path]:
    if 'ann_file' not in dataset:
        return []
    root, prefix = dataset.get('data_root') or '', dataset.get('data_prefix') or {}
    return [Path(root, dataset.ann_file), Path(root, prefix.get('img', ''))]


def _check(cfg: Config, dataset: ConfigDict) -> None:
    path, _ = _files(dataset)
    if path.stat().st_size < FULL_CHECK_BYTES:
        check_references(read_coco(path), path)


COCO = Layout('no annotations/instances_train.json or similar (COCO)', _find, _point_to, _files, _check)
