"""COCO's layout: annotations/*train*.json and *val*.json, images in folders named after the split or where they are."""

import json
from pathlib import Path

from mmengine.config import Config

from mmvssm.data import read
from mmvssm.pictures import palette

from . import panoptic
from .layout import SPLIT_NAMES, DataError, Layout, datasets, evaluators, set_num_classes


def _find(root: Path) -> Path | None:
    inside = next((folder for folder in (root, root / 'coco') if (folder / 'annotations').is_dir()), None)
    return inside or (root if any(root.glob('train*/*.json')) or any(root.glob('*.json')) else None)


def read_coco(path: Path, annotated: bool = True) -> dict:
    """A COCO annotation file with the three lists that every reader needs; two where it need not be `annotated`.

    Raises:
        DataError: the file is no JSON, or has no such lists.
    """
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except (ValueError, OSError) as error:
        raise DataError(f'{path} is not a readable JSON file: {error}') from error
    for key in ('images', 'annotations', 'categories'):
        if isinstance(content, dict) and key == 'annotations' and not annotated:
            content.setdefault(key, [])
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise DataError(f'{path} is not a COCO annotation file: it has no list {key!r}')
    return content


def _point_to(cfg: Config, root: Path) -> None:
    files = {split: _annotation_file(root, split) for split in SPLIT_NAMES}
    content = {split: read_coco(path) for split, path in files.items()}
    names = {split: _names(content[split], files[split]) for split in content}
    if sorted(names['train']) != sorted(names['val']):
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
            if _is_coco(names['train']):
                dataset.pop('metainfo', None)  # CocoDataset's own
            else:
                dataset.metainfo = metainfo
        for evaluator in evaluators(cfg, split):
            if 'ann_file' in evaluator:
                evaluator.ann_file = str(files[part])
    set_num_classes(cfg.model, len(names['train']))
    if panoptic.wanted(cfg):
        panoptic.point_to(cfg, root, names['train'])


def _names(content: dict, path: Path) -> tuple[str, ...]:
    for number, one in enumerate(content['categories']):
        if not isinstance(one, dict) or not isinstance(one.get('name'), str):
            raise DataError(f"{path}: category number {number} has no 'name'")
    return tuple(one['name'] for one in content['categories'])


def _is_coco(names: tuple[str, ...]) -> bool:
    from mmdet.datasets import CocoDataset

    return names == tuple(CocoDataset.METAINFO['classes'])


def _annotation_file(root: Path, split: str) -> Path:
    folder = root / 'annotations'
    exact = [folder / f'instances_{name}.json' for name in SPLIT_NAMES[split]]
    loose = [f'annotations/*{split}*.json', f'{split}*/*.json', f'*{split}*.json']
    for path in [*exact, *(path for pattern in loose for path in sorted(root.glob(pattern)))]:
        if path.is_file():
            return path
    found = read.coco_files(root)
    if len(found) == 1:
        raise DataError(
            f'{found[0]} is one annotation file for all images, without a split\n'
            '`--val-fraction 0.2` holds a fifth of them out for validation, the same each time'
        )
    raise DataError(f'no COCO data set in {root.absolute()}: no annotations/instances_{split}.json or similar')


def _image_folder(root: Path, split: str, content: dict, annotations: Path) -> str:
    """The folder, relative to root, in which the first pictures of an annotation file are."""
    for number, image in enumerate(content['images'][:3]):
        if not isinstance(image, dict) or not isinstance(image.get('file_name'), str):
            raise DataError(f"{annotations}: image number {number} has no 'file_name'")
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


COCO = Layout(
    'annotations/instances_train.json and instances_val.json, or train/*.json and valid/*.json (COCO)', _find, _point_to
)
