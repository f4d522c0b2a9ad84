"""What a data set holds, and what is odd about it: each oddity with its number and its first example."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mmvssm.errors import UsageError

from . import read

IGNORED = 255  # of label images


@dataclass
class Report:
    """A data set.

    Attributes:
        root, layout: where it is, and how it lies there ('COCO', 'label images', or 'none' of images without labels).
        images: number of images of each split.
        classes: name -> objects (COCO) or images in which it occurs (label images).
        sizes: (width, height) -> images.
        odd: kind -> (number, first example).
        fatal: the kinds that would stop training.
    """

    root: Path
    layout: str
    images: dict[str, int] = field(default_factory=dict)
    classes: Counter[str] = field(default_factory=Counter)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    odd: dict[str, tuple[int, str]] = field(default_factory=dict)
    fatal: set[str] = field(default_factory=set)

    def note(self, kind: str, example: str, fatal: bool = False) -> None:
        """One more of a kind of oddity."""
        number, first = self.odd.get(kind, (0, example))
        self.odd[kind] = number + 1, first
        if fatal:
            self.fatal.add(kind)


def check(root: Path, tick: Callable[[], object] = lambda: None) -> Report:
    """Look at every image and label of a data set.

    Args:
        root: its folder.
        tick: called for each image, for progress bars.

    Raises:
        UsageError: no data set of a known layout is there.
    """
    if not root.is_dir():
        raise UsageError(f'{root} is not a folder')
    if files := read.coco_files(root):
        return _check_coco(root, files, tick)
    if (root / 'images').is_dir() and (root / 'annotations').is_dir():
        return _check_labels(root, tick)
    raise UsageError(
        f'{root}: no data set of a known layout. COCO: a JSON file with images, annotations and categories, in it or in '
        'annotations/;\nlabel images: images/SPLIT and annotations/SPLIT with one PNG an image. `mmvssm data convert` '
        'makes COCO out of others'
    )


def _check_coco(root: Path, files: list[Path], tick: Callable[[], object]) -> Report:
    report = Report(root, 'COCO')
    seen: dict[Path, str] = {}
    for path in files:
        content = read.coco(path)
        split = path.stem.removeprefix('instances_')
        places = read.locate(root, [one['file_name'] for one in content['images']], split)
        coco_records(report, split, content)
        for image in content['images']:
            name = image['file_name']
            if name in places and (other := seen.setdefault(places[name], split)) != split:
                report.note('image in two splits', f'{name} in {other} and {split}')
            _check_file(report, places.get(name), name, (image.get('width'), image.get('height')))
            tick()
    for name, count in report.classes.items():
        if not count:
            report.note('class without objects', name)
    return report


def coco_records(report: Report, split: str, content: dict) -> None:
    """Count what a COCO file lists, and note what is odd about its records."""
    report.images[split] = len(content['images'])
    names = {one['id']: one['name'] for one in content['categories']}
    for name in names.values():
        report.classes.setdefault(name, 0)
    _check_records(report, content, names)


def _check_records(report: Report, content: dict, names: dict) -> None:
    for what in ('images', 'annotations'):
        for number, count in Counter(one.get('id') for one in content[what]).items():
            if count > 1:
                report.note(f'id of several {what}', str(number), fatal=what == 'images')
    images = {one['id']: one for one in content['images']}
    owners = {one.get('image_id') for one in content['annotations']}
    for image in content['images']:
        if image['id'] not in owners:
            report.note('image without objects', image['file_name'])
    for one in content['annotations']:
        _check_object(report, one, images.get(one.get('image_id')), names)


def _check_object(report: Report, one: dict, image: dict | None, names: dict) -> None:
    where = f'annotation {one.get("id")}'
    if one.get('category_id') not in names:
        report.note('category that is not listed', f'{where}: {one.get("category_id")}', fatal=True)
    else:
        report.classes[names[one['category_id']]] += 1
    if image is None:
        report.note('annotation of an image that is not listed', f'{where}: {one.get("image_id")}')
        return
    where = f'{where} of {image["file_name"]}'
    box = one.get('bbox')
    if not isinstance(box, list) or len(box) != 4 or not np.isfinite(box).all():
        report.note('box that is none', f'{where}: {box}', fatal=True)
        return
    left, top, width, height = box
    if width <= 0 or height <= 0:
        report.note('box without an area', f'{where}: {box}')
    elif left < -1 or top < -1 or left + width > image['width'] + 1 or top + height > image['height'] + 1:
        report.note('box beyond its image', f'{where}: {box}')
    if not one.get('segmentation'):
        report.note('object without a mask', where)


def _check_file(report: Report, path: Path | None, name: str, said: tuple | None = None) -> tuple[int, int] | None:
    """Notes what is odd about an image file; its size."""
    if path is None:
        report.note('file that is missing', name, fatal=True)
        return None
    image = read.open_image(path)
    if image is None:
        report.note('file that cannot be read', str(path), fatal=True)
        return None
    turned = image.getexif().get(read.ORIENTATION, 1)
    if turned != 1:
        report.note('image turned by EXIF', f'{path} ({turned})')
    report.sizes[image.size] += 1
    if said is not None and image.size != said and turned == 1:
        report.note('image of another size than its record', f'{name}: {image.size} for {said}')
    return image.size


def _check_labels(root: Path, tick: Callable[[], object]) -> Report:
    report = Report(root, 'label images')
    names = _names(root)
    for folder in sorted(path for path in (root / 'images').iterdir() if path.is_dir()):
        pictures = read.images_in(folder)
        report.images[folder.name] = len(pictures)
        for path in pictures:
            label = root / 'annotations' / folder.name / f'{path.relative_to(folder).with_suffix(".png")}'
            size = _check_file(report, path, path.name)
            if not label.is_file():
                report.note('image without its label image', str(path), fatal=True)
            elif size is not None:
                _check_label(report, label, size, names)
            tick()
    return report


def _names(root: Path) -> dict[int, str]:
    import json

    path = root / 'classes.json'
    if not path.is_file():
        return {}
    content = json.loads(path.read_text(encoding='utf-8'))
    content = content.get('classes', content) if isinstance(content, dict) else content
    pairs = content.items() if isinstance(content, dict) else enumerate(content)
    return {int(number): str(name) for number, name in pairs}


def _check_label(report: Report, path: Path, size: tuple[int, int], names: dict[int, str]) -> None:
    label = read.open_image(path)
    if label is None:
        report.note('label image that cannot be read', str(path), fatal=True)
        return
    if label.mode not in ('L', 'P', '1', 'I', 'I;16'):
        report.note('label image in colours', f'{path} ({label.mode})', fatal=True)
        return
    if label.size != size:
        report.note('label image of another size than its image', f'{path}: {label.size} for {size}', fatal=True)
    for value in np.unique(np.asarray(label)):
        if names and int(value) not in names and value not in (0, IGNORED):
            report.note('label out of range', f'{path}: {value}', fatal=True)
        elif int(value) in names or not names:
            report.classes[names.get(int(value), str(value))] += 1
