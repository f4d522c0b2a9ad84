"""Other people's annotations to COCO, and COCO to label images."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import yaml
from PIL import Image

from mmvssm.demo.polygons import polygons
from mmvssm.errors import UsageError

from . import read
from .split import place

Objects = list[tuple[str, dict[str, Any]]]  # class name and what COCO says of an object: bbox, area, segmentation


def to_coco(source: Path, out: Path, *, kind: str, classes: list[str] | None = None) -> dict[str, int]:
    """Write OUT/annotations.json and OUT/images.

    Args:
        source: folder with images and annotations, at any depth.
        out: folder to write; it must not exist.
        kind: 'yolo' (.txt beside images or in labels/; boxes or polygons), 'voc' (.xml), 'labelme' (.json) or 'masks'
            (NAME_mask.png or masks/NAME.png: one object of the only class for each value but 0).
        classes: names, for YOLO (else those of data.yaml or classes.txt) and masks.

    Returns:
        number of images and of objects.

    Raises:
        UsageError: an unknown kind, no annotations, classes without a name, or `out` exists.
    """
    if kind not in SOURCES:
        raise UsageError(f'from={kind!r} is not known; allowed: {", ".join(SOURCES)}')
    if out.exists():
        raise UsageError(f'{out} exists already')
    found = list(SOURCES[kind](source, classes))
    if not found:
        raise UsageError(f'{source}: there are no annotations of the kind {kind}')
    names = list(dict.fromkeys([*(classes or []), *(name for _, objects in found for name, _ in objects)]))
    content: dict[str, Any] = {'images': [], 'annotations': []}
    content['categories'] = [{'id': i, 'name': name} for i, name in enumerate(names, start=1)]
    for number, (path, objects) in enumerate(found, start=1):
        with Image.open(path) as image:
            width, height = image.size
        content['images'].append({'id': number, 'file_name': path.name, 'width': width, 'height': height})
        for name, one in objects:
            head = {'id': len(content['annotations']) + 1, 'image_id': number, 'category_id': names.index(name) + 1}
            content['annotations'].append({**head, **one, 'iscrowd': 0})
        place(path, out / 'images' / path.name)
    (out / 'annotations.json').write_text(json.dumps(content), encoding='utf-8')
    return {'images': len(found), 'objects': len(content['annotations'])}


def to_labels(source: Path, out: Path) -> dict[str, int]:
    """A COCO data set as label images: 1 = background, 2 and on = classes, small objects on top of large ones.

    Raises:
        UsageError: no COCO file in the folder, or `out` exists.
    """
    from pycocotools.coco import COCO

    files = read.coco_files(source)
    if not files:
        raise UsageError(f'{source}: there is no COCO file in it')
    if out.exists():
        raise UsageError(f'{out} exists already')
    count, names = 0, {}
    for path in files:
        coco = COCO(str(path))
        part = 'validation' if 'val' in path.stem else 'training'
        ids = sorted(coco.cats)
        names = {'1': 'background', **{str(i): coco.cats[c]['name'] for i, c in enumerate(ids, start=2)}}
        names_of = [one['file_name'] for one in coco.imgs.values()]
        places = read.locate(source, names_of, path.stem.removeprefix('instances_'))
        for image in coco.imgs.values():
            label: np.ndarray = np.ones((image['height'], image['width']), np.uint8)
            for one in sorted(coco.imgToAnns[image['id']], key=lambda a: -a['area']):
                label[coco.annToMask(one) > 0] = ids.index(one['category_id']) + 2
            if image['file_name'] in places:
                name = Path(image['file_name']).name
                place(places[image['file_name']], out / 'images' / part / name)
                target = out / 'annotations' / part / f'{Path(name).stem}.png'
                target.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(label).save(target)
                count += 1
    (out / 'classes.json').write_text(json.dumps(names), encoding='utf-8')
    return {'images': count, 'classes': len(names)}


def _box(left: float, top: float, right: float, bottom: float) -> dict[str, Any]:
    width, height = right - left, bottom - top
    return {'bbox': [left, top, width, height], 'area': width * height}


def _polygon(points: np.ndarray) -> dict[str, Any]:
    """points: (n, 2), x and y; the area by the shoelace formula."""
    x, y = points.T
    area = 0.5 * abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))))
    box = _box(float(x.min()), float(y.min()), float(x.max()), float(y.max()))
    return {**box, 'area': area, 'segmentation': [points.ravel().tolist()]}


def _yolo(source: Path, classes: list[str] | None) -> Iterator[tuple[Path, Objects]]:
    names = classes or _yolo_names(source)
    texts = {path.stem: path for path in source.rglob('*.txt') if path.name != 'classes.txt'}
    for path in read.images_in(source):
        if path.stem in texts:
            with Image.open(path) as image:
                size = np.array(image.size, float)
            lines = [line.split() for line in texts[path.stem].read_text().splitlines() if line.strip()]
            yield path, [_yolo_object(words, size, names, texts[path.stem]) for words in lines]


def _yolo_object(words: list[str], size: np.ndarray, names: list[str], path: Path) -> tuple[str, dict[str, Any]]:
    try:
        number, values = int(words[0]), np.array(words[1:], float)
        name = names[number]
        if len(values) == 4:
            (left, top), (right, bottom) = (size * (values[:2] + s * values[2:] / 2) for s in (-1, 1))
            return name, _box(float(left), float(top), float(right), float(bottom))
        return name, _polygon(values.reshape(-1, 2) * size)
    except (ValueError, IndexError):
        allowed = f'a class from 0 to {len(names) - 1}, then 4 numbers or the points of a polygon'
        raise UsageError(f'{path}: {" ".join(words)[:60]!r} is no line of YOLO; allowed: {allowed}') from None


def _yolo_names(source: Path) -> list[str]:
    for path in [*source.rglob('data.yaml'), *source.rglob('data.yml')]:
        names = yaml.safe_load(path.read_text()).get('names')
        if names:
            return [names[key] for key in sorted(names)] if isinstance(names, dict) else list(names)
    for path in source.rglob('classes.txt'):
        return path.read_text().split('\n')
    raise UsageError(f'{source} has no data.yaml or classes.txt with the names of the classes: give --classes')


def _voc(source: Path, classes: list[str] | None) -> Iterator[tuple[Path, Objects]]:
    images = {path.stem: path for path in read.images_in(source)}
    for path in sorted(source.rglob('*.xml')):
        root = ElementTree.parse(path).getroot()
        objects = []
        for one in root.iter('object'):
            corners = [float(one.findtext(f'bndbox/{key}', 'nan')) for key in ('xmin', 'ymin', 'xmax', 'ymax')]
            left, top, right, bottom = corners
            objects.append((one.findtext('name', ''), _box(left - 1, top - 1, right, bottom)))  # pixels count from 1
        if path.stem in images:
            yield images[path.stem], objects


def _labelme(source: Path, classes: list[str] | None) -> Iterator[tuple[Path, Objects]]:
    images = {path.stem: path for path in read.images_in(source)}
    for path in sorted(source.rglob('*.json')):
        content = json.loads(path.read_text(encoding='utf-8'))
        if path.stem not in images or 'shapes' not in content:
            continue
        objects = []
        for shape in content['shapes']:
            points = np.array(shape['points'], float)
            if shape.get('shape_type') == 'rectangle':
                (left, top), (right, bottom) = points.min(0), points.max(0)
                objects.append((shape['label'], _box(float(left), float(top), float(right), float(bottom))))
            elif shape.get('shape_type', 'polygon') == 'polygon':
                objects.append((shape['label'], _polygon(points)))
        yield images[path.stem], objects


def _masks(source: Path, classes: list[str] | None) -> Iterator[tuple[Path, Objects]]:
    name = (classes or ['object'])[0]
    files = read.images_in(source)
    masks = {p.stem.removesuffix('_mask'): p for p in files if p.stem.endswith('_mask') or 'masks' in p.parts}
    for path in files:
        if path.stem in masks and path not in masks.values():
            values = np.asarray(Image.open(masks[path.stem]))
            objects = []
            for value in np.unique(values[values > 0]):
                mask = values == value
                rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
                box = _box(float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))
                objects.append((name, {**box, 'area': int(mask.sum()), 'segmentation': polygons(mask)}))
            yield path, objects


SOURCES: dict[str, Callable[[Path, list[str] | None], Iterator[tuple[Path, Objects]]]] = {
    'yolo': _yolo,
    'voc': _voc,
    'labelme': _labelme,
    'masks': _masks,
}
