"""Folders of three pictures of odd sizes in the layouts of well-known data sets."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = 75, 101  # height and width
BOX = 20, 15, 50, 40  # x, y, width and height of the one object
CITIES = ('aachen/aachen_000000_000019', 'bochum/bochum_000001_000019', 'zurich/zurich_000002_000019')
THINGS = ('person', 'rider', 'car', 'truck', 'bus', 'train', 'motorcycle', 'bicycle')


def picture(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (*SIZE, 3), np.uint8)).save(path)


def labels(path: Path, values: tuple[int, ...]) -> None:
    """Vertical stripes of the values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = np.array(values, np.uint8)[np.arange(SIZE[1]) * len(values) // SIZE[1]]
    Image.fromarray(np.broadcast_to(columns, SIZE)).save(path)


def cityscapes(root: Path) -> Path:
    """Label images, and the instances as COCO has them."""
    for split in ('train', 'val'):
        for seed, name in enumerate(CITIES):
            picture(root / f'leftImg8bit/{split}/{name}_leftImg8bit.png', seed)
            labels(root / f'gtFine/{split}/{name}_gtFine_labelTrainIds.png', (0, 7, 18, 255))
        path = root / f'annotations/instancesonly_filtered_gtFine_{split}.json'
        write_json(path, instances([f'{name}_leftImg8bit.png' for name in CITIES], THINGS))
    return root


def voc12(root: Path) -> Path:
    return _voc_labels(root, 'SegmentationClass', 'ImageSets/Segmentation', (0, 15, 20, 255))


def pascal_context(root: Path) -> Path:
    return _voc_labels(root, 'SegmentationClassContext', 'ImageSets/SegmentationContext', (0, 1, 33, 59))


def _voc_labels(root: Path, folder: str, listed: str, values: tuple[int, ...]) -> Path:
    names = [f'2008_00000{number}' for number in (2, 3, 7)]
    for seed, name in enumerate(names):
        picture(root / f'JPEGImages/{name}.jpg', seed)
        labels(root / f'{folder}/{name}.png', values)
    for split in ('train', 'val'):
        path = root / listed / f'{split}.txt'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('\n'.join(names) + '\n')
    return root


XML = """<annotation><size><width>{width}</width><height>{height}</height><depth>3</depth></size>
<object><name>dog</name><difficult>0</difficult><bndbox><xmin>{x}</xmin><ymin>{y}</ymin><xmax>{right}</xmax>
<ymax>{bottom}</ymax></bndbox></object></annotation>"""


def voc0712(root: Path) -> Path:
    """Boxes of 2007 and 2012."""
    x, y, width, height = BOX
    text = XML.format(height=SIZE[0], width=SIZE[1], x=x, y=y, right=x + width, bottom=y + height)
    for year, splits in (('2007', ('trainval', 'test')), ('2012', ('trainval',))):
        names = [f'{year}_00000{number}' for number in range(3)]
        for seed, name in enumerate(names):
            picture(root / f'VOC{year}/JPEGImages/{name}.jpg', seed)
            path = root / f'VOC{year}/Annotations/{name}.xml'
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        for split in splits:
            path = root / f'VOC{year}/ImageSets/Main/{split}.txt'
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text('\n'.join(names) + '\n')
    return root


def lvis(root: Path) -> Path:
    """1,203 categories, of which one has objects; image files go by the address of COCO's."""
    names = [f'category {number}' for number in range(1203)]
    for split in ('train', 'val'):
        files = [f'00000000000{number}.jpg' for number in range(3)]
        content = instances(files, names)
        for seed, image in enumerate(content['images']):
            picture(root / f'{split}2017/{files[seed]}', seed)
            image['coco_url'] = f'http://images.cocodataset.org/{split}2017/{image.pop("file_name")}'
            image.update(neg_category_ids=[2], not_exhaustive_category_ids=[])
        for category in content['categories']:
            category['frequency'] = 'f'
        write_json(root / f'annotations/lvis_v1_{split}.json', content)
    return root


def instances(files: list[str], names) -> dict:
    """COCO's annotations of one object of the third category in each image."""
    x, y, width, height = BOX
    outline = [x, y, x + width, y, x + width, y + height, x, y + height]
    height_, width_ = SIZE
    images = [dict(id=i, file_name=name, height=height_, width=width_) for i, name in enumerate(files, 1)]
    objects = [
        dict(
            id=image['id'],
            image_id=image['id'],
            category_id=3,
            bbox=list(BOX),
            area=width * height,
            iscrowd=0,
            segmentation=[outline],
        )
        for image in images
    ]
    categories = [dict(id=number, name=name) for number, name in enumerate(names, 1)]
    return dict(images=images, annotations=objects, categories=categories)


def write_json(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


# config -> the folder that it names, what writes it, classes, the score
DATA_SETS = {
    'upernet_vmamba_t_cityscapes': ('data/cityscapes', cityscapes, 19, 'mIoU'),
    'upernet_vmamba_t_voc': ('data/VOCdevkit/VOC2012', voc12, 21, 'mIoU'),
    'upernet_vmamba_t_context': ('data/VOCdevkit/VOC2010', pascal_context, 59, 'mIoU'),
    'faster_rcnn_vmamba_t_voc': ('data/VOCdevkit', voc0712, 20, 'pascal_voc/mAP'),
    'mask_rcnn_vmamba_t_cityscapes': ('data/cityscapes', cityscapes, 8, 'coco/segm_mAP'),
    'mask_rcnn_vmamba_t_lvis': ('data/lvis_v1', lvis, 1203, 'lvis/segm_AP'),
}
