"""Other layouts of label images: Pascal VOC, Cityscapes, and pairs of folders of any usual names.

classes.json or classes.txt (a name a line, from 0) names the classes of a pair of folders; without, they are counted.
"""

import itertools
from pathlib import Path

import numpy as np
from mmengine.config import Config
from PIL import Image

from .ade20k import Part, point_to_parts, read_classes
from .layout import SPLIT_NAMES, DataError, Layout, datasets

IMAGES = ('images', 'imgs', 'img', 'image', 'img_dir', 'leftImg8bit')
LABELS = ('labels', 'masks', 'annotations', 'label', 'mask', 'gt', 'gtFine', 'ann_dir', 'ann')


def _find_voc(root: Path) -> Path | None:
    for place in (root, *sorted(root.glob('VOC*')), *sorted(root.glob('VOCdevkit/VOC*'))):
        if (place / 'JPEGImages').is_dir() and (place / 'SegmentationClass').is_dir():
            return place
    return None


def _point_to_voc(cfg: Config, root: Path) -> None:
    parts = {}
    for part in ('train', 'val'):
        listed = f'ImageSets/Segmentation/{part}.txt'
        if not (root / listed).is_file():
            raise DataError(f'no Pascal VOC data set in {root.absolute()}: no {listed}')
        parts[part] = Part('JPEGImages', 'SegmentationClass', listed, '.jpg', '.png')
    classes = read_classes(root)
    if classes is None:
        from mmseg.datasets import PascalVOCDataset

        classes = tuple(PascalVOCDataset.METAINFO['classes']), False
    point_to_parts(cfg, root, parts, classes)


def _find_cityscapes(root: Path) -> Path | None:
    places = (root, root / 'cityscapes')
    return next((p for p in places if (p / 'leftImg8bit/train').is_dir() and (p / 'gtFine/train').is_dir()), None)


def _point_to_cityscapes(cfg: Config, root: Path) -> None:
    from mmseg.datasets import CityscapesDataset

    ends = '_leftImg8bit.png', '_gtFine_labelTrainIds.png'
    if next((root / 'gtFine/train').rglob(f'*{ends[1]}'), None) is None:
        raise DataError(
            f'{root / "gtFine"} has no *{ends[1]}: `csCreateTrainIdLabelImgs` of cityscapesscripts makes them'
        )
    parts = {part: Part(f'leftImg8bit/{part}', f'gtFine/{part}', '', *ends) for part in ('train', 'val')}
    point_to_parts(cfg, root, parts, (tuple(CityscapesDataset.METAINFO['classes']), False))
    for split in ('train', 'val', 'test'):
        for dataset in datasets(cfg, split):
            dataset.metainfo = dict(CityscapesDataset.METAINFO)


def _folders(root: Path, part: str) -> tuple[str, str] | None:
    """Images and labels of a part: KIND/SPLIT or SPLIT/KIND."""
    for name in SPLIT_NAMES[part]:
        for images, labels in itertools.product(IMAGES, LABELS):
            for pair in ((f'{images}/{name}', f'{labels}/{name}'), (f'{name}/{images}', f'{name}/{labels}')):
                if all((root / one).is_dir() for one in pair):
                    return pair
    return None


def _find_pairs(root: Path) -> Path | None:
    return root if _folders(root, 'train') and _folders(root, 'val') else None


def _point_to_pairs(cfg: Config, root: Path) -> None:
    parts = {}
    for part in ('train', 'val'):
        folders = _folders(root, part)
        assert folders is not None
        parts[part] = Part(*folders)
    point_to_parts(cfg, root, parts, read_classes(root) or _counted(root, parts))


def _counted(root: Path, parts: dict[str, Part], how_many: int = 100) -> tuple[tuple[str, ...], bool]:
    """Classes without names, as many as the label images hold."""
    highest = 0
    for part in parts.values():
        for path in itertools.islice(sorted((root / part.labels).rglob('*.png')), how_many):
            try:
                values = np.asarray(Image.open(path))
            except OSError as error:
                raise DataError(f'{path} is not a readable label image: {error}') from error
            highest = max(highest, int(values[values != 255].max(initial=0)))
    return tuple(f'class {number}' for number in range(highest + 1)), False


VOC = Layout('JPEGImages, SegmentationClass, ImageSets/Segmentation/train.txt (VOC)', _find_voc, _point_to_voc)
CITYSCAPES = Layout('leftImg8bit/train, gtFine/train (Cityscapes)', _find_cityscapes, _point_to_cityscapes)
PAIRS = Layout('images/train, images/val, masks/train, masks/val (or labels/...)', _find_pairs, _point_to_pairs)
